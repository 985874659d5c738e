"""What may be chosen about heads. Nothing heavy is imported here: the command line reads it."""

import math
from dataclasses import dataclass

from pipeline.system.options import option

CLASS_WEIGHT_HELP = (
    "none; balanced: each class counts the same, however few its images; or a JSON or CSV FILE "
    "with a weight for each."
)


@dataclass(frozen=True)
class FoldOptions:
    """Of cross-validation, whatever the head.

    Args:
        folds: into how many parts the images of train and val are divided, of which each is
            predicted by a head that was fitted on the others; None = no cross-validation.
        repeats: how often, each time divided anew.
    """

    folds: int | None = option(
        None,
        help="Cross-validate in so many folds, then fit the head on all images but test's.",
        least=2,
        most=1000,
        none_word="none",
    )
    repeats: int = option(1, help="Cross-validate so often, each time in new folds.", least=1)


@dataclass(frozen=True)
class ViewOptions:
    """Of feature files with views, whatever the head.

    Args:
        views: fit on all views of the training images, where the file has some.
        tta: what is said of an image is the mean of the probabilities of all its views, in the
            run's scores and wherever it predicts.
    """

    views: bool = option(True, help="Train on images as they are, not on their views.")
    tta: bool = option(False, help="Average the answers over all views of an image, always.")


@dataclass(frozen=True)
class LogregOptions:
    """Of the logistic regression.

    Args:
        C: inverse regularisation strength, None = choose it by validation.
        class_weight: `balanced`, a file of weights, or None; see `weigh_classes`.
    """

    C: float | None = option(
        None,
        help="Inverse regularisation of logreg and svm: a number, or auto.",
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
        help="Regularisation of ridge and elastic-net: a number, or auto.",
        above=0,
        below=math.inf,
        none_word="auto",
    )
    class_weight: str | None = option(None, help=CLASS_WEIGHT_HELP, none_word="none")


@dataclass(frozen=True)
class SvmOptions:
    """Of the linear support vector machine.

    Args:
        C: inverse regularisation strength, of standardised features; None = choose it by
            validation.
        class_weight: `balanced`, a file of weights, or None; see `weigh_classes`.
    """

    C: float | None = option(
        None,
        help="Inverse regularisation of logreg and svm: a number, or auto.",
        above=0,
        below=math.inf,
        none_word="auto",
    )
    class_weight: str | None = option(None, help=CLASS_WEIGHT_HELP, none_word="none")


@dataclass(frozen=True)
class ElasticNetOptions:
    """Of the elastic net.

    Args:
        alpha: scikit-learn's regularisation strength, of standardised features; None = choose it
            by validation.
        l1_ratio: share of the penalty that is of absolute values, which leaves features out.
        class_weight: `balanced`, a file of weights, or None; see `weigh_classes`.
    """

    alpha: float | None = option(
        None,
        help="Regularisation of ridge and elastic-net: a number, or auto.",
        above=0,
        below=math.inf,
        none_word="auto",
    )
    l1_ratio: float = option(
        0.5, help="Of elastic-net: the more, the fewer features it uses.", least=0.01, most=1
    )
    class_weight: str | None = option(None, help=CLASS_WEIGHT_HELP, none_word="none")


@dataclass(frozen=True)
class ClassMeanOptions:
    """Of the nearest class mean, which has none."""


@dataclass(frozen=True)
class NeighboursOptions:
    """Of the nearest neighbours.

    Args:
        neighbours: how many training images vote; None = choose it by validation.
        temperature: of their votes: the lower, the more the nearest count.
    """

    neighbours: int | None = option(
        None, help="How many vote in neighbours: a number, or auto.", least=1, none_word="auto"
    )
    temperature: float = option(
        0.07,
        help="Of neighbours: the lower, the more the nearest count.",
        least=0.001,
        most=1000,
    )


@dataclass(frozen=True)
class BoostingOptions:
    """Of histogram gradient boosting.

    Args:
        iterations: trees of each class; None = choose it by validation.
        learning_rate: what each tree counts.
        class_weight: `balanced`, a file of weights, or None; see `weigh_classes`.
    """

    iterations: int | None = option(
        None, help="Trees of each class in boosting: a number, or auto.", least=1, none_word="auto"
    )
    learning_rate: float = option(0.1, help="Of dense and boosting.", above=1e-30, below=1)
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
    learning_rate: float = option(3e-4, help="Of dense and boosting.", above=1e-30, below=1)
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
