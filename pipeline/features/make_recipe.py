"""From what was asked for to a recipe: all that features will depend on, without TensorFlow."""

from pipeline.backbones.backbone import TunedModel
from pipeline.backbones.presets import find_backbone, require_image_size
from pipeline.backbones.weights.resolve import ResolvedWeights, resolve_weights
from pipeline.errors import BackboneError
from pipeline.features.options import USUAL, parse_colour
from pipeline.images.decoding.decode import DECODER_VERSION
from pipeline.recipe import FULL_DEPTH, PRECISIONS, Recipe


def make_recipe(
    backbone_name: str,
    weights: str,
    *,
    image_size: int | None = None,
    seed: int = 0,
    resize: str | None = None,
    background: tuple[int, int, int] | None = None,
    layer: str | None = None,
    pooling: str | None = None,
    precision: str = "float32",
    truncated: str | None = None,
    depth: int | None = None,
) -> tuple[Recipe, ResolvedWeights]:
    """Decides everything that the features will depend on, without loading TensorFlow.

    Where nothing is said (None), a fine-tuned run's network gets images as the run did, and any
    other as is usual.

    Raises:
        BackboneError: no such backbone, or a run that cannot give features that way.
        WeightsError: the weights are not there and cannot be downloaded.
    """
    backbone = find_backbone(backbone_name)
    own = backbone.weights.recipe if isinstance(backbone.weights, TunedModel) else None
    if own is not None:
        layer, pooling = _choose_features(own, layer, pooling)
    layer = layer or USUAL["layer"]
    resolved = resolve_weights(backbone, weights, seed, layer)
    recipe = Recipe(
        backbone=backbone.name,
        weights=resolved.key,
        image_size=require_image_size(backbone, image_size),
        resize=resize or (own.resize if own else USUAL["resize"]),
        background=background or (own.background if own else parse_colour(USUAL["background"])),
        decoder_version=DECODER_VERSION,
        channel_order=backbone.channel_order,
        scale=backbone.scale,
        offset=backbone.offset,
        layer=layer,
        pooling=pooling or USUAL["pooling"],
        precision=PRECISIONS[precision],
        truncated=truncated or (own.truncated if own else USUAL["truncated"]),
        depth=depth or (own.depth if own else FULL_DEPTH),
    )
    return recipe, resolved


def _choose_features(own: Recipe, layer: str | None, pooling: str | None) -> tuple[str, str | None]:
    """Layer and pooling of a fine-tuned network: those that its head takes, or of another layer.

    Args:
        own: recipe of the features that its head takes.
    """
    if layer not in (None, "top", own.layer):
        return str(layer), pooling
    if own.layer == "top" and pooling not in (None, own.pooling):
        raise BackboneError(
            "The network of a fine-tuned run ends in the row that its head takes. Expected: no "
            f"`pooling`, or `pooling={own.pooling}`; or a `layer` below. "
            f"Received: `pooling={pooling}`"
        )
    return own.layer, pooling or own.pooling
