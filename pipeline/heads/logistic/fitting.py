"""The linear head: standardise, multinomial logistic regression, folded into kernel and bias.

The folded head is what a run keeps and predicts with; the scikit-learn pipeline beside it gives
the same probabilities, and fitting proves it. Nothing here imports TensorFlow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import ParityError
from pipeline.heads.blas_threads import one_blas_thread
from pipeline.heads.class_weights import weigh_every_class
from pipeline.heads.head import ChosenHead, FeatureArray, TrainingRows
from pipeline.heads.linear import LinearHead
from pipeline.heads.logistic.multinomial import Regression, Rows, State
from pipeline.heads.logistic.strength_path import (
    MAX_ITERATIONS,
    PathPoint,
    fit_at,
    follow_strengths,
    lowest_val_loss,
    search_strength,
)
from pipeline.heads.options import LogregOptions
from pipeline.heads.rows.training_rows import (
    LEAST_RELATIVE_SPREAD,
    Survey,
    check_rows,
    survey_rows,
    weigh_each_class,
)
from pipeline.system.progress import OnProgress

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

PARITY_TOLERANCE = 1e-5
PARITY_ROWS = 8192


@dataclass(frozen=True)
class LogisticFit:
    """A fitted linear head and how it was found.

    Args:
        head: the folded head.
        C: the chosen inverse regularisation strength.
        path: the points tried, by rising C.
        pipeline: scikit-learn's `Pipeline(StandardScaler, LogisticRegression)`, same probabilities.
    """

    head: LinearHead
    C: float
    path: list[PathPoint]
    pipeline: "Pipeline"


def fit_logreg(
    rows: TrainingRows, options: LogregOptions, *, seed: int, on_progress: OnProgress
) -> ChosenHead:
    """Fits the linear head of the registry; see `FitHead`."""
    fit = fit_logistic_head(
        rows.features,
        rows.labels,
        rows.is_train,
        rows.is_val,
        rows.class_names,
        C="auto" if options.C is None else options.C,
        class_weight=_weigh(rows, options),
        random_state=seed,
        on_progress=on_progress,
    )
    return _to_chosen_head(fit, "val" if options.C is None else "user")


def _weigh(rows: TrainingRows, options: LogregOptions) -> np.ndarray:
    """The weight of a row of each class: of an image's n views each counts 1/n of it, so that the
    penalty is that of images.
    """
    labels = rows.labels[rows.is_train]
    return weigh_every_class(options.class_weight, labels, rows.class_names) / rows.n_views


def fit_logreg_path(
    rows: TrainingRows, options: Sequence[LogregOptions], *, seed: int, on_progress: OnProgress
) -> Iterator[ChosenHead]:
    """Fits the linear head at several strengths in one go; see `FitPath`."""
    del seed  # the solver uses no chance
    check_rows(
        rows.features, rows.labels, rows.is_train, rows.is_val, rows.class_names, needs_val=False
    )
    weights = _weigh(rows, options[0])
    with one_blas_thread():
        start = _start(
            Rows(rows.features, rows.labels, rows.is_train, rows.is_val, weights), on_progress
        )
        strengths = [float(one.C) for one in options if one.C is not None]
        for point in follow_strengths(start.regression, strengths, on_progress):
            yield _to_chosen_head(start.finish([point], point, rows.class_names), "user")


def _to_chosen_head(fit: LogisticFit, chosen_by: str) -> ChosenHead:
    return ChosenHead(
        head=replace(fit.head, pipeline=fit.pipeline),
        chosen=f"C = {fit.C:g}",
        chosen_by=chosen_by,
        history=[asdict(point) for point in fit.path],
        x="C",
        best=fit.C,
        settled={"C": fit.C},
    )


def fit_logistic_head(
    features: FeatureArray,
    labels: np.ndarray,
    is_train: np.ndarray,
    is_val: np.ndarray,
    class_names: Sequence[str],
    *,
    C: float | str = "auto",
    class_weight: str | np.ndarray | None = None,
    random_state: int = 0,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> LogisticFit:
    """Fits a multinomial logistic regression on the train rows.

    Args:
        features: float32 `(n_samples, n_features)`, of any scale: an array, or anything that is
            sliced like one. Nothing but slices of a few megabytes is taken of it.
        labels: int `(n_samples,)`, indices into `class_names`.
        is_train: bool `(n_samples,)`, the rows to fit.
        is_val: bool `(n_samples,)`, the rows that choose C.
        class_names: sequence of `n_classes` names.
        C: inverse regularisation strength, or `"auto"`: a log-spaced path with warm starts, of
            which the lowest validation log-loss is taken.
        class_weight: float `(n_classes,)`; `"balanced"` weighs classes by the inverse of their
            frequency.
        random_state: accepted so that both heads are called alike; the solver uses no chance.
        on_progress: called with a stage, how much of it is done and how much there is to do: rows,
            and then percent.

    Returns:
        The `LogisticFit`.

    Raises:
        SplitError: fewer than two classes, a class without train rows, or no validation rows
            to choose C by.
        ParameterError: a feature is not finite.
        ParityError: the folded head does not reproduce the scikit-learn pipeline.
        ValueError: C or class_weight is not one of those above.
    """
    if C != "auto" and not (isinstance(C, int | float) and 0 < C < np.inf):
        raise ValueError(f'`C` must be "auto" or a number above 0. Received: C={C!r}')
    check_rows(features, labels, is_train, is_val, class_names, needs_val=C == "auto")
    weights = weigh_each_class(class_weight, labels[is_train], class_names)

    with one_blas_thread():
        start = _start(Rows(features, labels, is_train, is_val, weights), on_progress)
        path = (
            search_strength(start.regression, on_progress)
            if isinstance(C, str)
            else fit_at(start.regression, C, on_progress)
        )
    return start.finish(path, path[0 if C != "auto" else lowest_val_loss(path)], class_names)


@dataclass(frozen=True)
class _Start:
    """Rows that were surveyed, and a regression on them that can be fitted at any strength."""

    survey: Survey
    scale: np.ndarray
    n_train: int
    regression: Regression

    def finish(
        self, path: list[PathPoint], point: PathPoint, class_names: Sequence[str]
    ) -> LogisticFit:
        """The head at the point of the path at which the regression is."""
        state = self.regression.state
        pipeline = _make_pipeline(self.survey.mean, self.scale, self.n_train, state, point)
        head = fold_pipeline(pipeline, class_names)
        _check_parity(head, pipeline, self.survey.sample_rows[:PARITY_ROWS])
        return LogisticFit(head=head, C=point.C, path=path, pipeline=pipeline)


def _start(rows: Rows, on_progress: OnProgress) -> _Start:
    survey = survey_rows(rows.features, rows.is_train, on_progress)
    scale = np.where(survey.spread == 0, 1.0, survey.spread)
    scale = np.maximum(scale, LEAST_RELATIVE_SPREAD * np.abs(survey.mean))
    regression = Regression(rows, survey, scale)
    return _Start(survey, scale, int(rows.is_train.sum()), regression)


def _make_pipeline(
    mean: np.ndarray, scale: np.ndarray, n_rows: int, state: State, point: PathPoint
) -> "Pipeline":
    """scikit-learn's objects as they would be had they been fitted with these numbers."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    coef, intercept = state.coef.T, state.intercept
    n_classes, n_features = coef.shape
    if n_classes == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    scaler = StandardScaler()
    scaler.mean_, scaler.scale_, scaler.var_ = mean, scale, np.square(scale)
    scaler.n_samples_seen_ = n_rows
    regression = LogisticRegression(C=point.C, max_iter=MAX_ITERATIONS)
    regression.classes_ = np.arange(n_classes)
    regression.coef_ = coef.astype(np.float32)
    regression.intercept_ = intercept.astype(np.float32)
    regression.n_iter_ = np.array([point.n_iterations], np.int32)
    scaler.n_features_in_ = regression.n_features_in_ = n_features
    return Pipeline([("scaler", scaler), ("regression", regression)])


