"""Which value of 16-bit images is white: how a data set decides it, and what is said of it."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from pipeline.features.feature_file import FeatureFile
from pipeline.images.dataset import Dataset
from pipeline.images.decoding.depth import DEPTHS, TOO_BRIGHT, white_of
from pipeline.images.decoding.measure_depth import Depths, measure_depths
from pipeline.images.decoding.read_images import Limits
from pipeline.recipe import FULL_DEPTH, Recipe
from pipeline.system.printable import count


def settle_depth(
    recipe: Recipe,
    dataset: Dataset,
    output: Path | None,
    name_target: Callable[[Recipe], Path],
    limits: Limits,
    on_progress: Callable[[str, int, int], None],
    on_note: Callable[[str], None],
) -> Recipe:
    """The recipe with the least depth that holds all values of a data set's images.

    A feature file that was begun with less than the full depth keeps it, for its rows are of no
    use with another; images that need more bits are skipped then, and `describe_brightness` says
    what to do.

    Args:
        output: the feature file that was asked for, None = what `name_target` says.
        name_target: the usual file of a recipe.
    """
    recorded = _find_recorded(recipe, output, name_target)
    if recorded is not None:
        return recorded
    depths = measure_depths(dataset.files, len(dataset), recipe, limits, on_progress)
    if depths.greatest in (0, FULL_DEPTH):
        return recipe
    on_note(
        f"16 bits, of which {depths.greatest} are used: {count(depths.n_images, 'image')}. White "
        f"is {white_of(depths.greatest):,}, for all that the feature file will ever hold."
    )
    return replace(recipe, depth=depths.greatest)


def _find_recorded(
    recipe: Recipe, output: Path | None, name_target: Callable[[Recipe], Path]
) -> Recipe | None:
    """The recipe with the depth of the feature file, where there is one of less than the full."""
    shallow = [replace(recipe, depth=depth) for depth in DEPTHS if depth != FULL_DEPTH]
    if output is None:
        return next((each for each in shallow if name_target(each).exists()), None)
    if not output.exists():
        return None
    with FeatureFile(output) as file:
        recorded = file.contents.recipe.depth
    return next((each for each in shallow if each.depth == recorded), None)


def describe_darkness(depths: Depths) -> list[str]:
    """What is said of images that are shown at full depth and do not use it."""
    if depths.greatest in (0, FULL_DEPTH):
        return []
    return [
        f"16 bits, of which {depths.greatest} are used: {count(depths.n_images, 'image')}. They "
        f"come out dark, for none is above {white_of(depths.greatest):,}, and white is "
        f"{white_of(FULL_DEPTH):,}. If that is not meant, say `depth='auto'`."
    ]


def describe_brightness(reasons: Iterable[str]) -> list[str]:
    """What to do about images that need more bits than the feature file was begun with."""
    n_images = sum(reason.startswith(TOO_BRIGHT) for reason in reasons)
    if not n_images:
        return []
    return [
        f"Brighter than what is white in this feature file: {count(n_images, 'image')}, skipped. "
        "To use them, too, extract all images anew, with `depth='full'`, or to another `output`."
    ]
