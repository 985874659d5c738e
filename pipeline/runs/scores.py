"""Predictions to numbers: accuracy with its interval, balanced accuracy, F1, log-loss, confusions.

A number that is not defined (the recall of a class without samples) is None, never a silent 0, and
takes no part in a mean: balanced accuracy and macro F1 are means over the classes with samples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np

from pipeline.images.splits import SPLITS
from pipeline.system.printable import printable

FOLDS = "folds"  # cross-validation: each image scored by a head that was fitted without it
SCORED_SPLITS = ("test", FOLDS, "val", "train")  # the fairest first
# What a probability counts for at least in a log-loss, as in scikit-learn.
LEAST_PROBABILITY = float(np.finfo(np.float64).eps)
_N_NAMED = 3  # of the classes that a sentence is about


@dataclass(frozen=True)
class ClassMetrics:
    """How well one class is found.

    Args:
        name: of the class.
        n_samples: how many samples carry this label.
        precision: share of the samples called `name` that are; None if none was called so.
        recall: share of the samples of `name` that were called so; None if there are none.
        f1: harmonic mean of the two; None if the class occurs neither as label nor as prediction.
    """

    name: str
    n_samples: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Metrics:
    """The numbers of one split.

    Args:
        n_samples: how many samples were scored.
        accuracy: share of samples whose most probable class is their label.
        accuracy_interval: 95% Wilson interval of the accuracy, (low, high).
        balanced_accuracy: mean recall of the classes that occur as labels.
        macro_f1: mean F1 of the classes that occur as labels.
        log_loss: mean of -ln(probability of the label), probabilities clipped to 2.2e-16..1.
        per_class: one `ClassMetrics` per class, in the order of the class names.
        confusion_matrix: int64 `(n_classes, n_classes)`, counts: rows are labels, columns
            predictions. Empty in a manifest that was read, since matrices have a file of their
            own; see `read_confusion_matrices`.
    """

    n_samples: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    log_loss: float
    per_class: list[ClassMetrics]
    confusion_matrix: np.ndarray = field(
        default_factory=lambda: np.empty((0, 0), np.int64), compare=False, repr=False
    )

    def to_dict(self) -> dict[str, Any]:
        """The same as a dict of plain lists, numbers, strings and None, ready for JSON."""
        return {
            **vars(self),
            "accuracy_interval": list(self.accuracy_interval),
            "per_class": [dict(vars(one)) for one in self.per_class],
            "confusion_matrix": self.confusion_matrix.tolist(),
        }

    @property
    def absent_classes(self) -> list[str]:
        """Names of the classes without a sample."""
        return [one.name for one in self.per_class if one.n_samples == 0]


def wilson_interval(n_correct: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a share; honest for small `n` and near 0 and 1.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical
    inference", JASA 22 (1927), without continuity correction.

    Args:
        n_correct: successes, 0..`n`; a mean over repeats need not be whole.
        n: trials. With none, nothing is known: (0, 1).
        confidence: between 0 and 1.

    Returns:
        The lower and the upper bound, both in 0..1.

    Raises:
        ValueError: counts or confidence out of range.
    """
    if not 0 <= n_correct <= n:
        raise ValueError(f"`n_correct` must be in 0..n. Received: n_correct={n_correct}, n={n}")
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must be between 0 and 1. Received: confidence={confidence}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = n_correct / n
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    low = 0.0 if n_correct == 0 else center - half
    high = 1.0 if n_correct == n else center + half
    return low, high


