"""Cross-validation: each image is predicted by a head that was fitted without it, and chosen so."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pipeline.heads.folds import assign_folds, hold_some_out
from pipeline.heads.head import ChosenHead, FeatureArray, Head, TrainingRows
from pipeline.heads.options import FoldOptions
from pipeline.heads.registry import HeadKind
from pipeline.heads.rows.training_rows import check_rows
from pipeline.heads.rows.view_rows import add_views, predict_rows
from pipeline.runs.out_of_fold import OutOfFold
from pipeline.system.progress import OnProgress

# Of the images of a fold's training part, so many-th choose (C, an epoch) while the others train.
_INNER_PARTS = 4


@dataclass(frozen=True)
class Fitting:
    """What is to be fitted again and again: a kind of head with its options.

    Args:
        views: rows of the augmented views of all images, of which those of training images are
            fitted, too; None = view 0 alone.
        averages: predict by the mean of an image's views, not by view 0.
    """

    kind: HeadKind
    options: Any
    seed: int
    views: FeatureArray | None = None
    averages: bool = False

    def fit(self, rows: TrainingRows, on_progress: OnProgress) -> ChosenHead:
        """Fits a head on rows of images as they are divided, and on their views."""
        every = add_views(rows, self.views)
        return self.kind.import_fit()(every, self.options, seed=self.seed, on_progress=on_progress)

    def predict(self, head: Head, features: FeatureArray, numbers: np.ndarray) -> np.ndarray:
        """Probabilities of some images, float32 `(n, n_classes)`."""
        return predict_rows(head, features, numbers, self.views if self.averages else None)

    def fit_on_all(
        self, rows: TrainingRows, on_progress: OnProgress
    ) -> tuple[ChosenHead, np.ndarray]:
        """Fits a head on the rows of train and val together.

        Where validation rows choose, they do so first (those of `is_val`; some of the others where
        there are none), and what they chose is then fitted on all.

        Returns:
            The head, and which rows it was fitted on, bool `(n_samples,)`: a head that cannot do
            without validation rows was fitted on the others.
        """
        is_used = rows.is_train | rows.is_val
        everything = replace(rows, is_train=is_used, is_val=np.zeros_like(is_used))
        if not self.kind.needs_val(self.options):
            return self.fit(everything, on_progress), is_used
        divided = rows if rows.is_val.any() else self._hold_some_out(everything)
        chosen = self.fit(divided, on_progress)
        if chosen.settled is None:
            return chosen, divided.is_train
        settled = replace(self, options=self.kind.options(**asdict(self.options) | chosen.settled))
        again = settled.fit(everything, on_progress)
        return replace(chosen, head=again.head, notes=again.notes), is_used

    def _hold_some_out(self, rows: TrainingRows) -> TrainingRows:
        used = np.flatnonzero(rows.is_train)
        is_held = hold_some_out(
            rows.labels[used], _number_units(rows)[used], _INNER_PARTS, self.seed
        )
        is_val = np.zeros(len(rows.labels), bool)
        is_val[used[is_held]] = True
        return replace(rows, is_train=rows.is_train & ~is_val, is_val=is_val)


def cross_fit(
    fitting: Fitting, rows: TrainingRows, folds: FoldOptions, on_progress: OnProgress
) -> OutOfFold:
    """Predicts each row of train and val by a head that was fitted on the other folds.

    What a head chooses (a strength, an epoch) it chooses by rows of these other folds, too.

    Raises:
        SplitError: a class is too small for so many folds.
    """
    n_folds = folds.folds or 0
    is_used = rows.is_train | rows.is_val
    nothing = np.zeros_like(is_used)
    names = list(map(str, rows.class_names))
    check_rows(rows.features, rows.labels, is_used, nothing, names, needs_val=False)
    used = np.flatnonzero(is_used)
    units = _number_units(rows)[used]
    every = [
        assign_folds(rows.labels[used], units, n_folds, fitting.seed + repeat, names)
        for repeat in range(folds.repeats)
    ]
    probabilities = np.empty((folds.repeats, len(used), len(names)), np.float32)
    for repeat, of_rows in enumerate(every):
        for number in range(n_folds):
            is_out = of_rows == number
            is_train = nothing.copy()
            is_train[used[~is_out]] = True
            others = replace(rows, is_train=is_train, is_val=nothing)
            step = repeat * n_folds + number
            tell = _name_fold(on_progress, step, folds.repeats * n_folds)
            head = fitting.fit_on_all(others, tell)[0].head
            probabilities[repeat, is_out] = fitting.predict(head, rows.features, used[is_out])
    return OutOfFold(used, np.stack(every), probabilities)


def _number_units(rows: TrainingRows) -> np.ndarray:
    return np.arange(len(rows.labels)) if rows.units is None else rows.units


def _name_fold(on_progress: OnProgress, step: int, n_steps: int) -> OnProgress:
    """Says of each stage in which fold it is."""
    return lambda stage, done, total: on_progress(
        f"Fold {step + 1} of {n_steps}: {stage[:1].lower()}{stage[1:]}", done, total
    )
