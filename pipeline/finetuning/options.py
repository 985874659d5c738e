"""What may be chosen about fine-tuning, checked before anything is loaded."""

import math
from dataclasses import dataclass, replace

from pipeline.heads.options import CLASS_WEIGHT_HELP
from pipeline.recipe import FORMER_PRECISION_NAMES, PRECISION_NAMES
from pipeline.system.options import check_options, option

AUGMENTATIONS = ("none", "light", "strong")
LAST, BEST = "last", "best"
STRATEGIES = ("single", "mirrored")
# The moving average of the weights is over so much of all steps, where no momentum is given.
AVERAGED_SHARE = 0.1
MOST_MOMENTUM = 0.999


@dataclass(frozen=True)
class FinetuneOptions:
    """How to fine-tune; names, defaults and ranges of the command line are made from it.

    Args:
        unfreeze: a frost line's name, a number of blocks from the top, or `all`; None = by the
            number of images and classes.
        epochs: at most so many.
        learning_rate: the highest, after the warm-up.
        find_learning_rate: sweep the rate first and take the one that the sweep suggests.
        layer_decay: each block below the head gets the rate of the one above times this.
        warmup: share of all steps in which the rate rises to its highest.
        weight_decay: AdamW's, on kernels only.
        average_weights: momentum of the weights' moving average, 0 = none; None = one that
            averages over a tenth of all steps.
        batch_size: images per step, over all devices together.
        keep: the model after the `last` epoch, or that of the `best` on validation; in either case
            only if it beats the frozen head.
        patience: with `best`, stop after so many epochs that did not win.
        augment: `none`, `light` or `strong`.
        flip: mirror half of the images left to right; None = where they are augmented at all and
            the frozen head is as sure of mirrored ones.
        class_weight: `balanced`, a file of weights, or None; see `weigh_classes`.
        label_smoothing: share of the target spread over all classes.
        precision: of the computation; weights are float32 in any case. Of 16 bits a CPU takes
            bfloat16, where it has units for that.
        trunk_cache: keep the frozen trunk's output on disk; None = where it saves time.
        views: augmented versions of each training image in the trunk cache.
        strategy: `single`, or `mirrored` over all devices of a kind.
        seed: decides the order of images, augmentation and dropout.
    """

    unfreeze: str | None = option(
        None,
        help="Frost line to train from, a number of blocks from the top, or all.",
        default_words="by the number of images and classes",
    )
    epochs: int = option(12, help="At most.", least=1)
    learning_rate: float = option(3e-4, help="The highest, after the warm-up.", above=0, below=1)
    find_learning_rate: bool = option(
        False, help="Sweep the rate first; take the steepest safe one."
    )
    layer_decay: float = option(
        1.0,
        help="Each block further down learns and decays by this factor less.",
        above=0,
        most=1,
    )
    warmup: float = option(
        0.1,
        help="Share of all steps in which the rate rises to its highest.",
        least=0,
        most=1,
    )
    batch_size: int = option(32, help="Images per step.", least=1)
    keep: str = option(
        LAST,
        help="The last epoch's model, or that of the best on validation; if it beats the head.",
        choices=(LAST, BEST),
    )
    patience: int = option(
        5, help="If the best is kept: stop after so many epochs without a new one.", least=1
    )
    weight_decay: float = option(1e-2, help="AdamW's.", least=0, below=1)
    label_smoothing: float = option(
        0.1, help="Share of the target spread over all classes.", least=0, below=1
    )
    average_weights: float | None = option(
        None,
        help="Momentum of the weights' moving average, such as 0.95; 0 = none.",
        least=0,
        below=1,
        default_words="by the number of steps, a tenth of which it averages",
    )
    augment: str = option(
        "light",
        help="light: shifts, zooms, turns; strong: RandAugment, MixUp, CutMix.",
        choices=AUGMENTATIONS,
    )
    flip: bool | None = option(
        None,
        help="Mirror images at random.",
        default_words="where the head is as sure of mirrored images",
    )
    class_weight: str | None = option(None, help=CLASS_WEIGHT_HELP, none_word="none")
    precision: str = option(
        "float32",
        help="Of the computation while training; a CPU with units for bfloat16 takes that, too.",
        choices=PRECISION_NAMES,
        aliases=FORMER_PRECISION_NAMES,
    )
    trunk_cache: bool | None = option(
        None,
        help="Keep the frozen trunk's output on disk.",
        default_words="where it saves time",
    )
    views: int = option(4, help="Augmented versions of an image in the trunk cache.", least=1)
    strategy: str = option(
        "single", help="mirrored: all devices of the kind at once.", choices=STRATEGIES
    )
    seed: int = option(0, help="Decides all that is left to chance.", least=0, most=2**32 - 1)

    @property
    def is_augmented(self) -> bool:
        return self.augment != "none" or bool(self.flip)

    def settle_average(self, n_images: int) -> "FinetuneOptions":
        """These options with a momentum of the moving average, where none was given.

        Args:
            n_images: to train on.
        """
        if self.average_weights is not None:
            return self
        n_steps = self.epochs * math.ceil(n_images / self.batch_size)
        momentum = 1 - 1 / (AVERAGED_SHARE * n_steps) if AVERAGED_SHARE * n_steps > 1 else 0.0
        return replace(self, average_weights=min(momentum, MOST_MOMENTUM))

    def describe_idle(self, *, uses_trunk_cache: bool) -> list[str]:
        """Names the options that were given and change nothing beside the others.

        Args:
            uses_trunk_cache: whether this training reads what the frozen part made of the images.
        """
        notes = []
        if self.views != FinetuneOptions.views and not (uses_trunk_cache and self.is_augmented):
            reason = "without a trunk cache" if self.is_augmented else "without augmentation"
            notes.append(
                f"`views={self.views}` changes nothing {reason}: it is the number of augmented "
                "images in the trunk cache."
            )
        if self.find_learning_rate and self.learning_rate != FinetuneOptions.learning_rate:
            notes.append(
                f"`learning_rate={self.learning_rate:g}` is used only if the sweep that "
                "`find_learning_rate` asks for finds none."
            )
        if self.patience != FinetuneOptions.patience and self.keep == LAST:
            notes.append(
                f"`patience={self.patience}` changes nothing with `keep='last'`: the learning rate "
                "falls until the last epoch, which is the one to keep."
            )
        elif self.patience != FinetuneOptions.patience and self.patience >= self.epochs:
            notes.append(
                f"`patience={self.patience}` changes nothing with `epochs={self.epochs}`: training "
                "ends before."
            )
        return notes

    def check(self) -> None:
        """Raises a ParameterError for values that make no sense."""
        check_options(self, "fine-tune")
