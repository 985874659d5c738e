"""Ridge regression on one-hot targets, decomposed once for all strengths of regularisation.

Minimised is `sum_i w_i |y_i - b - x_i W|^2 + alpha |W|^2`: scikit-learn's `Ridge(alpha)` with
weights of samples. The intercept `b` is not penalised. Everything is computed in float64, block by
block.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.errors import ParameterError
from pipeline.heads.head import FeatureArray
from pipeline.heads.rows.training_rows import split_rows
from pipeline.system.parallel import count_cores, map_batches
from pipeline.system.progress import OnProgress

# Strengths are shares of the greatest eigenvalue. Below the least, float64 no longer tells what a
# row does to its own fit from rounding: 1e-8 leaves scores that are right to 1e-6.
LEAST_SHARE = 1e-8
_RANK_TOLERANCE = 1e-15  # of the greatest eigenvalue: directions below it are rounding


@dataclass(frozen=True)
class RidgeRows:
    """The rows that a ridge regression is fitted on.

    Args:
        features: float32 `(n_samples, n_features)`, finite; nothing but slices and arrays of row
            numbers is taken of them.
        labels: int `(n_samples,)`, indices of classes.
        is_used: bool `(n_samples,)`, the rows to fit.
        weights: float64 `(n_classes,)`, above 0: what a row of each class counts.
        n_views: rows of each image, in the order of `TrainingRows`.
    """

    features: FeatureArray
    labels: np.ndarray
    is_used: np.ndarray
    weights: np.ndarray
    n_views: int = 1

    def blocks(self, rows_per_block: int | None = None) -> list[np.ndarray]:
        """Numbers of the used rows in order, a few megabytes of features at a time."""
        numbers = [
            np.flatnonzero(self.is_used[block]) + block.start
            for block in split_rows(self.features, rows_per_block)
        ]
        return [some for some in numbers if len(some)]

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Some rows, float64, in the order of their numbers as given."""
        first, last = int(numbers[0]), int(numbers[-1]) + 1
        if last - first == len(numbers) and np.all(np.diff(numbers) == 1):
            return self.features[first:last].astype(np.float64)
        return self.features[numbers].astype(np.float64)

    def root_weights(self, numbers: np.ndarray) -> np.ndarray:
        """Square roots of the weights of some rows, `(n, 1)`."""
        return np.sqrt(self.weights[self.labels[numbers]])[:, None]

    def targets(self, numbers: np.ndarray) -> np.ndarray:
        """One-hot, float64 `(n, n_classes)`."""
        return np.eye(len(self.weights))[self.labels[numbers]]


