"""What a probe tries: backbones whose weights are at hand, each at several image sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.backbones.backbone import Backbone, Preset
from pipeline.backbones.presets import find_backbone, require_image_size
from pipeline.backbones.registry import list_backbones
from pipeline.backbones.weights.resolve import ResolvedWeights, pretrained_path
from pipeline.errors import ParameterError, WeightsError
from pipeline.features.extract import make_recipe
from pipeline.recipe import GREATEST_IMAGE_SIZE, Recipe

# Of a backbone's own size; for one of 224 pixels that is 160, 192, 224, 256, 288 and 320.
_NEIGHBOURS = (5 / 7, 6 / 7, 1.0, 8 / 7, 9 / 7, 10 / 7)
_STEP = 32  # pixels, by which most networks halve their maps five times


@dataclass(frozen=True)
class Candidate:
    """A backbone at an image size.

    Args:
        recipe: of its features.
        weights: of the backbone.
        weights_name: what `weights` is to be for them: `imagenet`, or the path of a file.
        is_first: this size of the backbone is tried first: its own, or the nearest that was asked
            for.
        multiply_adds: work for one image; None where nobody knows.
    """

    recipe: Recipe
    weights: ResolvedWeights
    weights_name: str
    is_first: bool
    multiply_adds: float | None

    @property
    def backbone(self) -> str:
        """Its name; with the file, where two files of one backbone may be tried."""
        name = self.recipe.backbone
        return name if self.weights_name == "imagenet" else f"{name}={self.weights_name}"

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that the backbone sees."""
        return self.recipe.image_size

    def __str__(self) -> str:
        return f"{self.backbone} at {self.image_size} pixels"


def list_candidates(
    backbones: Sequence[str] | None,
    image_sizes: Sequence[int] | None,
    how: dict[str, Any],
    on_note: Callable[[str], None],
) -> list[Candidate]:
    """All that can be tried, in the order of the registry or of the names.

    Args:
        backbones: names, `NAME=FILE` for weights of a file; None = those of the registry whose
            weights are here. Of one that is named the weights are downloaded where they are not.
        image_sizes: pixels; None = each backbone's own and its neighbours.
        how: further arguments of `make_recipe`.
        on_note: called with what could not be taken, and why.

    Raises:
        ParameterError: see `check_names`.
        BackboneError: no such backbone.
        WeightsError: weights that were named cannot be had, or none are here at all.
    """
    check_names(backbones, image_sizes)
    sizes = None if image_sizes is None else sorted(set(image_sizes))
    found: list[Candidate] = []
    for backbone, weights_name in _choose(backbones):
        try:
            recipe, weights = make_recipe(
                backbone.name, weights_name, image_size=backbone.image_size or 1, **how
            )
        except WeightsError as error:
            if backbones is not None:
                raise
            on_note(f"Left out {backbone.name}: {error}")
            continue
        found += _at_sizes(backbone, recipe, weights, weights_name, sizes)
    if not found:
        raise WeightsError(
            "No weights are here to be tried. Expected those of one backbone at least. Received: "
            "none\nName backbones, and their weights are downloaded: "
            "`backbones=efficientnetb0,resnet50`; or name files: `backbones=resnet50=FILE`."
        )
    return list(dict.fromkeys(found))


def check_names(backbones: Sequence[str] | None, image_sizes: Sequence[int] | None) -> None:
    """Raises a ParameterError for names and sizes that can be none."""
    for name, value in (("backbones", backbones), ("image_sizes", image_sizes)):
        if isinstance(value, str):
            raise ParameterError(f"Expected `{name}` to be a list. Received: {value!r}", name)
    if backbones is not None and not (backbones and all(backbones)):
        raise ParameterError(
            "Expected `backbones` to be names, or NAME=FILE for weights of a file. Received: "
            f"{list(backbones)}",
            "backbones",
        )
    most = GREATEST_IMAGE_SIZE
    sizes = [0] if image_sizes is not None and not image_sizes else image_sizes or []
    if not all(isinstance(size, int) and 1 <= size <= most for size in sizes):
        raise ParameterError(
            f"Expected `image_sizes` to be whole numbers from 1 to {most:,}, of pixels. Received: "
            f"{image_sizes}",
            "image_sizes",
        )


def _choose(names: Sequence[str] | None) -> list[tuple[Backbone, str]]:
    """Backbones and what their `weights` are."""
    if names is None:
        return [(backbone, "imagenet") for backbone in list_backbones() if _is_at_hand(backbone)]
    pairs = [name.partition("=") for name in names]
    return [(find_backbone(name), file or "imagenet") for name, _, file in pairs]


def _is_at_hand(backbone: Backbone) -> bool:
    if isinstance(backbone.weights, Preset):
        return False
    try:
        return pretrained_path(backbone).is_file()
    except WeightsError:
        return False  # a package that is not installed


def _at_sizes(
    backbone: Backbone,
    recipe: Recipe,
    weights: ResolvedWeights,
    weights_name: str,
    sizes: list[int] | None,
) -> list[Candidate]:
    own = backbone.image_size if sizes is None or backbone.image_size else sizes[len(sizes) // 2]
    own = require_image_size(backbone, own)
    chosen = list_neighbours(own) if sizes is None else sizes
    first = min(chosen, key=lambda size: abs(size - own))
    work = backbone.multiply_adds
    return [
        Candidate(
            replace(recipe, image_size=size),
            weights,
            weights_name,
            size == first,
            None if work is None else work * (size / own) ** 2,
        )
        for size in chosen
    ]


def list_neighbours(own: int) -> list[int]:
    """Image sizes from 0.7 to 1.4 of a backbone's own, and its own."""
    others = {_STEP * round(own * share / _STEP) for share in _NEIGHBOURS if share != 1}
    near = {size for size in others if size and abs(size - own) >= _STEP / 2}
    return sorted({own, *near})
