"""Stage three: put the fitted head on the full model, thaw its top blocks, train end to end.

Epoch 0 is the frozen head. The epoch that wins has the lowest validation loss among those whose
validation accuracy is not below epoch 0's, so the result is never worse on either.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from pipeline.augment import build_augmentation
from pipeline.backbones.frost_lines import find_frost_lines, split_at, thaw
from pipeline.classifier import check_parity, load_classifier
from pipeline.embedder import Device, Embedder
from pipeline.errors import DatasetError, ParityError
from pipeline.heads.keras_file import load_keras_model_safely
from pipeline.metrics import Metrics, mean_log_loss
from pipeline.parallel import map_batches
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
from pipeline.splits import TRAIN, VAL

SAVED_MODEL_TOLERANCE = 1e-5
# Thaw the top blocks that do the last third of the backbone's work, unless told otherwise.
DEFAULT_SHARE_BELOW = 2 / 3


@dataclass(frozen=True)
class FinetuneOptions:
    """How to fine-tune; the defaults are those of the command line.

    Args:
        unfreeze: a frost line's name or `all`; None = the top third of the backbone's work.
        epochs: at most so many.
        learning_rate: the highest, after the warm-up.
        warmup: share of all steps in which the rate rises to it.
        weight_decay: AdamW's, on kernels only.
        batch_size: images per step.
        patience: stop after so many epochs that did not win.
        augment: `none` or `light`.
        flip: mirror images left to right at random.
        class_weight: `balanced` or None.
        label_smoothing: share of the target spread over all classes.
        seed: decides the order of images, augmentation and dropout.
    """

    unfreeze: str | None = None
    epochs: int = 8
    learning_rate: float = 3e-4
    warmup: float = 0.1
    weight_decay: float = 1e-2
    batch_size: int = 32
    patience: int = 3
    augment: str = "light"
    flip: bool = False
    class_weight: str | None = None
    label_smoothing: float = 0.1
    seed: int = 0


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
        training = _Training(model, line, store, before, options, on_progress, on_epoch)
        training.run()
        seconds["train"] = time.perf_counter() - started - sum(seconds.values())
        embed = Embedder(model, device, options.batch_size)
        probabilities = np.concatenate(
            [
                embed(store.read(rows))
                for rows in _in_batches(np.arange(len(store)), options.batch_size)
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


class _TrunkAndTop(keras.Model):
    """The classifier with its frozen trunk in inference mode, whatever the top is in.

    Shares all layers with the classifier.
    """

    def __init__(self, classifier: keras.Model, line: str):
        super().__init__(name="trunk_and_top")
        self.preprocessing = classifier.get_layer("preprocessing")
        self.head = classifier.get_layer("head")
        backbone = classifier.get_layer("backbone")
        self.trunk, self.top = (None, backbone) if line == "all" else split_at(backbone, line)

    def call(self, images, training=False):
        x = self.preprocessing(images)
        if self.trunk is not None:
            x = self.trunk(x, training=False)
        return self.head(self.top(x, training=training), training=training)


class _Training:
    """The epochs: runs them, keeps the best, and leaves its weights in the classifier."""

    def __init__(
        self,
        classifier: keras.Model,
        line: str,
        store: PixelStore,
        before: Predictions,
        options: FinetuneOptions,
        on_progress: Callable[[str, int, int], None],
        on_epoch: Callable[[dict], None] | None,
    ):
        self.history: list[dict] = []
        self.notes: list[str] = []
        self.best_epoch = 0
        self._options = options
        self._store = store
        self._labels = before.labels
        self._rows = {split: np.flatnonzero(before.splits == split) for split in (TRAIN, VAL)}
        self._n_classes = before.probabilities.shape[1]
        self._on_progress = on_progress
        self._on_epoch = on_epoch or (lambda record: None)
        self._augment = build_augmentation(options.augment, flip=options.flip, seed=options.seed)
        self._class_weights = self._weigh_classes()
        self._model = _TrunkAndTop(classifier, line)
        self._model.compile(
            optimizer=self._make_optimizer(),
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=options.label_smoothing),
            weighted_metrics=["accuracy"],
            jit_compile=False,
        )
        self._before = before

    @property
    def last_epoch(self) -> int:
        return self.history[-1]["epoch"]

    def run(self) -> None:
        self._record_frozen_head()
        best_weights = self._get_weights()
        for epoch in range(1, self._options.epochs + 1):
            started = time.perf_counter()
            train_loss, train_accuracy = self._train_epoch(epoch)
            val_loss, val_accuracy = self._evaluate()
            self._record(epoch, train_loss, train_accuracy, val_loss, val_accuracy, started)
            if not np.isfinite(train_loss + val_loss):
                self.notes.append(
                    f"The loss was not finite in epoch {epoch}: training stopped there and the "
                    "best epoch before it was taken. Try a lower --learning-rate."
                )
                break
            frozen, best = self.history[0], self.history[self.best_epoch]
            if val_accuracy >= frozen["val_accuracy"] and val_loss < best["val_loss"]:
                self.best_epoch = epoch
                best_weights = self._get_weights()
            elif epoch - self.best_epoch >= self._options.patience:
                break
        for variable, value in zip(self._model.trainable_variables, best_weights, strict=True):
            variable.assign(value)

    def _record_frozen_head(self) -> None:
        started = time.perf_counter()
        scores = []
        for split in (TRAIN, VAL):
            rows = self._rows[split]
            scores += _loss_and_accuracy(self._labels[rows], self._before.probabilities[rows])
        self._record(0, *scores, started)

    def _record(self, epoch, train_loss, train_accuracy, val_loss, val_accuracy, started) -> None:
        record = {
            "epoch": epoch,
            "train_loss": float(train_loss),
            "train_accuracy": float(train_accuracy),
            "val_loss": float(val_loss),
            "val_accuracy": float(val_accuracy),
            "learning_rate": float(self._model.optimizer.learning_rate) if epoch else 0.0,
            "seconds": time.perf_counter() - started,
        }
        self.history.append(record)
        self._on_epoch(record)

    def _get_weights(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self._model.trainable_variables]

    def _train_epoch(self, epoch: int) -> tuple[float, float]:
        """One pass over the training images; its mean loss and accuracy, augmented as they are."""
        rows = self._rows[TRAIN]
        order = np.random.default_rng([self._options.seed, epoch]).permutation(rows)
        batches = list(enumerate(_in_batches(order, self._options.batch_size)))
        self._model.reset_metrics()
        loss, accuracy, done = 0.0, 0.0, 0
        for (number, batch), pixels in map_batches(
            lambda task: (task, self._store.read(task[1])), batches, 2
        ):
            images = self._augment(pixels.astype(np.float32), epoch, number)
            labels = self._labels[batch]
            loss, accuracy = self._model.train_on_batch(
                images,
                np.eye(self._n_classes, dtype=np.float32)[labels],
                sample_weight=self._class_weights[labels],
            )
            done += len(batch)
            self._on_progress(f"Epoch {epoch}", done, len(rows))
        return float(loss), float(accuracy)

    def _evaluate(self) -> tuple[float, float]:
        rows = self._rows[VAL]
        probabilities = np.concatenate(
            [
                self._model.predict_on_batch(self._store.read(batch).astype(np.float32))
                for batch in _in_batches(rows, self._options.batch_size)
            ]
        )
        return _loss_and_accuracy(self._labels[rows], probabilities)

    def _make_optimizer(self) -> keras.optimizers.Optimizer:
        options = self._options
        n_steps = options.epochs * -(-len(self._rows[TRAIN]) // options.batch_size)
        n_warmup = max(1, round(options.warmup * n_steps))
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0,
            max(1, n_steps - n_warmup),
            alpha=0.01,
            warmup_target=options.learning_rate,
            warmup_steps=n_warmup,
        )
        optimizer = keras.optimizers.AdamW(
            schedule, weight_decay=options.weight_decay, global_clipnorm=1.0
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return optimizer

    def _weigh_classes(self) -> np.ndarray:
        if self._options.class_weight is None:
            return np.ones(self._n_classes, np.float32)
        counts = np.bincount(self._labels[self._rows[TRAIN]], minlength=self._n_classes)
        return (counts.sum() / (self._n_classes * counts)).astype(np.float32)


def _loss_and_accuracy(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return mean_log_loss(labels, probabilities), accuracy


def _in_batches(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


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
    folder: Path, name: str, run: Run, training: _Training, line: str, metrics: dict[str, Metrics]
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