@dataclass(frozen=True)
class Decomposition:
    """The products of centred, weighted rows, `sqrt(w) (x - mean)`, and of these with targets.

    Args:
        mean: float64 `(n_features,)`, the weighted mean of the rows.
        target_mean: float64 `(n_classes,)`, that of their targets.
        weight_sum: of all rows.
        eigenvalues: float64 `(rank,)`, rising, above 0.
        basis: float64 `(n_features, rank)`, orthonormal columns.
        loadings: float64 `(rank, n_classes)`, products of rows and targets in the basis.
    """

    mean: np.ndarray
    target_mean: np.ndarray
    weight_sum: float
    eigenvalues: np.ndarray
    basis: np.ndarray
    loadings: np.ndarray

    @property
    def greatest(self) -> float:
        """The greatest eigenvalue, which strengths are compared with."""
        return float(self.eigenvalues[-1])

    def fit(self, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """Kernel `(n_features, n_classes)` and intercept `(n_classes,)` at a strength, float64."""
        kernel = self.basis @ (self.loadings / (self.eigenvalues + alpha)[:, None])
        return kernel, self.target_mean - self.mean @ kernel


def decompose(
    rows: RidgeRows,
    shift: np.ndarray,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Decomposition:
    """Decomposes the rows by the smaller of the two matrices of their products.

    Args:
        shift: float64 `(n_features,)`, a mean of the rows, so that no digits are lost to it.
        on_progress: called with a stage, the number of rows done and the number to do.

    Raises:
        ParameterError: no feature varies.
    """
    n_features = rows.features.shape[1]
    n_used = int(rows.is_used.sum())
    found = (
        _decompose_few_rows(rows, shift)
        if n_used <= n_features
        else _decompose_many_rows(rows, shift, on_progress)
    )
    if not found.eigenvalues.size:
        raise ParameterError(
            "Expected `features` of which some differ between rows. Received: "
            f"{n_used:,} rows that are all equal",
            "features",
        )
    return found


def _decompose_few_rows(rows: RidgeRows, shift: np.ndarray) -> Decomposition:
    """By the products of rows with rows, of which there are fewer than features."""
    numbers = np.flatnonzero(rows.is_used)
    roots, targets = rows.root_weights(numbers), rows.targets(numbers)
    weights = roots**2
    centred = rows.read(numbers) - shift
    middle = (weights * centred).sum(axis=0) / weights.sum()
    target_mean = (weights * targets).sum(axis=0) / weights.sum()
    centred -= middle
    centred *= roots
    eigenvalues, vectors = _find_eigenvectors(centred @ centred.T)
    basis = centred.T @ (vectors / np.sqrt(eigenvalues))
    loadings = np.sqrt(eigenvalues)[:, None] * (vectors.T @ (roots * (targets - target_mean)))
    return Decomposition(
        shift + middle, target_mean, float(weights.sum()), eigenvalues, basis, loadings
    )


def _decompose_many_rows(
    rows: RidgeRows, shift: np.ndarray, on_progress: OnProgress
) -> Decomposition:
    """By the products of features with features, summed block by block."""
    total = sum_moments(rows, rows.blocks(), shift, on_progress)
    mean, target_mean, products, cross = total.centre()
    eigenvalues, basis = _find_eigenvectors(products)
    return Decomposition(
        shift + mean, target_mean, total.weight, eigenvalues, basis, basis.T @ cross
    )


@dataclass(frozen=True)
class Moments:
    """Weighted sums over rows, relative to a shift; those of some can be taken off those of all.

    Args:
        weight: sum of the weights.
        features: float64 `(n_features,)`.
        targets: float64 `(n_classes,)`.
        products: float64 `(n_features, n_features)`.
        cross: float64 `(n_features, n_classes)`, features times targets.
    """

    weight: float
    features: np.ndarray
    targets: np.ndarray
    products: np.ndarray
    cross: np.ndarray

    def centre(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The two means, and both kinds of products of what is left without them."""
        mean, target_mean = self.features / self.weight, self.targets / self.weight
        products = self.products - self.weight * np.outer(mean, mean)
        cross = self.cross - self.weight * np.outer(mean, target_mean)
        return mean, target_mean, products, cross

    def without(self, others: "Moments") -> "Moments":
        """Those of all rows but some."""
        return Moments(
            *(ours - theirs for ours, theirs in zip(_list(self), _list(others), strict=True))
        )

    def solve(self, alphas: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kernels `(n_alphas, n_features, n_classes)` and intercepts `(n_alphas, n_classes)`."""
        mean, target_mean, products, cross = self.centre()
        eigenvalues, basis = np.linalg.eigh(products)
        loadings = basis.T @ cross
        eigenvalues = np.maximum(eigenvalues, 0)
        shrunk = loadings / (eigenvalues + alphas[:, None])[:, :, None]
        kernels = basis @ shrunk
        return kernels, target_mean - (mean + shift) @ kernels


def _list(moments: Moments) -> tuple:
    return tuple(vars(moments).values())


def sum_moments(
    rows: RidgeRows,
    blocks: list[np.ndarray],
    shift: np.ndarray,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Moments:
    """The weighted sums over blocks of rows, one after another in their order."""

    def sum_block(numbers: np.ndarray) -> Moments:
        roots, targets = rows.root_weights(numbers), rows.targets(numbers)
        centred = (rows.read(numbers) - shift) * roots
        return Moments(
            float(np.square(roots).sum()),
            (centred * roots).sum(axis=0),
            (targets * roots**2).sum(axis=0),
            centred.T @ centred,
            centred.T @ (targets * roots),
        )

    def each() -> Iterator[Moments]:
        done, n_rows = 0, sum(map(len, blocks))
        for numbers, moments in zip(
            blocks, map_batches(sum_block, blocks, count_cores()), strict=True
        ):
            yield moments
            done += len(numbers)
            on_progress("Decomposing", done, n_rows)

    sums: list[np.ndarray] = []
    for moments in each():
        values = list(map(np.asarray, _list(moments)))
        for total, value in zip(sums, values, strict=False):
            np.add(total, value, out=total)
        sums = sums or [value.copy() for value in values]
    return Moments(float(sums[0]), *sums[1:])


def _find_eigenvectors(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues that are more than rounding, rising, and their vectors as columns."""
    eigenvalues, vectors = np.linalg.eigh(products)
    is_real = eigenvalues > max(0.0, _RANK_TOLERANCE * eigenvalues[-1])
    return eigenvalues[is_real], vectors[:, is_real]
