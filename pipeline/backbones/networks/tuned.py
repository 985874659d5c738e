"""A fine-tuned run's network as a backbone, for images of its own size or another."""

from collections.abc import Callable
from pathlib import Path

from pipeline.backbones.keras_internals import flatten_layers
from pipeline.backbones.safe_loading import load_keras_model_safely
from pipeline.errors import BackboneError, WeightsError
from pipeline.system.keras_on_tensorflow import keras


def load_tuned(path: Path, precision: str) -> keras.Model:
    """The network between preprocessing and head of a fine-tuned model.

    Args:
        path: of a run's `model.keras`.
        precision: Keras's dtype policy.

    Returns:
        From preprocessed pixels `(n, height, width, 3)` to the features that its head takes.

    Raises:
        RunError: it is damaged, or could run foreign code.
        WeightsError: it is another model.
    """
    model = load_keras_model_safely(path)
    names = [layer.name for layer in model.layers]
    network = model.get_layer("backbone") if "backbone" in names else None
    if not isinstance(network, keras.Model):
        raise WeightsError(
            f"This is no model of a fine-tuned run. Expected a network named backbone in it. "
            f"Received: {path} with {', '.join(names[:6])}"
        )
    if precision != "float32":  # in which it was saved
        set_precision(network, precision)
    return network


def set_precision(backbone: keras.Model, precision: str) -> None:
    """Lets a backbone compute in a precision, whatever it was built in; weights stay float32."""
    for layer in flatten_layers(backbone):
        layer.dtype_policy = keras.dtype_policies.get(precision)


def resize_tuned(
    tuned: keras.Model, image_size: int, build: Callable[[], keras.Model]
) -> keras.Model:
    """A fine-tuned network for images of another size.

    How a layer pads depends on the size, so the network is built anew and takes the weights.

    Args:
        tuned: from `load_tuned`.
        image_size: side in pixels.
        build: makes the network that was fine-tuned, for that size.

    Raises:
        BackboneError: its weights are for images of one size, as those of positions are.
    """
    built = build()
    layers = {layer.name: layer for layer in tuned.layers}
    for layer in built.layers:
        weights = layers[layer.name].get_weights() if layer.name in layers else []
        if [value.shape for value in weights] != [tuple(one.shape) for one in layer.weights]:
            own = tuned.input_shape[1]
            raise BackboneError(
                f"The layer {layer.name} of this fine-tuned network fits images of {own} x {own} "
                f"pixels only. Expected: no `image_size`. Received: `image_size={image_size}`"
            )
        layer.set_weights(weights)
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return built
