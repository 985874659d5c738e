"""From a line of the registry to a Keras model with its weights.

Features depend on the graph as much as on the weights, so every backbone is built in one way only,
wherever its weights come from.
"""

import contextlib
import importlib
import math
from collections.abc import Callable

import keras
import numpy as np

from pipeline.backbones.checkpoints import read_state_dict
from pipeline.backbones.keras_files import load_keras_weights
from pipeline.backbones.registry import Backbone, get_backbone
from pipeline.backbones.weights import TORCH_SUFFIXES, ResolvedWeights
from pipeline.errors import BackboneError, WeightsError
from pipeline.recipe import Recipe

POOLING_LAYERS = {
    "avg": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
    "flatten": keras.layers.Flatten,
}
# Standard deviations in keras.applications.efficientnet, IMAGENET_STDDEV_RGB.
IMAGENET_STDDEV_RGB = (0.229, 0.224, 0.225)


def build_backbone(
    backbone: Backbone,
    weights: ResolvedWeights,
    image_size: int,
    layer: str = "top",
    pooling: str = "avg",
    precision: str = "float32",
) -> keras.Model:
    """Builds a backbone and gives it its weights.

    With random weights, the random seeds of Python, NumPy and Keras are set to `weights.seed`.

    Args:
        backbone: from the registry.
        weights: from `resolve_weights`.
        image_size: side of the square images, in pixels.
        layer: name of the layer whose output becomes the features; `top` for the last one.
        pooling: `avg`, `max` or `flatten` for a feature map; `none` where the layer's output
            already is one row for an image.
        precision: Keras's dtype policy: `float32`, `mixed_float16` or `mixed_bfloat16`.

    Returns:
        A functional model named `backbone`, from preprocessed pixels
        `(n, image_size, image_size, 3)` to features `(n, n_features)`.

    Raises:
        BackboneError: if the image size, the layer or the pooling is impossible.
        WeightsError: if the weights do not fit.
    """
    if pooling not in (*POOLING_LAYERS, "none"):
        raise BackboneError(
            f"No such pooling. Expected avg, max, flatten or none. Received: pooling={pooling!r}"
        )
    if weights.path is None:
        keras.utils.set_random_seed(weights.seed)
    with _dtype_policy(precision):
        model = _build_graph(backbone, image_size, pooling if layer == "top" else None)
        if weights.path is not None:
            _load(backbone, model, weights)
        return keras.Model(model.inputs[0], _take_features(model, layer, pooling), name="backbone")


def build_embedding_model(recipe: Recipe, weights: ResolvedWeights) -> keras.Model:
    """Builds the model that maps plain pixels to features.

    Args:
        recipe: what decides the features.
        weights: from `resolve_weights`; must be those of the recipe.

    Returns:
        A functional model: input `image`, float32 RGB 0..255 `(n, image_size, image_size, 3)`;
        frozen layer `preprocessing`; nested model `backbone`; output float32
        `(n, n_features)`.

    Raises:
        BackboneError: if the recipe asks for something impossible.
        WeightsError: if the weights do not fit, or are not those of the recipe.
    """
    if weights.key != recipe.weights:
        raise WeightsError(
            f"These are other weights than those of the recipe. Expected {recipe.weights}. "
            f"Received {weights.key} from {weights.source}. Give the right file with --weights."
        )
    backbone = build_backbone(
        get_backbone(recipe.backbone),
        weights,
        recipe.image_size,
        recipe.layer,
        recipe.pooling,
        recipe.precision,
    )
    image = keras.Input((recipe.image_size, recipe.image_size, 3), dtype="float32", name="image")
    preprocessing = preprocessing_layer(recipe.channel_order, recipe.scale, recipe.offset)
    features = backbone(preprocessing(image))
    if recipe.precision != "float32":
        features = keras.layers.Activation("linear", dtype="float32", name="features")(features)
    return keras.Model(image, features, name="embedding")


