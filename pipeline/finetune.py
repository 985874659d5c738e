"""Stage three: put the fitted head on the full model, thaw its top blocks, train end to end."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np

from pipeline.augment import Augmentation
from pipeline.backbones.frost_lines import find_frost_lines, thaw
from pipeline.checkpoint import State, find_checkpoint, write_checkpoint
from pipeline.class_weights import weigh_classes
from pipeline.classifier import check_parity, load_classifier
from pipeline.embedder import Device, Embedder
from pipeline.errors import DatasetError
from pipeline.files import sha256_of_file
from pipeline.finetune_options import FinetuneOptions
from pipeline.finetuned_run import write_finetuned_run
from pipeline.inputs import PixelInputs
from pipeline.metrics import Metrics
from pipeline.parallel import map_batches
from pipeline.pixels import PixelStore
from pipeline.replicas import place
from pipeline.runs import (
    RUNS_FOLDER,
    Predictions,
    Run,
    read_predictions,
    require_free_output,
    score_splits,
)
from pipeline.significance import Comparison, compare_predictions
from pipeline.splits import TRAIN
from pipeline.tensorboard import log_epoch
from pipeline.training import Hooks, Training, in_batches
from pipeline.trunk_stage import TrunkStage
from pipeline.unfreeze import ChosenLine, choose_line
from pipeline.verdict import judge, suggest


@dataclass(frozen=True)
class Watch:
    """Who wants to know what, and when."""

    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None
    on_epoch: Callable[[dict], None] = lambda record: None
    on_note: Callable[[str], None] = lambda note: None


@dataclass(frozen=True)
class FinetuneResult:
    """The run that was written, and how it compares with the frozen head it started from."""

    folder: Path
    frozen: dict[str, Metrics]
    finetuned: dict[str, Metrics]
    comparison: Comparison
    unfreeze: str
    trainable_parameters: int
    best_epoch: int
    last_epoch: int
    parity: float
    used_trunk_cache: bool
    verdict: str
    next_step: str
    notes: list[str]
    seconds: dict[str, float]


@dataclass
class _Stopwatch:
    """Seconds per stage; what a stage took is what passed since the one before."""

    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        self.seconds[stage] = time.perf_counter() - self.started - sum(self.seconds.values())

    def total(self) -> dict[str, float]:
        return {**self.seconds, "total": time.perf_counter() - self.started}


def finetune(
    run: Run,
    options: FinetuneOptions,
    device: Device,
    *,
    data_root: Path | None = None,
    weights: str | None = None,
    output: Path | None = None,
    force: bool = False,
    resume: bool = False,
    tensorboard: Path | None = None,
    watch: Watch = Watch(),
) -> FinetuneResult:
    """Fine-tunes the model of a run and writes a run of its own.

    Args:
        data_root: where the images lie now, None for where they lay at extraction.
        weights: where the backbone's weights lie now, None for where they came from.
        resume: go on from the checkpoint that the same call left when it was interrupted.
        tensorboard: folder for TensorBoard's logs.

    Raises:
        RunError: the run has no head, the output exists, or there is nothing to resume.
        DatasetError: the images are not where they were.
        ParityError: the rebuilt model is not the one that the run recorded.
        BackboneError: no such frost line.
        DeviceError: the batch does not fit the device's memory.
    """
    watched = _Stopwatch()
    options.check()
    require_free_output(output, force=force)
    before = read_predictions(run)
    train_labels = before.labels[before.splits == TRAIN]
    class_weights = weigh_classes(options.class_weight, train_labels, run.class_names)
    root = data_root or Path(run.manifest["data_root"])
    paths = _locate_images(root, before.paths)
    keras.utils.set_random_seed(options.seed)
    with place(options.strategy, device) as replicas:
        if options.strategy == "mirrored":
            watch.on_note(f"Mirrored on {replicas.n} device(s).")
        model = load_classifier(run, weights, to_be_saved=True)
        parity = check_parity(run, model, is_gpu=device.is_gpu, data_root=root)
        line = choose_line(
            model.get_layer("backbone"), options.unfreeze, len(train_labels), len(run.class_names)
        )
        trainable = _thaw(model, line.name)
        watch.on_note(f"Frost line {line.name}: {line.reason}.")
        watched.lap("prepare")
        path, stem, job = _name_checkpoint(run, output, options, line)
        state = _find_state(path, stem, job, resume, watch)
        stage = TrunkStage(
            run, weights, _short_name(device), root, paths, before, options, model, line.name
        )
        wanted = options.trunk_cache if state is None else state.used_trunk_cache
        trunk_inputs = stage.open_inputs(wanted, watch.on_progress, watch.on_note)
        watched.lap("trunk cache")
        store = PixelStore(paths, run.recipe, on_progress=watch.on_progress)
        watched.lap("decode")
        augment = Augmentation(options.augment, flip=options.flip, seed=options.seed)
        _set_precision(model, options.precision)
        training = Training(
            model,
            line.name,
            trunk_inputs or PixelInputs(store, augment),
            before,
            options,
            from_line=trunk_inputs is not None,
            class_weights=class_weights,
            replicas=replicas,
            state=state or State(used_trunk_cache=trunk_inputs is not None),
            hooks=_make_hooks(watch, tensorboard, path, job),
        )
        training.run()
        watched.lap("train")
    model = _make_plain(model, run, weights, options, line.name)
    with place("single", device):
        after = _predict(model, device, store, before, options.batch_size)
    watched.lap("predict")
    frozen, finetuned = (score_splits(p.splits, p.labels, p.probabilities, run.class_names)
                         for p in (before, after))  # fmt: skip
    comparison = compare_predictions(before, after)
    verdict = judge(
        comparison, frozen[comparison.split], finetuned[comparison.split], training.best_epoch
    )
    next_step = suggest(
        comparison,
        training.history,
        training.best_epoch,
        _line_below(model, line.name),
        options,
        training.state.n_divergences > 0,
    )
    folder, seconds = write_finetuned_run(
        run,
        model,
        before,
        after,
        training.state,
        augment=(augment, store) if options.is_augmented else None,
        line=line.name,
        frozen=frozen,
        finetuned=finetuned,
        comparison=comparison,
        facts={
            "data_root": str(root.resolve()),
            "parameters": {**asdict(options), "unfreeze": line.name},
            "unfreeze_reason": line.reason,
            "trainable_parameters": trainable,
            "used_trunk_cache": trunk_inputs is not None,
            "parity": parity,
            "device": device.description,
            "n_devices": replicas.n,
            "verdict": verdict,
            "next_step": next_step,
        },
        measure_seconds=watched.total,
        output=output,
        force=force,
    )
    path.unlink(missing_ok=True)
    return FinetuneResult(
        folder=folder,
        frozen=frozen,
        finetuned=finetuned,
        comparison=comparison,
        unfreeze=line.name,
        trainable_parameters=trainable,
        best_epoch=training.best_epoch,
        last_epoch=training.last_epoch,
        parity=parity,
        used_trunk_cache=trunk_inputs is not None,
        verdict=verdict,
        next_step=next_step,
        notes=training.state.notes,
        seconds=seconds,
    )


def _name_checkpoint(
    run: Run, output: Path | None, options: FinetuneOptions, line: ChosenLine
) -> tuple[Path, str, dict]:
    """Path of the checkpoint, what the names of the run's checkpoints begin with, and the job."""
    job = {
        **asdict(options),
        "unfreeze": line.name,
        "run": str(run.folder.resolve()),
        "predictions": sha256_of_file(run.folder / "predictions.csv"),
    }
    key = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:10]
    stem = f".{run.name}-finetuned-"
    folder = RUNS_FOLDER if output is None else output.parent
    return folder / f"{stem}{key}.checkpoint", stem, job


