"""Stage two: fit a head on a feature file and write the run. Never touches an image."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import DatasetError, SplitError
from pipeline.features.feature_file import Contents, FeatureFile
from pipeline.features.sliced_rows import FeatureRows
from pipeline.features.split_rows import count_images, describe_small_classes, divide_images
from pipeline.heads.class_weights import weigh_classes
from pipeline.heads.logistic import (
    C_PATH,
    LogisticFit,
    fit_logistic_head,
    save_linear_head,
)
from pipeline.images.splits import TRAIN, UNLABELLED, VAL
from pipeline.runs.records import (
    Predictions,
    Probes,
    write_digests,
    write_history,
    write_predictions,
    write_probes,
)
from pipeline.runs.run_folder import new_run, write_manifest
from pipeline.runs.scores import Metrics, score_splits
from pipeline.system.memory import available_bytes
from pipeline.system.option_rules import require_options
from pipeline.system.sealed_hdf5 import read_seal

HEADS = ("logreg", "dense")


@dataclass(frozen=True)
class FitOptions:
    """How to fit a head; the defaults are those of the command line.

    Args:
        head: `logreg` or `dense`.
        C: inverse regularisation strength of the logistic regression, None = choose.
        hidden_units, dropout, learning_rate, weight_decay, batch_size, epochs, patience: of the
            dense head.
        class_weight: `balanced`, a file of weights, or None; see `weigh_classes`.
        val_fraction, test_fraction: shares of the images, where the source gives no such split.
        group_by: a regular expression that finds an image's group in its path, None = no groups.
        seed: decides the splits, and the dense head's initial weights and order of images.
    """

    head: str = "logreg"
    C: float | None = None
    hidden_units: int = 0
    dropout: float = 0.5
    learning_rate: float = 3e-4
    weight_decay: float = 1e-2
    batch_size: int = 64
    epochs: int = 200
    patience: int = 10
    class_weight: str | None = None
    seed: int = 0
    val_fraction: float = 0.2
    test_fraction: float = 0.0
    group_by: str | None = None

    def check(self) -> None:
        """Raises a FrostlineError for values that make no sense."""
        rules = (
            ("head", self.head, self.head in HEADS, f"one of {', '.join(HEADS)}"),
            ("C", self.C, self.C is None or 0 < self.C < math.inf, "auto or a number above 0"),
            ("hidden", self.hidden_units, self.hidden_units >= 0, "at least 0"),
            ("dropout", self.dropout, 0 <= self.dropout < 1, "at least 0 and below 1"),
            # A rate is float32 in the end, where less than 1e-38 is nothing.
            ("learning_rate", self.learning_rate, 1e-30 < self.learning_rate < 1,
             "between 1e-30 and 1"),
            ("weight_decay", self.weight_decay, 0 <= self.weight_decay < 1,
             "at least 0 and below 1"),
            ("batch_size", self.batch_size, self.batch_size >= 1, "at least 1"),
            ("epochs", self.epochs, self.epochs >= 1, "at least 1"),
            ("patience", self.patience, self.patience >= 1, "at least 1"),
            ("seed", self.seed, 0 <= self.seed < 2**32, "from 0 to 4,294,967,295"),
            ("val_fraction", self.val_fraction, 0 < self.val_fraction < 1, "between 0 and 1"),
            ("test_fraction", self.test_fraction, 0 <= self.test_fraction < 1,
             "at least 0 and below 1"),
        )  # fmt: skip
        require_options("fit a head", rules)


@dataclass(frozen=True)
class FitResult:
    """The run that was written and what it says.

    `n_images` is int (n_classes, 3): images per class and split.
    """

    folder: Path
    metrics: dict[str, Metrics]
    chosen: str
    notes: list[str]
    seconds: float
    class_names: list[str]
    n_images: np.ndarray


@dataclass(frozen=True)
class _Fitted:
    """A head, whichever kind."""

    predict: Callable[[FeatureRows], np.ndarray]
    save: Callable[[Path], None]
    history: list[dict]
    x: str
    best: float
    chosen: str
    notes: list[str]


def fit_head(
    features_path: Path,
    options: FitOptions,
    *,
    memory: int | None = None,
    output: Path | None = None,
    force: bool = False,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> FitResult:
    """Fits a head on a feature file and writes a run.

    Args:
        memory: bytes for features; those of a file that is larger are read from it again and
            again, with the same result. None = half of what is free.
        output: the run's folder, None for `runs/DATA-BACKBONE-HEAD-NUMBER`.
        on_progress: called with a stage, the number done and the number to do.

    Raises:
        FrostlineError: an option that makes no sense.
        FeatureFileError: no feature file, or a damaged one.
        DatasetError: its images have no labels, or only one class.
        SplitError: a class too small to be split.
        RunError: the output exists.
    """
    options.check()
    started = time.perf_counter()
    with FeatureFile(features_path) as file:
        contents = file.contents
        _require_classes(contents, features_path)
        division = divide_images(
            contents,
            val_fraction=options.val_fraction,
            test_fraction=options.test_fraction,
            seed=options.seed,
            group_by=options.group_by,
        )
        splits = division.splits
        is_train = splits == TRAIN
        weights = weigh_classes(
            options.class_weight, contents.labels[is_train], contents.class_names
        )
        features = FeatureRows(file, available_bytes() // 2 if memory is None else memory)
        seconds = {"read": time.perf_counter() - started}
        fit_started = time.perf_counter()
        fitted = _fit(features, contents, splits, weights, options, on_progress)
        seconds["fit"] = time.perf_counter() - fit_started
        probabilities = fitted.predict(features)
        probe_features = features[contents.probe_rows]
    del features  # what follows needs memory of its own
    metrics = score_splits(splits, contents.labels, probabilities, contents.class_names)
    n_images = count_images(splits, contents.labels, len(contents.class_names))
    small_classes = describe_small_classes(n_images[:, VAL], contents.class_names)
    notes = [*division.notes, *small_classes, *fitted.notes]
    backbone = contents.recipe.backbone_in_file_names
    stem = f"{Path(contents.data_root).name}-{backbone}-{options.head}"
    with new_run(output, stem, force=force) as (folder, final):
        fitted.save(folder)
        write_history(folder / "history.csv", fitted.history)
        _write_images(folder, contents, splits, probabilities, probe_features)
        _draw(folder, final.name, fitted, metrics, contents.class_names)
        seconds["total"] = time.perf_counter() - started
        write_manifest(
            folder,
            options.head,
            contents.class_names,
            {
                **_describe_features(contents, features_path),
                "splits": division.facts,
                "equal_images": division.equal_images,
                "parameters": asdict(options),
                "chosen": fitted.chosen,
                "chosen_by": "val",
                "history": {"x": fitted.x, "best": fitted.best},
                "metrics": {name: scores.to_dict() for name, scores in metrics.items()},
                "seconds": seconds,
                "notes": notes,
            },
        )
    return FitResult(
        final,
        metrics,
        fitted.chosen,
        notes,
        time.perf_counter() - started,
        contents.class_names,
        n_images,
    )


def _write_images(
    folder: Path,
    contents: Contents,
    splits: np.ndarray,
    probabilities: np.ndarray,
    probe_features: np.ndarray,
) -> None:
    """What the run says of each image, and which images these were."""
    images, rows = contents.images, contents.probe_rows
    predictions = Predictions(images.paths, splits, contents.labels, probabilities)
    write_predictions(folder / "predictions.csv", predictions, contents.class_names)
    write_digests(folder, images.digests)
    paths = [images.paths[row] for row in rows.tolist()]
    write_probes(folder, Probes(paths, contents.probe_pixels, probe_features, probabilities[rows]))


def _describe_features(contents: Contents, path: Path) -> dict:
    return {
        "recipe": asdict(contents.recipe),
        "recipe_id": contents.recipe.id,
        "weights_source": contents.weights_source,
        "features_file": str(Path(path).resolve()),
        "features_file_seal": read_seal(path),
        "features_sha256": contents.features_sha256,
        "features_batch_size": contents.batch_size,
        "data_root": contents.data_root,
    }


def _require_classes(contents: Contents, path: Path) -> None:
    present = sorted(set(contents.labels.tolist()) - {UNLABELLED})
    if not present:
        raise DatasetError(
            f"The images of this feature file have no labels. Expected a folder per class. "
            f"Received: {path}, made from {contents.data_root}"
        )
    if len(present) < 2:
        raise DatasetError(
            f"There is only one class, {contents.class_names[present[0]]!r}. Expected two or more "
            f"to tell apart. Received: {path}, made from {contents.data_root}\n"
            "Put the images of each class in a folder of its own and run extract again."
        )
    if len(present) < len(contents.class_names):
        absent = [
            name for label, name in enumerate(contents.class_names) if label not in set(present)
        ]
        raise SplitError(
            f"No image of class {', '.join(map(repr, absent))} could be used. Expected at least "
            f"two of each class. Received: {path}\n`cli.py features {path}` lists what was skipped."
        )


def _fit(
    features: FeatureRows,
    contents: Contents,
    splits: np.ndarray,
    class_weights: np.ndarray | None,
    options: FitOptions,
    on_progress: Callable[[str, int, int], None],
) -> _Fitted:
    rows = (features, contents.labels, splits == TRAIN, splits == VAL, contents.class_names)
    if options.head == "logreg":
        return _wrap_logistic(
            fit_logistic_head(
                *rows,
                C="auto" if options.C is None else options.C,
                class_weight=class_weights,
                random_state=options.seed,
                on_path=lambda path: on_progress("Strengths", len(path), len(C_PATH)),
            )
        )
    from pipeline.heads.dense import fit_dense_head
    from pipeline.heads.dense_graphs import compile_predict

    fit = fit_dense_head(
        *rows,
        hidden_units=options.hidden_units,
        dropout=options.dropout,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        batch_size=options.batch_size,
        epochs=options.epochs,
        patience=options.patience,
        class_weight=class_weights,
        random_state=options.seed,
        on_epoch=lambda record: on_progress("Epochs", record["epoch"], options.epochs),
    )
    return _Fitted(
        predict=compile_predict(fit.model),
        save=lambda folder: fit.model.save(folder / "head.keras"),
        history=fit.history,
        x="epoch",
        best=fit.best_epoch,
        chosen=f"epoch {fit.best_epoch} of {fit.history[-1]['epoch']}",
        notes=_suggest_more_epochs(fit.best_epoch, options.epochs),
    )


def _suggest_more_epochs(best_epoch: int, epochs: int) -> list[str]:
    if best_epoch < epochs:
        return []
    return [f"The last epoch was the best, so more may help: --epochs {2 * epochs}"]


def _wrap_logistic(fit: LogisticFit) -> _Fitted:
    import joblib

    def save(folder: Path) -> None:
        save_linear_head(folder / "head.npz", fit.head)
        joblib.dump(fit.pipeline, folder / "head.joblib")

    return _Fitted(
        predict=fit.head.predict_probabilities,
        save=save,
        history=[asdict(point) for point in fit.path],
        x="C",
        best=fit.C,
        chosen=f"C = {fit.C:g}",
        notes=[],
    )


def _draw(
    folder: Path,
    name: str,
    fitted: _Fitted,
    metrics: dict[str, Metrics],
    class_names: list[str],
) -> None:
    from pipeline.report.plots import plot_confusion_matrix, plot_learning_curve

    (folder / "plots").mkdir()
    plot_learning_curve(
        folder / "plots" / "learning-curve.png",
        fitted.history,
        x=fitted.x,
        best=fitted.best,
        title=name,
    )
    split = "test" if "test" in metrics else "val"
    plot_confusion_matrix(
        folder / "plots" / "confusion-matrix.png",
        metrics[split].confusion_matrix,
        class_names,
        title=f"{name}, {split} split",
    )
