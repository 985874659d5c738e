"""The linear head: standardise, multinomial logistic regression, folded into kernel and bias.

The folded head is what a run keeps and predicts with; the scikit-learn pipeline beside it gives
the same probabilities, and fitting proves it. Nothing here imports TensorFlow.
"""

import time
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import ParityError
from pipeline.heads.linear import LinearHead, load_linear_head, save_linear_head, softmax
from pipeline.heads.training_rows import LEAST_RELATIVE_SPREAD, check_rows
from pipeline.metrics import mean_log_loss

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = [
    "LinearHead",
    "LogisticFit",
    "PathPoint",
    "fit_logistic_head",
    "fold_pipeline",
    "load_linear_head",
    "save_linear_head",
]

# From strong to weak regularisation in half decades. Features are standardised, so these fit
# every backbone; the path ends early where the validation loss has turned.
C_PATH = tuple(float(f"{C:.3g}") for C in np.logspace(-5, 2, 15))
PATIENCE = 3
CLEARLY_WORSE = 1.01

# The solver stops when no component of the gradient of the mean loss exceeds this share of the
# loss itself. An absolute limit (scikit-learn's 1e-4) would stop at once where the loss is small.
# Scanning at 1e-3 finds the validation loss to half a percent, refining to 3e-5 the
# probabilities to about 1e-3.
SCAN_TOLERANCE = 1e-3
REFINED_TOLERANCE = 3e-5
MAX_ITERATIONS = 1000

# These products are bound by memory: a second thread gains a third on an idle machine, and loses
# a factor of ten on a busy one, where OpenBLAS's threads spin while they wait for each other.
BLAS_THREADS = 1

PARITY_TOLERANCE = 1e-5
PARITY_ROWS = 8192


@dataclass(frozen=True)
class PathPoint:
    """What one strength of regularisation gave.

    Args:
        C: inverse regularisation strength, scikit-learn's.
        train_loss: log-loss in nats on the train rows, without penalty and class weights.
        train_accuracy: 0..1.
        val_loss: the same on the validation rows; None without any.
        val_accuracy: 0..1; None without validation rows.
        n_iterations: of the solver, those of the refinement included.
        converged: whether the solver reached its tolerance in that many iterations.
        seconds: spent on this point.
    """

    C: float
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    n_iterations: int
    converged: bool
    seconds: float


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


def fit_logistic_head(
    features: np.ndarray,
    labels: np.ndarray,
    is_train: np.ndarray,
    is_val: np.ndarray,
    class_names,
    *,
    C: float | str = "auto",
    class_weight: str | None = None,
    random_state: int = 0,
) -> LogisticFit:
    """Fits a multinomial logistic regression on the train rows.

    Args:
        features: float32 `(n_samples, n_features)`, of any scale.
        labels: int `(n_samples,)`, indices into `class_names`.
        is_train: bool `(n_samples,)`, the rows to fit.
        is_val: bool `(n_samples,)`, the rows that choose C.
        class_names: sequence of `n_classes` names.
        C: inverse regularisation strength, or `"auto"`: a log-spaced path with warm starts, of
            which the lowest validation log-loss is taken.
        class_weight: `"balanced"` weighs classes by the inverse of their frequency.
        random_state: accepted so that both heads are called alike; the solver uses no chance.

    Returns:
        The `LogisticFit`.

    Raises:
        SplitError: fewer than two classes, a class without train rows, or no validation rows
            to choose C by.
        FeatureFileError: a feature is not finite.
        ParityError: the folded head does not reproduce the scikit-learn pipeline.
        ValueError: C or class_weight is not one of those above.
    """
    if C != "auto" and not (isinstance(C, int | float) and 0 < C < np.inf):
        raise ValueError(f'`C` must be "auto" or a number above 0. Received: C={C!r}')
    check_rows(features, labels, is_train, is_val, class_names, needs_val=C == "auto")

    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    train_rows, val_rows = (np.asarray(features[rows], np.float32) for rows in (is_train, is_val))
    scaler = StandardScaler().fit(train_rows)
    scaler.scale_ = np.maximum(scaler.scale_, LEAST_RELATIVE_SPREAD * np.abs(scaler.mean_))
    regression = LogisticRegression(
        class_weight=class_weight,
        max_iter=MAX_ITERATIONS,
        warm_start=True,
        random_state=random_state,
    )
    solver = _Solver(
        regression,
        scaler.transform(train_rows),
        labels[is_train],
        scaler.transform(val_rows) if len(val_rows) else val_rows,
        labels[is_val],
    )
    with threadpool_limits(BLAS_THREADS, user_api="blas"):
        path = [solver.fit(C, REFINED_TOLERANCE)] if C != "auto" else _search(solver)
    best = 0 if C != "auto" else lowest_val_loss(path)

    pipeline = Pipeline([("scaler", scaler), ("regression", regression)])
    head = fold_pipeline(pipeline, class_names)
    _check_parity(head, pipeline, train_rows[:PARITY_ROWS])
    return LogisticFit(head=head, C=path[best].C, path=path, pipeline=pipeline)


