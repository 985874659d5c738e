"""Which tensor of a network becomes the features: the layer that is asked for, pooled."""

import difflib

from pipeline.errors import BackboneError
from pipeline.system.keras_on_tensorflow import keras

POOLINGS = ("avg", "max", "flatten", "none")
# By pooling and the number of axes of what is pooled: feature maps have 4, rows of tokens 3.
POOLING_LAYERS = {
    ("avg", 4): keras.layers.GlobalAveragePooling2D,
    ("max", 4): keras.layers.GlobalMaxPooling2D,
    ("avg", 3): keras.layers.GlobalAveragePooling1D,
    ("max", 3): keras.layers.GlobalMaxPooling1D,
}


def take_features(
    model: keras.Model, layer: str, pooling: str, *, is_pooled: bool
) -> keras.KerasTensor:
    """One row for an image, from the output of a layer.

    Args:
        layer: its name; `top` for the network's output.
        pooling: one of `POOLINGS`.
        is_pooled: whether the network was built with that pooling, which ConvNeXt has below its
            last layer.

    Raises:
        BackboneError: there is no such layer, or its output cannot be pooled so.
    """
    require_layer_of(model, layer)
    tensor = model.outputs[0] if layer == "top" else model.get_layer(layer).output
    shape = tuple(getattr(tensor, "shape", ()))[1:]
    if len(shape) == 1:
        if pooling not in ("avg", "none") and not is_pooled:
            raise BackboneError(
                f"The output of layer {layer!r} is one row of {shape[0]} numbers already, with "
                f"nothing to pool. Expected: `pooling='none'`. Received: `pooling={pooling}`"
            )
        return tensor
    if pooling == "none":
        raise BackboneError(
            f"Features must be one row for an image, but the output of layer {layer!r} has the "
            f"shape {shape}. Expected: `pooling` avg, max or flatten. Received: `pooling='none'`"
        )
    if pooling == "flatten":
        return keras.layers.Flatten(name="flatten_pool")(tensor)
    if (pooling, 1 + len(shape)) not in POOLING_LAYERS:
        raise BackboneError(
            f"The output of layer {layer!r} has the shape {shape}, which is no feature map. "
            f"Expected: `pooling` flatten, or another layer. Received: `pooling={pooling}`"
        )
    return POOLING_LAYERS[pooling, 1 + len(shape)](name=f"{pooling}_pool")(tensor)


def require_layer_of(model: keras.Model, layer: str) -> None:
    """Raises a BackboneError if a network has no layer of that name; all have a `top`."""
    names = [candidate.name for candidate in model.layers]
    if layer != "top" and layer not in names:
        raise BackboneError(
            f"The backbone has no layer {layer!r}. Expected top or one of "
            f"{_name_some(names, layer)}. Received: `layer={layer}`"
        )


def _name_some(names: list[str], wanted: str) -> str:
    """The layers whose names come close, then the last ones."""
    close = difflib.get_close_matches(wanted, names, n=4)
    chosen = list(dict.fromkeys(close + names[-8:]))
    return ", ".join(chosen) + (", ..." if len(chosen) < len(names) else "")
