"""Linear scores become a linear head: honest probabilities, folded into kernel and bias.

What is fitted gives scores, not probabilities. The factor that makes them such is found on scores
of train rows that were held out, a third at a time; no validation row takes part in it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.heads.estimators.train_rows import RowsInMemory
from pipeline.heads.folds import hold_out_in_turn
from pipeline.heads.linear import LinearHead
from pipeline.heads.rows.view_rows import spread_over_views
from pipeline.heads.sharpness import find_sharpness
from pipeline.runs.scores import clip_losses, softmax

N_PARTS = 3
_PATIENCE = 2  # values in a row that validation finds worse than the best before the search ends


@dataclass(frozen=True)
class LinearScores:
    """Scores `rows @ kernel + bias`, float64 `(n_features, n_classes)` and `(n_classes,)`."""

    kernel: np.ndarray
    bias: np.ndarray

    def score(self, rows: np.ndarray) -> np.ndarray:
        scores: np.ndarray = rows @ self.kernel + self.bias
        return scores


# Fits on rows `(n, n_features)`, labels and weights of the rows.
FitScores = Callable[[np.ndarray, np.ndarray, np.ndarray], LinearScores]


def calibrate(fit: FitScores, rows: np.ndarray, known: RowsInMemory) -> float:
    """The factor that makes scores of rows that were held out the most honest.

    Args:
        rows: float64 `(n_train, n_features)`, the train rows as `fit` takes them. Augmented views
            are held out with their image, and not scored.
    """
    n_images, labels, weights = known.n_images, known.labels, known.sample_weights
    scores = np.zeros((n_images, len(known.class_names)))
    is_scored = np.zeros(n_images, bool)
    for is_held in hold_out_in_turn(labels[:n_images], known.units[:n_images], N_PARTS, seed=0):
        if is_held.any():
            kept = ~spread_over_views(is_held, known.n_views)
            found = fit(rows[kept], labels[kept], weights[kept])
            scores[is_held] = found.score(rows[:n_images][is_held])
            is_scored |= is_held
    if not is_scored.any():
        return 1.0
    scored = np.flatnonzero(is_scored)
    return find_sharpness(scores[scored], labels[scored], weights[scored])


def fold(found: LinearScores, factor: float, known: RowsInMemory, *, standard: bool) -> LinearHead:
    """A head on raw features from scores of raw or of standardised ones."""
    kernel, bias = factor * found.kernel, factor * found.bias
    if standard:
        kernel = kernel / known.scale[:, None]
    kernel = kernel.astype(np.float32)
    if standard:  # of the rounded kernel, so that the scores at the mean stay exact
        bias = bias - known.mean @ kernel.astype(np.float64)
    return LinearHead(kernel, bias.astype(np.float32), known.class_names)


def judge(found: LinearScores, rows: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Log-loss, at the factor that is best for these rows, and accuracy."""
    scores = found.score(rows)
    probabilities = softmax(find_sharpness(scores, labels) * scores)
    of_label = probabilities[np.arange(len(labels)), labels]
    with np.errstate(divide="ignore"):  # of 0, which is clipped
        losses = clip_losses(-np.log(of_label))
    return float(losses.mean()), float((scores.argmax(axis=1) == labels).mean())


def search(
    name: str,
    values: list[float],
    fit_at: Callable[[float], LinearScores],
    rows: tuple[np.ndarray, np.ndarray],
    known: RowsInMemory,
    tell: Callable[[int], None],
) -> tuple[float, LinearScores, list[dict[str, Any]]]:
    """Tries values in order until validation has found some worse than the best before.

    Args:
        name: of what is tried.
        rows: train and val as `fit_at` takes them.
        tell: called with how many were tried.

    Returns:
        The value with the lowest validation log-loss, its scores, and a record for each tried.
    """
    train, val = rows
    tried: list[dict[str, Any]] = []
    fits: list[LinearScores] = []
    for value in values:
        start = time.perf_counter()
        fits.append(fit_at(value))
        loss, accuracy = judge(fits[-1], train, known.labels)
        val_loss, val_accuracy = judge(fits[-1], val, known.val_labels)
        tried.append(
            {
                name: value,
                **{"train_loss": loss, "train_accuracy": accuracy},
                **{"val_loss": val_loss, "val_accuracy": val_accuracy},
                "seconds": time.perf_counter() - start,
            }
        )
        tell(len(tried))
        losses = [record["val_loss"] for record in tried]
        best = int(np.argmin(losses))
        if len(losses) - 1 - best >= _PATIENCE:
            break
    tell(len(values))
    return tried[best][name], fits[best], tried