def fold_pipeline(pipeline: "Pipeline", class_names) -> LinearHead:
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


def lowest_val_loss(path: list[PathPoint]) -> int:
    """Index of the point that is chosen; of equals the most regularised."""
    return min(range(len(path)), key=lambda i: path[i].val_loss)


class _Solver:
    """scikit-learn's L-BFGS on rows already scaled, going on from where it last stopped."""

    def __init__(self, regression, train_rows, train_labels, val_rows, val_labels):
        self.regression = regression
        self.train = train_rows, train_labels
        self.val = val_rows, val_labels

    def fit(self, C: float, tolerance: float) -> PathPoint:
        """Fits at C until the gradient is below `tolerance` times the train loss."""
        start, n_iterations = time.perf_counter(), 0
        loss = self._score(*self.train)[0]
        while True:
            is_converged = self._step(C, tolerance * loss)
            n_iterations += int(self.regression.n_iter_[0])
            aimed_at, (loss, accuracy) = loss, self._score(*self.train)
            # The tolerance was set by the loss before; a tighter one may be due by now.
            if not is_converged or loss > aimed_at / 4:
                break
        val_loss, val_accuracy = self._score(*self.val)
        seconds = time.perf_counter() - start
        return PathPoint(
            C, loss, accuracy, val_loss, val_accuracy, n_iterations, is_converged, seconds
        )

    def _step(self, C: float, gradient_tolerance: float) -> bool:
        from sklearn.exceptions import ConvergenceWarning

        self.regression.set_params(C=C, tol=max(gradient_tolerance, np.finfo(np.float32).tiny))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.regression.fit(*self.train)
        return not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)

    def _score(self, rows, labels) -> tuple[float | None, float | None]:
        if not len(rows):
            return None, None
        if not hasattr(self.regression, "coef_"):
            return float(np.log(labels.max() + 1)), 0.0  # before the first step
        scores = self.regression.decision_function(rows).astype(np.float64)
        if scores.ndim == 1:
            scores = np.stack([-scores / 2, scores / 2], axis=1)
        loss = mean_log_loss(labels, softmax(scores))
        return loss, float((scores.argmax(axis=1) == labels).mean())

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients and intercepts, to come back to with `restore`."""
        return self.regression.coef_.copy(), self.regression.intercept_.copy()

    def restore(self, state: tuple[np.ndarray, np.ndarray]) -> None:
        """Goes back to an earlier `state`."""
        self.regression.coef_, self.regression.intercept_ = state[0].copy(), state[1].copy()


def _search(solver: _Solver) -> list[PathPoint]:
    """Scans the path, then refines what it would choose until the choice is a refined point."""
    path, states = [], []
    for C in C_PATH:
        path.append(solver.fit(C, SCAN_TOLERANCE))
        states.append(solver.state())
        limit = CLEARLY_WORSE * path[lowest_val_loss(path)].val_loss
        if all(point.val_loss > limit for point in path[-PATIENCE:]):
            break
    refined = set()
    while (best := lowest_val_loss(path)) not in refined:
        solver.restore(states[best])
        scanned, point = path[best], solver.fit(path[best].C, REFINED_TOLERANCE)
        path[best] = replace(
            point,
            n_iterations=scanned.n_iterations + point.n_iterations,
            seconds=scanned.seconds + point.seconds,
        )
        states[best] = solver.state()
        refined.add(best)
    solver.restore(states[best])
    solver.regression.set_params(C=path[best].C)
    return path


def _check_parity(head: LinearHead, pipeline: "Pipeline", rows: np.ndarray) -> None:
    # In float64, so that the comparison sees the folding and not the rounding of the rows.
    expected = pipeline.predict_proba(rows.astype(np.float64))
    with np.errstate(invalid="ignore"):
        difference = np.abs(head.predict_probabilities(rows) - expected).max()
    if not difference <= PARITY_TOLERANCE:
        raise ParityError(
            "The folded head must give the probabilities of the scikit-learn pipeline to "
            f"{PARITY_TOLERANCE:g}. Received: a greatest difference of {difference:.2g}. The "
            "features' means are too large against their spread, or the features too small, for "
            "float32: centre or rescale them"
        )