def _find_state(path: Path, stem: str, job: dict, resume: bool, watch: Watch) -> State | None:
    if resume:
        state = find_checkpoint(path, stem, job)
        watch.on_note(f"Resumed after epoch {state.epoch} from {path}.")
        return state
    if path.is_file():
        watch.on_note(
            f"An interrupted run with these options left {path}; --resume would go on from there. "
            "This one starts anew."
        )
    return None


def _make_hooks(watch: Watch, tensorboard: Path | None, path: Path, job: dict) -> Hooks:
    def on_epoch(record: dict) -> None:
        watch.on_epoch(record)
        if tensorboard is not None:
            log_epoch(tensorboard, record)

    return Hooks(
        watch.on_progress, on_epoch, watch.on_note, lambda state: write_checkpoint(path, state, job)
    )


def _short_name(device: Device) -> str:
    """`/GPU:1` -> `gpu:1`, `/CPU:0` -> `cpu`, as on the command line."""
    name = device.name.strip("/").lower()
    return name if device.is_gpu else "cpu"


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


def _set_precision(model: keras.Model, precision: str) -> None:
    """Lets the backbone compute in a lower precision; its weights and the head stay float32."""
    if precision != "float32":
        for layer in model.get_layer("backbone")._flatten_layers():
            layer.dtype_policy = keras.dtype_policies.get(precision)


def _make_plain(
    model: keras.Model, run: Run, weights: str | None, options: FinetuneOptions, line: str
) -> keras.Model:
    """The model in float32 on one device, whatever it was trained in."""
    if options.precision == "float32" and options.strategy == "single":
        return model
    plain = load_classifier(run, weights)
    _thaw(plain, line)
    plain.set_weights(model.get_weights())
    return plain


def _predict(
    model: keras.Model, device: Device, store: PixelStore, before: Predictions, batch_size: int
) -> Predictions:
    embed = Embedder(model, device, batch_size)
    batches = in_batches(np.arange(len(store)), batch_size)
    parts = map_batches(lambda rows: embed(store.read(rows)), batches, embed.n_streams)
    probabilities = np.concatenate(list(parts))
    return Predictions(before.paths, before.splits, before.labels, probabilities)


def _line_below(model: keras.Model, name: str) -> str | None:
    names = [line.name for line in find_frost_lines(model.get_layer("backbone"))]
    below = names[names.index(name) + 1 :] if name in names else []
    return below[0] if below else None
