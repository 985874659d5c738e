"""Stage three: put the fitted head on the full model, thaw its top blocks, train end to end."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from pipeline.backbones.frost_lines import find_frost_lines, thaw
from pipeline.classifier import check_parity, load_classifier
from pipeline.embedder import Device, Embedder
from pipeline.errors import DatasetError, ParityError
from pipeline.heads.keras_file import load_keras_model_safely
from pipeline.metrics import Metrics
from pipeline.pixels import PixelStore
from pipeline.runs import (
    Predictions,
    Probes,
    Run,
    new_run,
    read_history,
    read_predictions,
    read_probes,
    score_splits,
    write_history,
    write_manifest,
    write_predictions,
    write_probes,
)
from pipeline.training import FinetuneOptions, Training, in_batches

SAVED_MODEL_TOLERANCE = 1e-5
# Thaw the top blocks that do the last third of the backbone's work, unless told otherwise.
DEFAULT_SHARE_BELOW = 2 / 3


@dataclass(frozen=True)
class FinetuneResult:
    """The run that was written, and how it compares with the frozen head it started from."""

    folder: Path
    frozen: dict[str, Metrics]
    finetuned: dict[str, Metrics]
    unfreeze: str
    trainable_parameters: int
    best_epoch: int
    last_epoch: int
    parity: float
    notes: list[str]
    seconds: dict[str, float]

    @property
    def helped(self) -> bool:
        return self.best_epoch > 0


def finetune(
    run: Run,
    options: FinetuneOptions,
    device: Device,
    *,
    data_root: Path | None = None,
    weights: str | None = None,
    output: Path | None = None,
    force: bool = False,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    on_epoch: Callable[[dict], None] | None = None,
) -> FinetuneResult:
    """Fine-tunes the model of a run and writes a run of its own.

    Args:
        data_root: where the images lie now, None for where they lay at extraction.
        weights: where the backbone's weights lie now, None for where they came from.

    Raises:
        RunError: the run has no head, or the output exists.
        DatasetError: the images are not where they were.
        ParityError: the rebuilt model is not the one that the run recorded.
        BackboneError: no such frost line.
    """
    started = time.perf_counter()
    seconds: dict[str, float] = {}
    before = read_predictions(run)
    root = data_root or Path(run.manifest["data_root"])
    paths = _locate_images(root, before.paths)
    keras.utils.set_random_seed(options.seed)
    with keras.device(device.name.strip("/").lower()):
        model = load_classifier(run, weights)
        parity = check_parity(run, model, is_gpu=device.is_gpu, data_root=root)
        line = options.unfreeze or choose_frost_line(model.get_layer("backbone"))
        trainable = _thaw(model, line)
        seconds["prepare"] = time.perf_counter() - started
        store = PixelStore(paths, run.recipe, on_progress=on_progress)
        seconds["decode"] = time.perf_counter() - started - sum(seconds.values())
        training = Training(model, line, store, before, options, on_progress, on_epoch)
        training.run()
        seconds["train"] = time.perf_counter() - started - sum(seconds.values())
        embed = Embedder(model, device, options.batch_size)
        probabilities = np.concatenate(
            [
                embed(store.read(rows))
                for rows in in_batches(np.arange(len(store)), options.batch_size)
            ]
        )
        after = Predictions(before.paths, before.splits, before.labels, probabilities)
        seconds["predict"] = time.perf_counter() - started - sum(seconds.values())
        finetuned = _score(after, run.class_names)
        frozen = _score(before, run.class_names)
        base = run.name.rsplit("-", 1)[0] if run.name.rsplit("-", 1)[-1].isdigit() else run.name
        with new_run(output, f"{base}-finetuned", force=force) as (folder, final):
            _save_model(model, folder / "model.keras")
            write_predictions(folder / "predictions.csv", after, run.class_names)
            write_history(folder / "history.csv", training.history)
            write_probes(folder, _probe(run, model))
            _draw(folder, final.name, run, training, line, finetuned)
            seconds["total"] = time.perf_counter() - started
            write_manifest(
                folder,
                "finetuned",
                run.class_names,
                {
                    **{
                        name: run.manifest[name]
                        for name in ("recipe", "recipe_id", "weights_source", "splits")
                    },
                    "data_root": str(root.resolve()),
                    "parent": str(run.folder.resolve()),
                    "parameters": {**asdict(options), "unfreeze": line},
                    "trainable_parameters": trainable,
                    "chosen": f"epoch {training.best_epoch} of {training.last_epoch}",
                    "chosen_by": "val",
                    "history": {"x": "epoch", "best": training.best_epoch},
                    "metrics": {name: scores.to_dict() for name, scores in finetuned.items()},
                    "metrics_frozen": {name: scores.to_dict() for name, scores in frozen.items()},
                    "parity": parity,
                    "device": device.description,
                    "seconds": seconds,
                    "notes": training.notes,
                },
            )
    return FinetuneResult(
        folder=final,
        frozen=frozen,
        finetuned=finetuned,
        unfreeze=line,
        trainable_parameters=trainable,
        best_epoch=training.best_epoch,
        last_epoch=training.last_epoch,
        parity=parity,
        notes=training.notes,
        seconds=seconds,
    )


def choose_frost_line(backbone: keras.Model) -> str:
    """The highest frost line with at most two thirds of the multiply-adds below it."""
    lines = find_frost_lines(backbone)
    for line in lines:
        if line.share_below <= DEFAULT_SHARE_BELOW:
            return line.name
    return lines[-1].name


def _locate_images(root: Path, paths: list[str]) -> list[Path]:
    """The images' files.

    Raises:
        DatasetError: some are not there.
    """
    found = [root / path for path in paths]
    missing = [path for path in found if not path.is_file()]
    if missing:
        raise DatasetError(
            f"{len(missing):,} of {len(found):,} images are not where they were. Expected the "
            f"first at {missing[0]}\nIf the data set was moved, say where it is with "
            "--data FOLDER; if images were removed, run extract and fit-head again."
        )
    return found


def _thaw(model: keras.Model, line: str) -> int:
    """Thaws the backbone from a frost line up, and the head; returns the trainable parameters."""
    model.trainable = True
    model.get_layer("preprocessing").trainable = False
    thaw(model.get_layer("backbone"), line)
    return int(sum(np.prod(weight.shape) for weight in model.trainable_weights))


def _score(predictions: Predictions, class_names: list[str]) -> dict[str, Metrics]:
    return score_splits(
        predictions.splits, predictions.labels, predictions.probabilities, class_names
    )


def _save_model(model: keras.Model, path: Path) -> None:
    """Saves the model and reads it back, since a model that cannot be loaded is worth nothing."""
    model.save(path)
    loaded = load_keras_model_safely(path)
    image = np.random.default_rng(0).integers(0, 256, (1, *model.input_shape[1:]))
    image = image.astype(np.float32)
    difference = float(np.abs(np.asarray(model(image)) - np.asarray(loaded(image))).max())
    if not difference <= SAVED_MODEL_TOLERANCE:
        raise ParityError(
            f"The saved model, loaded again, predicts otherwise. Expected a difference of at most "
            f"{SAVED_MODEL_TOLERANCE:g}. Received: {difference:.2g}"
        )


def _probe(run: Run, model: keras.Model) -> Probes:
    """The parent's probe images with what the fine-tuned model makes of them."""
    probes = read_probes(run)
    images = probes.pixels.astype(np.float32)
    features = model.get_layer("backbone")(model.get_layer("preprocessing")(images))
    return Probes(probes.paths, probes.pixels, np.asarray(features), np.asarray(model(images)))


def _draw(
    folder: Path, name: str, run: Run, training: Training, line: str, metrics: dict[str, Metrics]
) -> None:
    from pipeline.report.plots import plot_confusion_matrix, plot_finetuning

    (folder / "plots").mkdir()
    plot_finetuning(
        folder / "plots" / "learning-curve.png",
        read_history(run),
        training.history,
        head_x=run.manifest["history"]["x"],
        head_best=run.manifest["history"]["best"],
        finetune_best=training.best_epoch,
        unfrozen_from=line,
        title=name,
    )
    split = "test" if "test" in metrics else "val"
    plot_confusion_matrix(
        folder / "plots" / "confusion-matrix.png",
        metrics[split].confusion_matrix,
        run.class_names,
        title=f"{name}, {split} split",
    )
