"""What may be chosen about heads. Nothing heavy is imported here: the command line reads it."""

import math
from dataclasses import dataclass

from pipeline.system.options import option

CLASS_WEIGHT_HELP = (
    "none; balanced: each class counts the same, however few its images; or a JSON or CSV FILE "
    "with a weight for each."
)


@dataclass(frozen=True)
class LogregOptions:
    """Of the logistic regression.

    Args:
        C: inverse regularisation strength, None = choose it by validation.
        class_weight: `balanced`, a file of weights, or None; see `weigh_classes`.
    """

    C: float | None = option(
        None,
        help="Inverse regularisation of logreg: a number, or auto.",
        above=0,
        below=math.inf,
        none_word="auto",
    )
    class_weight: str | None = option(None, help=CLASS_WEIGHT_HELP, none_word="none")


@dataclass(frozen=True)
class RidgeOptions:
    """Of the ridge head.

    Args:
        alpha: scikit-learn's regularisation strength, of features as they are; None = choose it
            by leaving out each training image (with its copies and its group) in turn.
        class_weight: `balanced`, a file of weights, or None; see `weigh_classes`.
    """

    alpha: float | None = option(
        None,
        help="Regularisation of ridge: a number, or auto.",
        above=0,
        below=math.inf,
        none_word="auto",
    )
    class_weight: str | None = option(None, help=CLASS_WEIGHT_HELP, none_word="none")


@dataclass(frozen=True)
class DenseOptions:
    """Of the dense head.

    Args:
        hidden_units: width of a hidden ReLU layer; 0 for none.
        dropout: share of the last layer's inputs dropped while training.
        learning_rate: AdamW's. A rate is float32 in the end, where less than 1e-38 is nothing.
        weight_decay: AdamW's, on kernels only.
        batch_size: rows a step.
        epochs: at most so many.
        patience: stop after so many epochs without a lower validation loss.
        class_weight: `balanced`, a file of weights, or None; see `weigh_classes`.
    """

    hidden_units: int = option(
        0, help="Width of dense's hidden layer, 0 = none.", least=0, flag="hidden"
    )
    dropout: float = option(0.5, help="Of the dense head.", least=0, below=1)
    learning_rate: float = option(3e-4, help="Of the dense head.", above=1e-30, below=1)
    weight_decay: float = option(1e-2, help="AdamW's, of the dense head.", least=0, below=1)
    batch_size: int = option(64, help="Rows a step, of the dense head.", least=1)
    epochs: int = option(200, help="Of the dense head, at most.", least=1)
    patience: int = option(
        10, help="Stop the dense head after so many epochs without a new best.", least=1
    )
    class_weight: str | None = option(None, help=CLASS_WEIGHT_HELP, none_word="none")

    def describe_idle(self) -> list[str]:
        """Names the options that were given and change nothing beside the others."""
        if self.patience == DenseOptions.patience or self.patience < self.epochs:
            return []
        return [
            f"`patience={self.patience}` changes nothing with `epochs={self.epochs}`: training "
            "ends before."
        ]
