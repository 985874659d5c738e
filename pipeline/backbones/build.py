"""From a line of the registry to a Keras model with its weights.

Features depend on the graph as much as on the weights, so every backbone is built in one way only,
wherever its weights come from.
"""

import functools
import importlib.util
import os
import re
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

import numpy as np

from pipeline.backbones.backbone import Backbone, Preset, TunedModel
from pipeline.backbones.feature_output import POOLINGS, require_layer_of, take_features
from pipeline.backbones.keras_internals import layers_numbered_from_0
from pipeline.backbones.keras_settings import keras_settings, seeded_weights
from pipeline.backbones.networks.hub import build_preset
from pipeline.backbones.networks.keras_efficientnet import complete_efficientnet
from pipeline.backbones.networks.tuned import load_tuned, resize_tuned
from pipeline.backbones.presets import HUB_PREFIX, find_backbone, require_image_size
from pipeline.backbones.registry import get_backbone
from pipeline.backbones.tuned_runs import TUNED_PREFIX
from pipeline.backbones.weights.keras_weights import load_keras_weights
from pipeline.backbones.weights.resolve import TORCH_SUFFIXES, ResolvedWeights, resolve_weights
from pipeline.backbones.weights.torch_checkpoints import read_state_dict
from pipeline.errors import BackboneError, WeightsError
from pipeline.recipe import Recipe, keras_policy
from pipeline.system.child_process import HelperProcess
from pipeline.system.keras_on_tensorflow import keras


def build_backbone(
    backbone: Backbone,
    weights: ResolvedWeights,
    image_size: int,
    layer: str = "top",
    pooling: str = "avg",
    precision: str = "float32",
) -> keras.Model:
    """Builds a backbone and gives it its weights.

    Args:
        backbone: from `find_backbone`.
        weights: from `resolve_weights`, for the same layer.
        image_size: side of the square images, in pixels.
        layer: name of the layer whose output becomes the features; `top` for the last one below
            the classifier.
        pooling: `avg`, `max` or `flatten` for a feature map; `none` where the layer's output
            already is one row for an image (`avg` leaves it as it is, too).
        precision: Keras's dtype policy: `float32`, `mixed_float16` or `mixed_bfloat16`.

    Returns:
        A functional model named `backbone`, from preprocessed pixels
        `(n, image_size, image_size, 3)` to features `(n, n_features)`.

    Raises:
        BackboneError: if the image size, the layer or the pooling is impossible.
        WeightsError: if the weights do not fit.
    """
    if pooling not in POOLINGS:
        raise BackboneError(
            f"No such pooling. Expected avg, max, flatten or none. Received: pooling={pooling!r}"
        )
    with keras_settings(precision), layers_numbered_from_0():
        is_pooled = False
        if isinstance(backbone.weights, Preset):
            model = build_preset(weights.source, image_size, precision)
        elif isinstance(backbone.weights, TunedModel):
            model = _build_tuned(backbone.weights, image_size, layer, pooling, precision)
            is_pooled = layer == "top"  # else its head could not have been put on it
        else:
            is_pooled = _is_pooled(backbone, layer, pooling)
            model = _build_with_weights(
                backbone, weights, image_size, layer, pooling if is_pooled else None
            )
        features = take_features(model, layer, pooling, is_pooled=is_pooled)
        return keras.Model(model.inputs[0], features, name="backbone")


def build_untrained(backbone: Backbone, image_size: int | None = None) -> keras.Model:
    """Builds a backbone to look at: as `build_backbone` does, with any weights that are at hand.

    Args:
        backbone: from `find_backbone`.
        image_size: side of the square images, in pixels; None for the backbone's own.
    """
    own = "imagenet" if isinstance(backbone.weights, Preset | TunedModel) else "random"
    size = require_image_size(backbone, image_size)
    return build_backbone(backbone, resolve_weights(backbone, own), size)


def require_layer(backbone: Backbone, layer: str) -> None:
    """Raises a BackboneError if a backbone has no layer of that name, with or without its top."""
    if layer not in ("top", backbone.feature_layer, *backbone.top_layers):
        require_layer_of(build_untrained(backbone), layer)


@keras_settings()
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
            f"Received {weights.key} from {weights.source}. Give the right file with `weights`."
        )
    backbone = build_backbone(
        find_backbone(recipe.backbone, weights.source),
        weights,
        recipe.image_size,
        recipe.layer,
        recipe.pooling,
        keras_policy(recipe.precision),
    )
    image = keras.Input((recipe.image_size, recipe.image_size, 3), dtype="float32", name="image")
    preprocessing = preprocessing_layer(recipe.channel_order, recipe.scale, recipe.offset)
    features = backbone(preprocessing(image))
    if keras_policy(recipe.precision) != "float32":
        features = keras.layers.Activation("linear", dtype="float32", name="features")(features)
    return keras.Model(image, features, name="embedding")


@keras_settings()
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


def _is_pooled(backbone: Backbone, layer: str, pooling: str) -> bool:
    """Whether its network is built with that pooling."""
    return layer in ("top", backbone.feature_layer) and pooling in ("avg", "max")


