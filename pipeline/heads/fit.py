"""Fits a head on rows of features. Pure: it reads no file, writes none and prints nothing.

(Class weights may be named by a file; that is read.)
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from pipeline.errors import ParameterError
from pipeline.features.options import SplitOptions
from pipeline.heads.cross_fitting import Fitting, cross_fit
from pipeline.heads.head import ChosenHead, FeatureArray, Head, TrainingRows
from pipeline.heads.options import FoldOptions
from pipeline.heads.registry import HEADS, HeadKind, find_head
from pipeline.heads.rows.arrange_rows import arrange_rows
from pipeline.heads.rows.training_rows import split_rows
from pipeline.heads.rows.view_rows import arrange_views
from pipeline.images.splits import TRAIN
from pipeline.runs.fold_scores import FoldScores
from pipeline.runs.out_of_fold import OutOfFold, score_out_of_fold
from pipeline.runs.scores import FOLDS, Metrics, score_splits
from pipeline.system.options import check_options
from pipeline.system.progress import OnProgress


@dataclass(frozen=True)
class Fit:
    """A fitted head, and what it says of the rows that it was given.

    Args:
        kind: name of the head in the registry.
        head: ready to predict.
        class_names: in the order of the columns of probabilities.
        parameters: the head's options by name.
        chosen: what was chosen, in words such as `C = 1`.
        chosen_by: who chose it: the split `val`, `leave-one-out` of the training rows, the `user`,
            or `nothing` where there was no choice.
        history: a record of losses and accuracies per epoch, or per value tried; the one that was
            chosen has the very numbers of `metrics`.
        x: name of the column that the history runs over.
        best: the value in it that was chosen.
        labels: int `(n_samples,)`, indices into `class_names`; -1 = none.
        splits: int8 `(n_samples,)`: 0 train, 1 val, 2 test, -1 none.
        probabilities: float32 `(n_samples, n_classes)`.
        metrics: scores by split.
        notes: sentences for people.
        out_of_fold: with `folds`, what heads that never saw an image say of it; its scores are
            `metrics["folds"]`.
        folds: with `folds`, how each fold did.
        temperature: that the scores of the fitted head are divided by, 1 = they are left.
    """

    kind: str
    head: Head
    class_names: list[str]
    parameters: dict[str, Any]
    chosen: str
    chosen_by: str
    history: list[dict[str, Any]]
    x: str
    best: int | float
    labels: np.ndarray
    splits: np.ndarray
    probabilities: np.ndarray
    metrics: dict[str, Metrics]
    notes: list[str]
    out_of_fold: OutOfFold | None = None
    folds: FoldScores | None = None
    temperature: float = 1.0


def fit(
    features: FeatureArray | Sequence[Sequence[float]],
    labels: Sequence[int | None] | Sequence[str | None] | np.ndarray,
    *,
    split: Sequence[int | None] | Sequence[str | None] | np.ndarray,
    head: str = "logreg",
    class_names: Sequence[str] | None = None,
    groups: Sequence[Any] | np.ndarray | None = None,
    folds: int | None = None,
    repeats: int = 1,
    views: Any = None,
    tta: bool = False,
    seed: int = 0,
    on_progress: OnProgress = lambda stage, done, total: None,
    **options: Any,
) -> Fit:
    """Fits a head on rows of features.

    Args:
        features: float32 `(n_samples, n_features)`: an array, or anything that is sliced like one.
        labels: of each row a class's name (empty or None = none), or its index into `class_names`
            (-1 or None = none).
        split: of each row `train`, `val`, `test`, or an empty text or None; or 0, 1, 2 or -1.
        head: name of a head in the registry.
        class_names: in the order of the probabilities' columns, each once; None = sorted names as
            they are found, or numbers from 0.
        groups: of each row a name or a number, the same for rows that belong together (equal
            images, pictures of one patient): where a head leaves rows out to choose by them, it
            leaves these out together. None = each row is its own.
        folds: cross-validate the rows of train and val in so many folds, then fit the head on all
            of them; they count as train then. Rows of test stay apart. None = no folds.
        repeats: cross-validate so often, each time divided anew.
        views: float32 `(n_samples, n_views - 1, n_features)`, features of augmented versions of
            each image: the head is fitted on those of training images, too, each view counting a
            share of an image. Rows that choose or are scored are those of `features` alone.
        tta: what is said of an image is the mean of the probabilities of all its views.
        seed: decides all that the head leaves to chance.
        on_progress: called with a stage, the number done and the number to do.
        options: of the head's own, such as `C` of `logreg`; see `heads/options.py`.

    Returns:
        The `Fit`.

    Raises:
        HeadError: no such head.
        ParameterError: a value or an array that makes no sense, such as features that are not
            finite, or an option of another head.
        SplitError: a class without train rows, or no validation rows to choose by.
    """
    kind = find_head(head)
    settings = make_options(kind, options)
    check_options(SplitOptions(seed=seed), "fit a head")
    folding = FoldOptions(folds=folds, repeats=repeats)
    check_folds(folding)
    rows, splits = arrange_rows(features, labels, split, class_names, groups)
    of_views = arrange_views(views, rows.features)
    if tta and of_views is None:
        raise ParameterError(
            "There are no views to average over. Expected `views` with `tta=True`. Received: none",
            "tta",
        )
    fitting = Fitting(kind, settings, int(seed), of_views, bool(tta))
    names = list(rows.class_names)
    notes: list[str] = []
    out_of_fold, fold_scores, of_folds = None, None, {}
    if folding.folds is None:
        fitted = fitting.fit(rows, on_progress)
    else:
        out_of_fold = cross_fit(fitting, rows, folding, on_progress)
        of_folds[FOLDS], fold_scores = score_out_of_fold(out_of_fold, rows.labels, names)
        fitted, is_train = fitting.fit_on_all(rows, on_progress)
        notes = _describe_training(kind, rows, is_train)
        splits = np.where(is_train, TRAIN, splits).astype(np.int8)
    probabilities = _predict(fitting, fitted.head, rows.features, on_progress)
    metrics = {**score_splits(splits, rows.labels, probabilities, names), **of_folds}
    return Fit(
        kind=kind.name,
        head=fitted.head,
        class_names=names,
        parameters=asdict(settings),
        chosen=fitted.chosen,
        chosen_by=fitted.chosen_by,
        # After folds the head is fitted on more than chose: its history is of the choice alone.
        history=settle(fitted, {} if out_of_fold is not None else metrics),
        x=fitted.x,
        best=fitted.best,
        labels=rows.labels,
        splits=splits,
        probabilities=probabilities,
        metrics=metrics,
        notes=[*notes, *fitted.notes],
        out_of_fold=out_of_fold,
        folds=fold_scores,
    )


def check_folds(options: FoldOptions) -> None:
    """Raises a ParameterError where the options of cross-validation make no sense."""
    check_options(options, "cross-validate")
    if options.folds is None and options.repeats != FoldOptions.repeats:
        raise ParameterError(
            "Repeats are of cross-validation. Expected `folds` with `repeats`. Received: "
            f"`repeats={options.repeats}` alone",
            "repeats",
        )


def _describe_training(kind: HeadKind, rows: TrainingRows, is_train: np.ndarray) -> list[str]:
    """Says what the head was fitted on in the end, after its folds."""
    n_left = int((rows.is_train | rows.is_val).sum() - is_train.sum())
    if not n_left:
        return []
    return [
        f"The head `{kind.name}` cannot be fitted without validation images: the one that is kept "
        f"was fitted on {int(is_train.sum()):,} images and judged by {n_left:,} others, as the "
        "heads of the folds were."
    ]


def _predict(
    fitting: Fitting, head: Head, features: FeatureArray, on_progress: OnProgress
) -> np.ndarray:
    """In blocks, so that a head gets plain arrays of a few megabytes whatever the features are."""
    parts = []
    for block in split_rows(features):
        if fitting.averages:
            parts.append(fitting.predict(head, features, np.arange(block.start, block.stop)))
        else:
            parts.append(head.predict_proba(features[block]))
        on_progress("Predicting", block.stop, len(features))
    return np.concatenate(parts)


def make_options(kind: HeadKind, given: dict[str, Any]) -> Any:
    """The options of a kind of head, checked.

    Raises:
        ParameterError: a value makes no sense, or the head has no such option.
    """
    names = [entry.name for entry in fields(kind.options)]
    for name, value in given.items():
        if name not in names:
            others = [other.name for other in HEADS.values() if _has_option(other, name)]
            of_others = f" It is one of {' and '.join(others)}." if others else ""
            raise ParameterError(
                f"The head `{kind.name}` has no option `{name}`.{of_others} Expected some of "
                f"{', '.join(names) or 'none'}. Received: {name}={value!r}",
                name,
            )
    options = kind.options(**given)
    check_options(options, "fit a head")
    return options


def _has_option(kind: HeadKind, name: str) -> bool:
    return name in {entry.name for entry in fields(kind.options)}


def settle(fitted: ChosenHead | Fit, metrics: dict[str, Metrics]) -> list[dict[str, Any]]:
    """The history, whose chosen record says what came of the head that is kept.

    While a head is looked for, its losses are those of a sample, or of numbers less rounded.
    """
    scores = {
        f"{split}_{name}": value
        for split in ("train", "val")
        if split in metrics
        for name, value in (
            ("loss", metrics[split].log_loss),
            ("accuracy", metrics[split].accuracy),
        )
    }
    if not fitted.history:
        return [{fitted.x: fitted.best, **scores}]
    return [
        {name: scores.get(name, value) for name, value in record.items()}
        if record[fitted.x] == fitted.best
        else record
        for record in fitted.history
    ]