def fold_pipeline(pipeline: "Pipeline", class_names: Sequence[str]) -> LinearHead:
    """Folds scaler and regression into one linear map of raw features.

    With scores `((x - mean) / scale) @ W + b`, the kernel is `W / scale` and the bias
    `b - mean @ kernel`. scikit-learn's single column of the two-class case becomes two.

    Args:
        pipeline: fitted, of a `StandardScaler` and a `LogisticRegression`.
        class_names: sequence of `n_classes` names.

    Returns:
        The folded head.
    """
    scaler, regression = pipeline[0], pipeline[-1]
    coef, intercept = regression.coef_.astype(np.float64), regression.intercept_.astype(np.float64)
    if len(coef) == 1:
        coef, intercept = np.vstack([-coef, coef]) / 2, np.append(-intercept, intercept) / 2
    with np.errstate(over="ignore", invalid="ignore"):  # the parity check reports it
        kernel = (coef / scaler.scale_).T.astype(np.float32)
        # Of the rounded kernel, so that the scores at the mean stay exact.
        bias = (intercept - scaler.mean_ @ kernel.astype(np.float64)).astype(np.float32)
    return LinearHead(kernel, bias, tuple(str(name) for name in class_names))


def _check_parity(head: LinearHead, pipeline: "Pipeline", rows: np.ndarray) -> None:
    # In float64, so that the comparison sees the folding and not the rounding of the rows.
    expected = pipeline.predict_proba(rows.astype(np.float64))
    with np.errstate(invalid="ignore"):
        difference = np.abs(head.predict_proba(rows) - expected).max()
    if not difference <= PARITY_TOLERANCE:
        raise ParityError(
            "The folded head must give the probabilities of the scikit-learn pipeline to "
            f"{PARITY_TOLERANCE:g}. Received: a greatest difference of {difference:.2g}. The "
            "features' means are too large against their spread, or the features too small, for "
            "float32: centre or rescale them"
        )
