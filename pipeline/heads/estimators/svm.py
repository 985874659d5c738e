"""The svm head: scikit-learn's `LinearSVC`, one class against the others, with probabilities."""

import numpy as np

from pipeline.heads.blas_threads import one_blas_thread
from pipeline.heads.estimators.linear_scores import LinearScores, calibrate, fold, search
from pipeline.heads.estimators.stopped_fits import note_stopped_fits
from pipeline.heads.estimators.train_rows import RowsInMemory, read_rows
from pipeline.heads.head import ChosenHead, TrainingRows
from pipeline.heads.options import SvmOptions
from pipeline.system.progress import OnProgress

# From strong to weak regularisation of standardised features; the search ends early.
C_PATH = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]
MAX_ITERATIONS = 1000


def fit_svm(
    rows: TrainingRows, options: SvmOptions, *, seed: int, on_progress: OnProgress
) -> ChosenHead:
    """Fits the svm head of the registry; see `FitHead`."""
    known = read_rows(
        rows, options.class_weight, needs_val=options.C is None, on_progress=on_progress
    )
    train, val = known.standardise(known.train), known.standardise(known.val)

    def fit(some: np.ndarray, labels: np.ndarray, C: float) -> LinearScores:
        return _fit(some, labels, C, known, seed)

    def tell(done: int) -> None:
        on_progress("Choosing C", done, len(C_PATH))

    advice = "a smaller `C` needs fewer"
    with one_blas_thread(), note_stopped_fits("svm", MAX_ITERATIONS, advice) as notes:
        if options.C is None:
            C, found, history = search(
                "C", C_PATH, lambda C: fit(train, known.labels, C), (train, val), known, tell
            )
        else:
            C, history = float(options.C), []
            found = fit(train, known.labels, C)

        def fit_anew(some: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> LinearScores:
            # C weighs a sum over rows: of fewer rows it must be greater, or scores are smaller.
            return fit(some, labels, C * len(train) / len(some))

        factor = calibrate(fit_anew, train, known)
    return ChosenHead(
        head=fold(found, factor, known, standard=True),
        chosen=f"C = {C:g}",
        chosen_by="val" if options.C is None else "user",
        history=history,
        x="C",
        best=C,
        notes=notes,
        settled={"C": C},
    )


def _fit(
    rows: np.ndarray, labels: np.ndarray, C: float, known: RowsInMemory, seed: int
) -> LinearScores:
    from sklearn.svm import LinearSVC

    machine = LinearSVC(
        # Of an image's n views each counts 1/n of it. (LinearSVC would weigh the class alone by its
        # weight, and not the others against which it is fitted.)
        C=C / known.n_views,
        dual=len(rows) < rows.shape[1],
        class_weight=known.weight_of_class,
        max_iter=MAX_ITERATIONS,
        random_state=seed,
    ).fit(rows, labels)
    kernel, bias = machine.coef_.T, machine.intercept_
    if kernel.shape[1] == 1:  # of two classes scikit-learn fits the score of the second alone
        kernel, bias = np.hstack([-kernel, kernel]) / 2, np.append(-bias, bias) / 2
    return LinearScores(kernel, bias)