def _build_tuned(
    tuned: TunedModel, image_size: int, layer: str, pooling: str, precision: str
) -> keras.Model:
    """The network of a fine-tuned run, built anew where images have another size than there."""
    network = load_tuned(tuned.path, precision)
    if network.input_shape[1] == image_size:
        return network
    name = tuned.recipe.backbone.removeprefix(TUNED_PREFIX)
    if name.startswith(HUB_PREFIX):
        raise BackboneError(
            "A fine-tuned preset of KerasHub takes images of the size that it was tuned on. "
            f"Expected: `image_size={tuned.recipe.image_size}`, or none. "
            f"Received: `image_size={image_size}`, for {tuned.path.parent}"
        )

    if layer == "top":  # of the run, which may end below that of the original
        layer, pooling = tuned.recipe.layer, tuned.recipe.pooling

    def build() -> keras.Model:
        original = get_backbone(name)
        pooled = pooling if _is_pooled(original, layer, pooling) else None
        include_top = layer in original.top_layers
        model = _build_graph(original, image_size, include_top=include_top, pooling=pooled)
        features = take_features(model, layer, pooling, is_pooled=pooled is not None)
        return keras.Model(model.inputs[0], features)

    return resize_tuned(network, image_size, build)


def _build_with_weights(
    backbone: Backbone, weights: ResolvedWeights, image_size: int, layer: str, pooling: str | None
) -> keras.Model:
    """The network down to its classifier, or with it; pooled where it can do that itself."""
    include_top = layer in backbone.top_layers
    with seeded_weights(weights.seed):
        model = _build_graph(backbone, image_size, include_top=include_top, pooling=pooling)
    if weights.path is not None:
        _load(backbone, model, weights.path, layer)
    elif keras.backend.backend() != "tensorflow":
        model.set_weights(_ask_tensorflow_for_weights(weights.seed, backbone, image_size, layer))
    return model


def _ask_tensorflow_for_weights(
    seed: int, backbone: Backbone, image_size: int, layer: str
) -> list[np.ndarray]:
    """Random weights as TensorFlow draws them from the seed; each backend would draw others.

    Raises:
        WeightsError: TensorFlow is not installed.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise WeightsError(
            "Random weights are TensorFlow's, so that a seed means the same weights everywhere. "
            "Expected: TensorFlow, or a file of weights. Received: `weights='random'`, and no "
            "TensorFlow\nInstall it, or give a file with `weights=FILE`."
        )
    with HelperProcess() as helper:
        weights: list[np.ndarray] = helper.call(
            _draw_weights, seed, backbone, image_size, layer in backbone.top_layers
        )
    return weights


def _draw_weights(
    seed: int, backbone: Backbone, image_size: int, include_top: bool
) -> list[np.ndarray]:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # this is no work for a GPU
    with keras_settings(), seeded_weights(seed):
        model = _build_graph(backbone, image_size, include_top=include_top, pooling=None)
    return [np.asarray(weight) for weight in model.get_weights()]


def _build_graph(
    backbone: Backbone, image_size: int, *, include_top: bool, pooling: str | None
) -> keras.Model:
    build: Callable[..., keras.Model] = resolve_name(backbone.builder)
    try:
        model = build(
            include_top=include_top,
            weights=None,
            input_shape=(image_size, image_size, 3),
            pooling=pooling,
        )
    except ValueError as error:
        raise BackboneError(
            f"{backbone.name} cannot be built for images of {image_size} x {image_size} pixels"
            f"{f' with pooling {pooling}' if pooling == 'max' else ''}: {_plain_words(error)}. "
            f"Its usual size is `image_size={backbone.image_size}`."
        ) from error
    if backbone.builder.startswith("keras.applications:EfficientNetB"):
        model = complete_efficientnet(model)
    return model


def _plain_words(error: ValueError) -> str:
    """What went wrong, without the layer's arguments that Keras prints around it.

    See keras/src/utils/traceback_utils.py: the message proper is in bold.
    """
    text = str(error)
    if bold := re.search(r"\x1b\[1m(.*?)\x1b\[0m", text, re.DOTALL):
        text = bold[1]
    return re.sub(r"\x1b\[[0-9;]*m", "", text).strip().rstrip(".")


def _load(backbone: Backbone, model: keras.Model, path: Path, layer: str) -> None:
    load: Callable[[keras.Model], None]
    if backbone.state_dict_loader and path.name.endswith(TORCH_SUFFIXES):
        load_state_dict = resolve_name(backbone.state_dict_loader)
        load = functools.partial(load_state_dict, state_dict=read_state_dict(path))
    else:
        top_layers = () if layer in backbone.top_layers else backbone.top_layers
        load = functools.partial(load_keras_weights, path=path, top_layers=top_layers)
    try:
        load(model)
    except WeightsError as error:
        hint = (
            f" The layer {layer} needs the weights of the classifier too, and images of "
            f"{backbone.image_size} pixels where it is flattened."
            if layer in backbone.top_layers
            else ""
        )
        raise WeightsError(
            f"{path} does not fit `backbone={backbone.name}`. {error}{hint}"
        ) from error