def preprocessing_layer(
    channel_order: str, scale: tuple[float, ...], offset: tuple[float, ...]
) -> keras.layers.Layer:
    """Makes the frozen layer that maps RGB 0..255 to what a backbone expects.

    Args:
        channel_order: `RGB` or `BGR`.
        scale: one factor per channel, in that order.
        offset: one summand per channel, in that order, added after the factor.

    Returns:
        A layer named `preprocessing`, always in float32, with nothing to train.
    """
    if channel_order == "RGB":
        layer = keras.layers.Rescaling(
            list(scale), list(offset), dtype="float32", name="preprocessing"
        )
    else:
        # A 1x1 convolution can permute the channels, and every Keras can load it.
        layer = keras.layers.Conv2D(3, 1, dtype="float32", name="preprocessing")
        layer.build((None, None, None, 3))
        kernel = np.diag(np.asarray(scale, "float32"))[::-1]
        layer.set_weights([kernel[None, None], np.asarray(offset, "float32")])
    layer.trainable = False
    return layer


def _build_graph(backbone: Backbone, image_size: int, pooling: str | None) -> keras.Model:
    """The network without its classifier, before weights; pooled where it can do that itself."""
    module, function = backbone.builder.split(":")
    build: Callable[..., keras.Model] = getattr(importlib.import_module(module), function)
    try:
        model = build(
            include_top=False,
            weights=None,
            input_shape=(image_size, image_size, 3),
            pooling=pooling if pooling in ("avg", "max") else None,
        )
    except ValueError as error:
        raise BackboneError(
            f"{backbone.name} cannot be built for images of {image_size} x {image_size} pixels: "
            f"{error}. Its usual size is --image-size {backbone.image_size}."
        ) from error
    if backbone.builder.startswith("keras.applications:EfficientNetB"):
        model = _complete_efficientnet(model)
    return model


def _complete_efficientnet(model: keras.Model) -> keras.Model:
    """Adds the second Rescaling that Keras gives EfficientNet only with `weights="imagenet"`.

    See keras/src/applications/efficientnet.py: the pretrained weights want the pixels divided by
    the square root of the standard deviation once more. A graph without it would take the same
    weights without a word and give other features.
    """
    # Keras numbers these two by what else the process has built.
    names = {keras.layers.Rescaling: "rescaling", keras.layers.Normalization: "normalization"}

    def clone(layer):
        config = layer.get_config()
        return type(layer).from_config(config | {"name": names.get(type(layer), layer.name)})

    def call(layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        if layer.name == "normalization":
            scale = [1.0 / math.sqrt(stddev) for stddev in IMAGENET_STDDEV_RGB]
            outputs = keras.layers.Rescaling(scale, name="rescaling_imagenet")(outputs)
        return outputs

    return keras.models.clone_model(model, clone_function=clone, call_function=call)


def _load(backbone: Backbone, model: keras.Model, weights: ResolvedWeights) -> None:
    if weights.path.name.endswith(TORCH_SUFFIXES):
        module, function = backbone.state_dict_loader.split(":")
        load = getattr(importlib.import_module(module), function)
        state_dict = read_state_dict(weights.path)
    else:
        load, state_dict = load_keras_weights, weights.path
    try:
        load(model, state_dict)
    except WeightsError as error:
        raise WeightsError(
            f"{weights.path} does not fit --backbone {backbone.name}. {error}"
        ) from error


def _take_features(model: keras.Model, layer: str, pooling: str):
    if layer == "top":
        tensor = model.outputs[0]
    else:
        names = [candidate.name for candidate in model.layers]
        if layer not in names:
            raise BackboneError(
                f"The backbone has no layer {layer!r}. Expected top or one of "
                f"{', '.join(names[-8:])}, ... Received: layer={layer!r}"
            )
        tensor = model.get_layer(layer).output
    if len(tensor.shape) == 2:
        return tensor
    if pooling == "none":
        raise BackboneError(
            f"Features must be one row for an image, but the output of layer {layer!r} has the "
            f"shape {tuple(tensor.shape[1:])}. Expected pooling avg, max or flatten. Received: "
            "pooling='none'"
        )
    if len(tensor.shape) != 4 and pooling != "flatten":
        raise BackboneError(
            f"The output of layer {layer!r} has the shape {tuple(tensor.shape[1:])}, which is no "
            f"feature map. Expected pooling flatten. Received: pooling={pooling!r}"
        )
    return POOLING_LAYERS[pooling](name=f"{pooling}_pool")(tensor)


@contextlib.contextmanager
def _dtype_policy(precision: str):
    """keras.applications take the dtype from Keras's global policy only."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
