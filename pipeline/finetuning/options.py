"""What may be chosen about fine-tuning, checked before anything is loaded."""

from dataclasses import dataclass

from pipeline.errors import FrostlineError
from pipeline.system.option_rules import require_options

AUGMENTATIONS = ("none", "light", "strong")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
STRATEGIES = ("single", "mirrored")


@dataclass(frozen=True)
class FinetuneOptions:
    """How to fine-tune; the defaults are those of the command line.

    Args:
        unfreeze: a frost line's name, a number of blocks from the top, or `all`; None = by the
            number of images and classes.
        epochs: at most so many.
        learning_rate: the highest, after the warm-up.
        find_learning_rate: sweep the rate first and take the one that the sweep suggests.
        layer_decay: each block below the head gets the rate of the one above times this.
        warmup: share of all steps in which the rate rises to its highest.
        weight_decay: AdamW's, on kernels only.
        average_weights: momentum of the weights' moving average, 0 = none.
        batch_size: images per step, over all devices together.
        patience: stop after so many epochs that did not win.
        augment: `none`, `light` or `strong`.
        flip: mirror images left to right.
        class_weight: `balanced`, a file of weights, or None; see `weigh_classes`.
        label_smoothing: share of the target spread over all classes.
        precision: of the computation; weights are float32 in any case.
        trunk_cache: keep the frozen trunk's output on disk; None = where it saves time.
        views: augmented versions of each training image in the trunk cache.
        strategy: `single`, or `mirrored` over all devices of a kind.
        seed: decides the order of images, augmentation and dropout.
    """

    unfreeze: str | None = None
    epochs: int = 8
    learning_rate: float = 3e-4
    find_learning_rate: bool = False
    layer_decay: float = 1.0
    warmup: float = 0.1
    weight_decay: float = 1e-2
    average_weights: float = 0.0
    batch_size: int = 32
    patience: int = 5
    augment: str = "light"
    flip: bool = False
    class_weight: str | None = None
    label_smoothing: float = 0.1
    precision: str = "float32"
    trunk_cache: bool | None = None
    views: int = 4
    strategy: str = "single"
    seed: int = 0

    @property
    def is_augmented(self) -> bool:
        return self.augment != "none" or self.flip

    def check(self) -> None:
        """Raises a FrostlineError for values that make no sense."""
        rules = (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("views", self.views >= 1, "at least 1"),
            ("patience", self.patience >= 1, "at least 1"),
            ("seed", 0 <= self.seed < 2**32, "from 0 to 4,294,967,295"),
            ("learning_rate", 0 < self.learning_rate < 1, "between 0 and 1"),
            ("layer_decay", 0 < self.layer_decay <= 1, "above 0 and at most 1"),
            ("weight_decay", 0 <= self.weight_decay < 1, "at least 0 and below 1"),
            ("average_weights", 0 <= self.average_weights < 1, "at least 0 and below 1"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "at least 0 and below 1"),
            ("augment", self.augment in AUGMENTATIONS, f"one of {', '.join(AUGMENTATIONS)}"),
            ("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
            ("strategy", self.strategy in STRATEGIES, f"one of {', '.join(STRATEGIES)}"),
        )
        require_options("fine-tune", ((name, getattr(self, name), *rule) for name, *rule in rules))
        if self.trunk_cache and self.augment == "strong":
            raise FrostlineError(
                "`strong` augmentation mixes images anew in each step, so nothing below the frost "
                "line stays the same. Expected --trunk-cache with --augment none or light. "
                "Received: --trunk-cache --augment strong"
            )
