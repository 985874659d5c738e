"""Building the networks of KerasHub's presets, so that they give features like all others."""

import contextlib
import inspect
import sys

from pipeline.backbones.presets import import_keras_hub
from pipeline.errors import BackboneError
from pipeline.system.keras_on_tensorflow import keras

# Networks whose first token stands for the whole image, besides those that say so themselves.
CLASS_TOKEN_FIRST = ("DeiTBackbone", "DINOV2Backbone", "DINOV3Backbone")


def build_preset(location: str, image_size: int, precision: str) -> keras.Model:
    """Builds a preset's network with its weights.

    Args:
        location: of the preset, as in `Preset.location`.
        image_size: side of the square images, in pixels.
        precision: Keras's dtype policy.

    Returns:
        A functional model from preprocessed pixels `(n, image_size, image_size, 3)` to the last
        feature map `(n, height, width, channels)`, to the class token `(n, channels)` where the
        network has one, or else to the mean of the tokens.

    Raises:
        BackboneError: if it is no image network, or cannot take images of this size.
        MissingExtraError: if KerasHub is not installed.
    """
    keras_hub = import_keras_hub()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            backbone = keras_hub.models.Backbone.from_preset(
                location, image_shape=(image_size, image_size, 3), dtype=precision
            )
    except Exception as error:
        # Every kind of network and every hub has errors of its own.
        raise BackboneError(
            f"KerasHub cannot build the preset for images of {image_size} x {image_size} pixels: "
            f"{error}\nExpected: an image network. Received: hub:{location}. Most vision "
            "transformers take images of one size only; leave out `image_size`."
        ) from error
    shapes = [tuple(tensor.shape) for tensor in (*backbone.inputs, *backbone.outputs)]
    if len(shapes) != 2 or len(shapes[0]) != 4 or len(shapes[1]) not in (3, 4):
        raise BackboneError(
            f"The preset is no image network with one output. Received: hub:{location}, a "
            f"{type(backbone).__name__} with the inputs and outputs {shapes}. Expected: images in, "
            "one feature map or one row of tokens out."
        )
    for layer in backbone.layers:
        if type(layer).__module__.startswith("keras_hub."):
            _complete_config(layer)
    output = backbone.outputs[0]
    if len(output.shape) == 3:
        output = _take_tokens(output, _has_class_token(backbone))
    return keras.Model(backbone.inputs[0], output)


def _complete_config(layer: keras.Layer) -> None:
    """Makes a layer's configuration what its constructor takes, so that a model can be reloaded.

    That of KerasHub's ViTPatchingAndEmbedding has numbers that follow from others, which its
    constructor refuses, and lacks some that it takes; that of DeiTEncoder cannot be made at all.
    Where this does not help, the network still gives features; fine-tuning finds out that it cannot
    be saved.
    """
    try:
        config = layer.get_config()
    except Exception:  # of whatever kind: a missing attribute, or a class where an object should be
        config = keras.Layer.get_config(layer)
    parameters = inspect.signature(type(layer).__init__).parameters
    taken = {name for name in parameters if name not in ("self", "args", "kwargs")}
    complete = {
        name: value
        for name, value in config.items()
        if name in taken or name in ("name", "trainable", "dtype")
    }
    for name in taken - set(config):
        if hasattr(layer, name):
            complete[name] = getattr(layer, name)
    if complete != config:
        layer.get_config = lambda: complete


def _has_class_token(backbone: keras.Model) -> bool:
    name = type(backbone).__name__
    return bool(getattr(backbone, "use_class_token", name in CLASS_TOKEN_FIRST))


def _take_tokens(tokens: keras.KerasTensor, has_class_token: bool) -> keras.KerasTensor:
    """One row for an image from `(n, n_tokens, channels)`."""
    if not has_class_token:
        return keras.layers.GlobalAveragePooling1D(name="mean_of_tokens")(tokens)
    first = keras.layers.Cropping1D((0, tokens.shape[1] - 1), name="first_token")(tokens)
    return keras.layers.Flatten(name="class_token")(first)
