"""The elastic-net head: least squares on one-hot targets that leaves most coefficients at 0.

scikit-learn's `ElasticNet` for each class, by its path over one matrix of products.
"""

import numpy as np

from pipeline.heads.blas_threads import one_blas_thread
from pipeline.heads.estimators.linear_scores import LinearScores, calibrate, fold, search
from pipeline.heads.estimators.stopped_fits import note_stopped_fits
from pipeline.heads.estimators.train_rows import read_rows
from pipeline.heads.head import ChosenHead, TrainingRows
from pipeline.heads.options import ElasticNetOptions
from pipeline.system.progress import OnProgress

N_STRENGTHS = 12
_WEAKEST = 1e-3  # of the strength at which all coefficients are 0
MAX_ITERATIONS = 2000
TOLERANCE = 1e-5


def fit_elastic_net(
    rows: TrainingRows, options: ElasticNetOptions, *, seed: int, on_progress: OnProgress
) -> ChosenHead:
    """Fits the elastic-net head of the registry; see `FitHead`."""
    known = read_rows(
        rows, options.class_weight, needs_val=options.alpha is None, on_progress=on_progress
    )
    train, val = known.standardise(known.train), known.standardise(known.val)
    n_classes, weights = len(known.class_names), known.sample_weights

    def tell(done: int) -> None:
        on_progress("Choosing alpha", done, N_STRENGTHS)

    advice = "a greater `alpha` needs fewer"
    with one_blas_thread(), note_stopped_fits("elastic-net", MAX_ITERATIONS, advice) as notes:
        problem = _Problem(train, known.labels, weights, n_classes, options.l1_ratio)
        if options.alpha is None:
            alpha, found, history = search(
                "alpha", problem.list_strengths(), problem.fit, (train, val), known, tell
            )
        else:
            alpha, history = float(options.alpha), []
            found = problem.fit(alpha)

        def fit_anew(rows: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> LinearScores:
            return _Problem(rows, labels, weights, n_classes, options.l1_ratio).fit(alpha)

        factor = calibrate(fit_anew, train, known)
    n_kept = int(np.any(found.kernel != 0, axis=1).sum())
    return ChosenHead(
        head=fold(found, factor, known, standard=True),
        chosen=f"alpha = {alpha:g} ({n_kept:,} of {len(found.kernel):,} features)",
        chosen_by="val" if options.alpha is None else "user",
        history=history,
        x="alpha",
        best=alpha,
        notes=notes,
        settled={"alpha": alpha},
    )


class _Problem:
    """`1 / (2 n) |y - b - x w|^2 + alpha (l1_ratio |w|_1 + (1 - l1_ratio) / 2 |w|^2)`, each class.

    Fits start where the last one ended, so strengths are best tried in falling order.
    """

    def __init__(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        weights: np.ndarray,
        n_classes: int,
        l1_ratio: float,
    ):
        weights = weights / weights.mean()
        roots = np.sqrt(weights)[:, None]
        targets = np.eye(n_classes)[labels]
        self._mean = np.average(rows, axis=0, weights=weights)
        self._target_mean = np.average(targets, axis=0, weights=weights)
        self._rows = np.asfortranarray((rows - self._mean) * roots)
        self._targets = np.asfortranarray((targets - self._target_mean) * roots)
        self._products = self._rows.T @ self._rows
        self._cross = self._rows.T @ self._targets
        self._l1_ratio = l1_ratio
        self._kernel = np.zeros(self._cross.shape, order="F")

    def list_strengths(self) -> list[float]:
        """From the one at which nothing is left of the features down, in equal ratios."""
        greatest = np.abs(self._cross).max() / (len(self._rows) * self._l1_ratio)
        shares = np.logspace(0, np.log10(_WEAKEST), N_STRENGTHS + 1)[1:]
        return [float(f"{alpha:.3g}") for alpha in greatest * shares]

    def fit(self, alpha: float) -> LinearScores:
        from sklearn.linear_model import enet_path

        for number, target in enumerate(self._targets.T):
            path = enet_path(
                self._rows,
                target,
                alphas=[alpha],
                l1_ratio=self._l1_ratio,
                precompute=self._products,
                Xy=self._cross[:, number],
                coef_init=self._kernel[:, number],
                max_iter=MAX_ITERATIONS,
                tol=TOLERANCE,
            )
            self._kernel[:, number] = path[1][:, 0]
        kernel = self._kernel.copy()
        return LinearScores(kernel, self._target_mean - self._mean @ kernel)
