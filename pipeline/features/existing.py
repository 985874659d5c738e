"""The feature file that is there already, if what is to be made now may take its place."""

from pathlib import Path

from pipeline.errors import FeatureFileError
from pipeline.features.feature_file import Contents, FeatureFile
from pipeline.features.spread.shard_number import Shard
from pipeline.images.augmentation.views import Views, describe_differences
from pipeline.recipe import Recipe


def read_existing(
    target: Path,
    recipe: Recipe,
    root: Path,
    *,
    is_moved: bool | None,
    shard: Shard | None = None,
    views: Views | None = None,
) -> Contents | None:
    """Its tables; None where there is none.

    Args:
        recipe: of what is to be made.
        root: folder of its images.
        is_moved: that folder may be another than it was; None where nobody can say so.
        shard: what is to be made is that shard; None = it is whole.
        views: of what is to be made; None = view 0 alone.

    Raises:
        FeatureFileError: it is damaged, or made of something else.
    """
    if not target.exists():
        return None
    with FeatureFile(target) as file:
        old = file.contents
    held = None if old.shard is None else old.shard.shard
    if held != shard:
        raise FeatureFileError(
            f"{target} holds {_name(held)}. Expected {_name(shard)}, or no such file.\n"
            "Choose another `output`, or leave it out: the default name tells them apart."
        )
    if old.recipe != recipe:
        raise FeatureFileError(
            f"{target} was made by another recipe, and rows of two recipes are never mixed.\n"
            "What differs: " + "; ".join(old.recipe.differences(recipe)) + "\n"
            "Choose another `output`, or leave it out: the default name tells recipes apart."
        )
    if old.views != views:
        raise FeatureFileError(
            f"{target} was made with other views, and a file has one kind of them.\n"
            "What differs: " + "; ".join(describe_differences(old.views, views)) + "\n"
            "Choose another `output`, or leave it out: the default name tells views apart."
        )
    if Path(old.data_root) != root.resolve() and not is_moved:
        moved = "If the data set was moved there, say `moved=True`; if it is another one, choose "
        raise FeatureFileError(
            f"{target} was made from another folder. Expected {old.data_root}. "
            f"Received: {root.resolve()}\n"
            f"{'Choose ' if is_moved is None else moved}another `output`."
        )
    return old


def _name(shard: Shard | None) -> str:
    return "a whole data set" if shard is None else f"shard {shard} of one"