def softmax(scores: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, shifted by the greatest score so that nothing overflows.

    Args:
        scores: `(n_samples, n_classes)`.

    Returns:
        Probabilities of the same shape and dtype.
    """
    powers: np.ndarray = np.exp(scores - scores.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


def clip_losses(losses: np.ndarray) -> np.ndarray:
    """Losses of single samples in nats, none above that of `LEAST_PROBABILITY`.

    The one rule for each log-loss that is reported or chosen by: a sure mistake costs much, and
    never so much that the mean says nothing of all others.
    """
    clipped: np.ndarray = np.minimum(losses, -math.log(LEAST_PROBABILITY))
    return clipped


def mean_log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of -ln(probability of the label), in float64, clipped by `clip_losses`.

    Args:
        labels: int `(n_samples,)`.
        probabilities: `(n_samples, n_classes)`, rows that sum to 1.

    Returns:
        The log-loss in nats, 0..36.
    """
    return float(log_losses(labels, probabilities).mean())


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The log-loss of each image, float64 `(n_samples,)`; see `mean_log_loss`."""
    of_label = np.asarray(probabilities)[np.arange(len(labels)), labels].astype(np.float64)
    with np.errstate(divide="ignore"):  # of 0, which is clipped
        # The absolute value, since the negative of ln(1) would be printed as -0.0000.
        return clip_losses(np.abs(np.log(np.minimum(of_label, 1.0))))


def score_predictions(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> Metrics:
    """Scores predicted probabilities against labels.

    Args:
        labels: int `(n_samples,)`, indices into `class_names`.
        probabilities: `(n_samples, n_classes)`, rows that sum to 1.
        class_names: sequence of `n_classes` names. Some may be absent from `labels`.

    Returns:
        The `Metrics`.

    Raises:
        ValueError: nothing to score, shapes that do not fit, labels out of range, or
            probabilities that are none.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    _check(labels, probabilities, class_names)

    n_samples, n_classes = probabilities.shape
    # By hand: importing scikit-learn's metrics took a third of an evaluation from the cache.
    pairs = labels.astype(np.int64) * n_classes + probabilities.argmax(axis=1)
    confusion = np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)
    hits, support, called = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0 of classes that nobody is of or is called
        precision, recall, f1 = hits / called, hits / support, 2 * hits / (support + called)
    n_correct = int(hits.sum())
    return Metrics(
        n_samples=n_samples,
        accuracy=n_correct / n_samples,
        accuracy_interval=wilson_interval(n_correct, n_samples),
        # As scikit-learn's balanced_accuracy_score, which would warn of absent classes.
        balanced_accuracy=float(recall[support > 0].mean()),
        macro_f1=float(f1[support > 0].mean()),
        log_loss=mean_log_loss(labels, probabilities),
        per_class=[
            ClassMetrics(
                name=str(class_names[i]),
                n_samples=int(support[i]),
                precision=_number_or_none(precision[i]),
                recall=_number_or_none(recall[i]),
                f1=_number_or_none(f1[i]),
            )
            for i in range(n_classes)
        ],
        confusion_matrix=confusion,
    )


def score_splits(
    splits: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, class_names: list[str]
) -> dict[str, Metrics]:
    """Metrics of each split that has images, by name."""
    return {
        name: score_predictions(
            labels[splits == split], probabilities[splits == split], class_names
        )
        for split, name in enumerate(SPLITS)
        if np.any(splits == split)
    }


def describe_absent_classes(metrics: Mapping[str, Metrics]) -> list[str]:
    """A sentence for each split that lacks classes: of what its means are."""
    sentences = []
    for name, scores in metrics.items():
        absent, n_classes = scores.absent_classes, len(scores.per_class)
        if absent:
            shown = ", ".join(printable(one) for one in absent[:_N_NAMED])
            rest = f" and {len(absent) - _N_NAMED:,} more" if len(absent) > _N_NAMED else ""
            verb = "has" if len(absent) == 1 else "have"
            sentences.append(
                f"{name}: {len(absent):,} of {n_classes:,} classes {verb} no images there "
                f"({shown}{rest}); balanced accuracy and macro F1 are of the other "
                f"{n_classes - len(absent):,}."
            )
    return sentences


def _number_or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _check(labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> None:
    n_classes = len(class_names)
    if probabilities.shape != (len(labels), n_classes) or labels.ndim != 1 or not len(labels):
        raise ValueError(
            "`labels` must be (n_samples,) with at least one sample and `probabilities` "
            f"(n_samples, {n_classes}), one column per class. Received: labels of shape "
            f"{labels.shape}, probabilities of shape {probabilities.shape}"
        )
    if labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(
            f"`labels` must be in 0..{n_classes - 1}. "
            f"Received: labels from {labels.min()} to {labels.max()}"
        )
    if not np.isfinite(probabilities).all():
        row = int(np.flatnonzero(~np.isfinite(probabilities).all(axis=1))[0])
        raise ValueError(
            f"`probabilities` must be finite. Received: row {row} is {probabilities[row]}"
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    if probabilities.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        row = int(np.abs(sums - 1).argmax())
        raise ValueError(
            "`probabilities` must be at least 0 and each row must sum to 1. "
            f"Received: row {row} sums to {sums[row]:.6g}, least value {probabilities.min():.6g}"
        )
