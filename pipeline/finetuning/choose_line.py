"""Which frost line to train from: what was asked for, or what the data can bear."""

from dataclasses import dataclass

from pipeline.backbones.frost_lines import FrostLine, find_frost_lines
from pipeline.errors import BackboneError
from pipeline.system.keras_on_tensorflow import keras

# (training images per class, at least; share of the backbone's work to thaw, at most). Few images
# bear few free parameters; two thirds paid on 110 photos per class (docs/fine-tuning.md).
THAWED_SHARES = ((100, 2 / 3), (20, 1 / 4), (0, 3 / 20))


@dataclass(frozen=True)
class ChosenLine:
    """A frost line (or `all`) and, in words, why it was chosen."""

    name: str
    reason: str


def choose_line(
    backbone: keras.Model, wanted: str | None, n_images: int, n_classes: int
) -> ChosenLine:
    """Finds the frost line that was asked for, or the default.

    Args:
        wanted: a line's name, a number of blocks from the top, `all`, or None.
        n_images: training images.

    Raises:
        BackboneError: the backbone has no such line.
    """
    if wanted == "all":
        return ChosenLine("all", "as asked, the whole backbone")
    lines = find_frost_lines(backbone)
    if wanted is None:
        return _choose_by_data(lines, n_images, n_classes)
    if wanted.isdecimal():
        if not 1 <= int(wanted) <= len(lines):
            raise BackboneError(
                f"This backbone has {len(lines)} frost lines. Expected 1 to {len(lines)} blocks "
                f"from the top, a line's name, or all. Received: `unfreeze={wanted}`"
            )
        name = lines[int(wanted) - 1].name
        return ChosenLine(name, f"as asked, {wanted} block(s) from the top")
    names = [line.name for line in lines]
    if wanted not in names:
        raise BackboneError(
            f"This backbone has no frost line {wanted!r}. Expected one of, from the top: "
            f"{', '.join(names)}; a number of blocks from the top; or all. "
            f"Received: `unfreeze={wanted}`"
        )
    return ChosenLine(wanted, "as asked")


def _choose_by_data(lines: list[FrostLine], n_images: int, n_classes: int) -> ChosenLine:
    per_class = n_images / n_classes
    share = next(rule for rule in THAWED_SHARES if per_class >= rule[0])[1]
    fitting = [line for line in lines if 1 - line.share_below <= share + 1e-9]
    line = fitting[-1] if fitting else lines[0]
    reason = (
        f"with {per_class:.0f} training images per class ({n_images:,} of {n_classes} classes) at "
        f"most {share:.0%} of the backbone's work is thawed; from here up it is "
        f"{1 - line.share_below:.0%}"
    )
    return ChosenLine(line.name, reason)
