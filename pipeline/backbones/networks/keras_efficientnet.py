"""What Keras's own EfficientNet lacks unless Keras itself fetches the weights."""

import math

from pipeline.system.keras_on_tensorflow import keras

# Standard deviations in keras.applications.efficientnet, IMAGENET_STDDEV_RGB.
IMAGENET_STDDEV_RGB = (0.229, 0.224, 0.225)


def complete_efficientnet(model: keras.Model) -> keras.Model:
    """Adds the second Rescaling that Keras gives EfficientNet only with `weights="imagenet"`.

    See keras/src/applications/efficientnet.py: the pretrained weights want the pixels divided by
    the square root of the standard deviation once more. A graph without it would take the same
    weights without a word and give other features.
    """
    # Keras numbers these two by what else the process has built.
    names = {keras.layers.Rescaling: "rescaling", keras.layers.Normalization: "normalization"}

    def clone(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        return type(layer).from_config(config | {"name": names.get(type(layer), layer.name)})

    def call(layer: keras.Layer, *args: object, **kwargs: object) -> keras.KerasTensor:
        outputs = layer(*args, **kwargs)
        if layer.name == "normalization":
            scale = [1.0 / math.sqrt(stddev) for stddev in IMAGENET_STDDEV_RGB]
            outputs = keras.layers.Rescaling(scale, name="rescaling_imagenet")(outputs)
        return outputs

    return keras.models.clone_model(model, clone_function=clone, call_function=call)
