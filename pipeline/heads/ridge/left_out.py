"""The score that each row would get from a ridge regression that never saw it, exactly.

Leaving rows B out of a fit changes their residuals r_B to `(I - H_BB)^-1 r_B`, H being the matrix
that maps targets to fitted values: the block form of Allen's PRESS (Cook and Weisberg, "Residuals
and influence in regression", 1982, chapter 3.2). One decomposition gives H for every strength.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from pipeline.heads.ridge.decomposition import (
    Decomposition,
    Moments,
    RidgeRows,
    sum_moments,
)
from pipeline.system.parallel import count_cores, map_batches
from pipeline.system.progress import OnProgress

_BLOCK_BYTES = 64 * 2**20  # of the largest array of a block of rows
# Of more rows than this share of the features, a fit without them is quicker than the formula.
_LARGE_UNIT = 0.25
_SMALL_UNIT = 48  # rows whose products with each other are taken for all strengths at once


def leave_units_out(
    rows: RidgeRows,
    found: Decomposition,
    alphas: np.ndarray,
    units: np.ndarray | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Gives numbers of rows and their scores, `(n_alphas, n, n_classes)`, until all had theirs.

    Args:
        rows: what was decomposed.
        alphas: float64 `(n_alphas,)`, each at least `LEAST_SHARE` of the greatest eigenvalue.
        units: int `(n_samples,)`; rows of one number are left out together. None = each alone.
        on_progress: called with a stage, the number of rows done and the number to do.
    """
    work = _Work(rows, found, alphas)
    n_rows, done = int(rows.is_used.sum()), 0
    for numbers, scores in _each_part(work, units):
        yield numbers, scores
        done += len(numbers)
        on_progress("Leaving one out", done, n_rows)


def _each_part(work: "_Work", units: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    used = np.flatnonzero(work.rows.is_used)
    single, larger = (used, {}) if units is None else _list_units(units[used], used)
    parts = list(_cut(single, work.rows_per_block))
    yield from zip(parts, map_batches(work.leave_each_out, parts, count_cores()), strict=True)
    for size, members in larger.items():
        if size > _LARGE_UNIT * work.rows.features.shape[1]:
            for unit in members:
                yield unit, work.refit_without(unit)
            continue
        n_most = work.units_per_block(size)
        stacked = np.stack(members)
        groups = [stacked[start : start + n_most] for start in range(0, len(stacked), n_most)]
        done = map_batches(work.leave_groups_out, groups, count_cores())
        for group, scores in zip(groups, done, strict=True):
            yield group.ravel(), scores


def _list_units(
    units: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, dict[int, list[np.ndarray]]]:
    """Rows that are alone in their unit, and by their size the units with more."""
    order = np.argsort(units, kind="stable")
    starts = np.flatnonzero(np.diff(units[order], prepend=units[order[0]] - 1))
    members = np.split(numbers[order], starts[1:])
    larger: dict[int, list[np.ndarray]] = {}
    for one in members:
        if len(one) > 1:
            larger.setdefault(len(one), []).append(one)
    single = np.sort(np.concatenate([one for one in members if len(one) == 1] or [numbers[:0]]))
    return single, larger


def _cut(numbers: np.ndarray, n_most: int) -> Iterator[np.ndarray]:
    return (numbers[start : start + n_most] for start in range(0, len(numbers), n_most))


class _Work:
    """Leaves rows out; everything that does not depend on which rows is computed once."""

    def __init__(self, rows: RidgeRows, found: Decomposition, alphas: np.ndarray):
        self.rows, self._found, self._alphas = rows, found, alphas
        self._shrink = 1 / (found.eigenvalues[:, None] + alphas)  # (rank, n_alphas)
        fitted = found.loadings[:, None, :] * self._shrink[:, :, None]
        self._maps = fitted.reshape(len(fitted), -1)  # (rank, n_alphas * n_classes)
        self._shape = (len(alphas), found.loadings.shape[1])

    @property
    def rows_per_block(self) -> int:
        widest = max(self._maps.shape[1], *self._found.basis.shape)
        return max(1, _BLOCK_BYTES // (8 * widest))

    def units_per_block(self, size: int) -> int:
        """So many units of some rows each that their products take no more than a block."""
        rank = self._found.basis.shape[1]
        wide = min(size, _SMALL_UNIT) * rank + len(self._alphas) * (size + self._shape[1])
        return max(1, _BLOCK_BYTES // (8 * size * wide))

    def _project(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Roots of the weights, rows in the basis, residuals `(n, n_alphas, n_classes)`."""
        found, roots = self._found, self.rows.root_weights(numbers)
        placed = ((self.rows.read(numbers) - found.mean) * roots) @ found.basis
        residuals = (placed @ self._maps).reshape(len(numbers), *self._shape)
        targets = (self.rows.targets(numbers) - found.target_mean) * roots
        np.subtract(targets[:, None], residuals, out=residuals)
        return roots, placed, residuals

    def leave_each_out(self, numbers: np.ndarray) -> np.ndarray:
        """Scores of rows, each left out alone."""
        roots, placed, residuals = self._project(numbers)
        lacking = 1 - roots**2 / self._found.weight_sum - np.square(placed) @ self._shrink
        residuals /= (lacking * roots)[:, :, None]
        return self._score(numbers, residuals)

    def leave_groups_out(self, groups: np.ndarray) -> np.ndarray:
        """Scores of the rows of units of one size, `(n_units, size)`, each unit left out."""
        n_units, size = groups.shape
        numbers = groups.ravel()
        roots, placed, residuals = self._project(numbers)
        roots = roots.reshape(n_units, size)
        placed = placed.reshape(n_units, size, -1)
        residuals = residuals.reshape(n_units, size, *self._shape).transpose(0, 2, 1, 3)
        own = np.eye(size) - roots[:, :, None] * roots[:, None, :] / self._found.weight_sum
        if size <= _SMALL_UNIT:
            products = placed[:, :, None, :] * placed[:, None, :, :]
            hats = np.moveaxis(products @ self._shrink, -1, 1)
            left_out = np.linalg.solve(own[:, None] - hats, residuals)
        else:
            left_out = np.empty_like(residuals)
            for number, shrink in enumerate(self._shrink.T):
                hats = (placed * shrink) @ placed.transpose(0, 2, 1)
                left_out[:, number] = np.linalg.solve(own - hats, residuals[:, number])
        left_out /= roots[:, None, :, None]
        return self._score(numbers, left_out.transpose(0, 2, 1, 3).reshape(-1, *self._shape))

    def refit_without(self, numbers: np.ndarray) -> np.ndarray:
        """Scores of the rows of one large unit, from a fit on all others."""
        parts = list(_cut(numbers, self.rows_per_block))
        others = self._moments.without(sum_moments(self.rows, parts, self._found.mean))
        kernels, intercepts = others.solve(self._alphas, self._found.mean)
        return self.rows.read(numbers) @ kernels + intercepts[:, None, :]

    @cached_property
    def _moments(self) -> Moments:
        return sum_moments(self.rows, self.rows.blocks(), self._found.mean)

    def _score(self, numbers: np.ndarray, left_out: np.ndarray) -> np.ndarray:
        """Targets less what a fit without them misses them by, `(n_alphas, n, n_classes)`."""
        scores = self.rows.targets(numbers)[:, None] - left_out
        return scores.transpose(1, 0, 2)
