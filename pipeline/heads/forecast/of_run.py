"""The forecast of a run: its images, its division of them, the features that it was made from."""

import os

import numpy as np

from pipeline.heads.few_images.shots import FEW_IMAGES_C
from pipeline.heads.forecast.forecast import Forecast, forecast_accuracy
from pipeline.heads.rows.rows_of_run import open_rows_of_run
from pipeline.images.splits import TEST, TRAIN, UNLABELLED, VAL
from pipeline.runs.run_folder import Run, open_run
from pipeline.system.progress import OnProgress


def forecast(
    run: Run | str | os.PathLike[str],
    *,
    seed: int = 0,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Forecast:
    """Forecasts what more training images would bring to a run; see `forecast_accuracy`.

    Scored are the run's test images, or those of validation; those that trained in turn, where it
    has neither. The head is the logistic one, with the run's own C where it is of that kind. Of
    augmented views it takes none.

    Args:
        run: with a head on features.
        seed: decides which images are drawn.
        on_progress: called with a stage, the number of draws done and to do.

    Returns:
        The `Forecast`.

    Raises:
        RunError: there is no such run, or it is a fine-tuned one.
        FeatureFileError: the features that it was made from are gone, or have changed.
        SplitError: it has too few training images.
    """
    run = run if isinstance(run, Run) else open_run(run)
    with open_rows_of_run(run) as of_run:
        said, rows = of_run.said, of_run.rows
        n_samples = len(of_run.features)
        labels = np.full(n_samples, UNLABELLED, np.int64)
        splits = np.full(n_samples, -1, np.int8)
        labels[rows], splits[rows] = said.labels, said.splits
        splits[labels == UNLABELLED] = -1
        scored = next((splits == one for one in (TEST, VAL) if np.any(splits == one)), None)
        is_logistic = run.kind == "logreg" and run.manifest.history.x == "C"
        class_weight = run.manifest.parameters.get("class_weight")
        return forecast_accuracy(
            of_run.features,
            labels,
            splits == TRAIN,
            scored,
            class_names=run.class_names,
            units=of_run.units,
            C=float(run.manifest.history.best) if is_logistic else FEW_IMAGES_C,
            class_weight=None if class_weight is None else str(class_weight),
            seed=seed,
            on_progress=on_progress,
        )
