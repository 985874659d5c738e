"""The stages of a fine-tuning, one after another: thaw, decode, train, predict, write."""

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from pipeline.backbones.engines.device import Device, choose_device, use_tf32
from pipeline.backbones.keras_settings import keras_settings
from pipeline.backbones.networks.tuned import set_precision
from pipeline.finetuning.callbacks import NO_CALLBACKS, Callbacks
from pipeline.finetuning.checkpoint import State
from pipeline.finetuning.fast_precision import require_fast_precision
from pipeline.finetuning.final_model import make_final_model
from pipeline.finetuning.finetune import FinetuneResult
from pipeline.finetuning.inputs import PixelInputs, TrunkInputs
from pipeline.finetuning.job import FinetuneJob, describe_job
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.outlook import forecast_parent
from pipeline.finetuning.parent import Parent
from pipeline.finetuning.pixels import PixelStore
from pipeline.finetuning.renew_promise import renew_promise
from pipeline.finetuning.replicas import Replicas, place
from pipeline.finetuning.thawed import Thawed, thaw_parent
from pipeline.finetuning.training import Training
from pipeline.finetuning.trunk.stage import TrunkStage
from pipeline.finetuning.verdict import assess
from pipeline.finetuning.watch import Watch
from pipeline.finetuning.write_run import write_finetuned_run
from pipeline.images.augmentation.augment import Augmentation
from pipeline.recipe import PRECISIONS, TF32, keras_policy
from pipeline.runs.predictions import Predictions
from pipeline.system.keras_on_tensorflow import keras
from pipeline.system.parallel import count_cores


@keras_settings()
def run_stages(
    parent: Parent,
    options: FinetuneOptions,
    device: Device | str,
    *,
    class_weights: np.ndarray | None,
    seconds: float,
    output: Path | None,
    force: bool,
    resume: bool,
    watch: Watch,
    callbacks: Callbacks = NO_CALLBACKS,
) -> FinetuneResult:
    """What `finetune` does once it is known that it can be done; see there.

    Args:
        class_weights: float (n_classes,), None for equal ones.
        seconds: that the parent took to be opened.
        callbacks: people's own.
    """
    stopwatch = _Stopwatch(started=time.perf_counter() - seconds)
    if isinstance(device, str):
        device = choose_device(device, sees_others=options.strategy == "mirrored")
    require_fast_precision(options.precision, device)
    for note in (f"Computing on {device.description}.", *device.notes):
        watch.on_note(note)
    task = _Task(parent, options, device, watch, output, force, class_weights, stopwatch, callbacks)
    with ExitStack() as held:
        with place(options.strategy, device) as replicas:
            thawed = _thaw(task, replicas)
            job = describe_job(parent.run, output, options, thawed.line.name, class_weights)
            held.enter_context(job.hold())
            found = job.find_state(resume=resume, force=force, on_note=watch.on_note)
            images = _open_images(task, thawed, found)
            for note in options.describe_idle(uses_trunk_cache=images.trunk is not None):
                watch.on_note(note)
            state = _train(task, thawed, images, replicas, job, found)
        model, after = _predict(task, thawed, images, state)
        result = _write(task, thawed, images, state, model, after, n_devices=replicas.n)
        job.forget()
    return result


@dataclass
class _Stopwatch:
    """Seconds per stage; what a stage took is what passed since the one before."""

    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        self.seconds[stage] = time.perf_counter() - self.started - sum(self.seconds.values())

    def total(self) -> dict[str, float]:
        """All stages, the last of which is writing, and their sum."""
        self.lap("write")
        return {**self.seconds, "total": time.perf_counter() - self.started}


@dataclass(frozen=True)
class _Task:
    """What was asked for, with all that is known before anything is loaded."""

    parent: Parent
    options: FinetuneOptions
    device: Device
    watch: Watch
    output: Path | None
    force: bool
    class_weights: np.ndarray | None  # float (n_classes,)
    stopwatch: _Stopwatch
    callbacks: Callbacks


@dataclass(frozen=True)
class _Images:
    """The parent's images as training takes them, from the frost line where there is a cache."""

    store: PixelStore
    augment: Augmentation
    trunk: TrunkInputs | None


def _thaw(task: _Task, replicas: Replicas) -> Thawed:
    note = task.watch.on_note
    if task.options.strategy == "mirrored":
        note(f"Mirrored on {replicas.n} device(s).")
    thawed = thaw_parent(task.parent, task.options.unfreeze, task.device)
    for words in (*thawed.parity.notes, f"Frost line {thawed.line.name}: {thawed.line.reason}."):
        note(words)
    task.stopwatch.lap("prepare")
    return thawed


def _open_images(task: _Task, thawed: Thawed, state: State | None) -> _Images:
    """Fills the trunk cache if there is to be one, and decodes the images."""
    parent, options, watch = task.parent, task.options, task.watch
    # What is resumed goes on as it began.
    wanted = options.trunk_cache if state is None else state.used_trunk_cache
    stage = TrunkStage(parent, options, task.device.asked_as, thawed.model, thawed.line.name)
    trunk = stage.open_inputs(wanted, watch.on_progress, watch.on_note)
    task.stopwatch.lap("trunk cache")
    store = PixelStore(parent.paths, parent.run.recipe, on_progress=watch.on_progress)
    task.stopwatch.lap("decode")
    augment = Augmentation(options.augment, flip=options.flip, seed=options.seed)
    return _Images(store, augment, trunk)


def _train(
    task: _Task,
    thawed: Thawed,
    images: _Images,
    replicas: Replicas,
    job: FinetuneJob,
    state: State | None,
) -> State:
    """Trains; the winner's weights are in the model then."""
    uses_cache = images.trunk is not None
    precision = PRECISIONS[task.options.precision]
    set_precision(thawed.model.get_layer("backbone"), keras_policy(precision))
    training = Training(
        thawed.model,
        thawed.line.name,
        images.trunk or _make_pixel_inputs(task, images),
        task.parent.before,
        task.options,
        begins_at=thawed.line.name if uses_cache else None,
        class_weights=task.class_weights,
        replicas=replicas,
        state=state or State(used_trunk_cache=uses_cache),
        watch=task.watch,
        on_state=job.save,
        callbacks=task.callbacks,
    )
    if task.device.is_gpu:
        use_tf32(is_on=precision == TF32)
    training.run()
    if task.device.is_gpu:
        use_tf32(is_on=False)
    task.stopwatch.lap("train")
    return training.state


def _make_pixel_inputs(task: _Task, images: _Images) -> PixelInputs:
    """On a CPU training itself takes all cores but what one thread augments ahead."""
    n_threads = count_cores() if task.device.is_gpu else 1
    return PixelInputs(images.store, images.augment, n_threads)


def _predict(
    task: _Task, thawed: Thawed, images: _Images, state: State
) -> tuple[keras.Model, Predictions]:
    """The model that is kept, and what it says of each image."""
    n_notes = len(state.notes)
    with place("single", task.device):
        made = make_final_model(
            thawed.model,
            task.parent,
            task.options,
            thawed.line.name,
            task.device,
            images.store,
            state,
            task.watch.on_progress,
        )
    for note in state.notes[n_notes:]:
        task.watch.on_note(note)
    task.stopwatch.lap("predict")
    return made


def _write(
    task: _Task,
    thawed: Thawed,
    images: _Images,
    state: State,
    model: keras.Model,
    after: Predictions,
    *,
    n_devices: int,
) -> FinetuneResult:
    """Compares with the frozen head, and writes the run."""
    parent, options, line = task.parent, task.options, thawed.line
    names = parent.run.class_names
    forecast, reason = forecast_parent(parent, task.watch.on_progress)
    if reason:
        task.watch.on_note(reason)
    assessment = assess(parent.before, after, names, state, options, thawed.neighbours(), forecast)
    guard, notes = renew_promise(parent, after)
    for note in notes:
        state.notes.append(note)
        task.watch.on_note(note)
    task.watch.on_note("The model is saved, loaded again and compared.")
    folder, seconds = write_finetuned_run(
        parent,
        model,
        after,
        state,
        assessment,
        device=task.device,
        augment=(images.augment, images.store) if options.is_augmented else None,
        line=line.name,
        guard=guard,
        facts={
            "parameters": {**asdict(options), "unfreeze": line.name},
            "unfreeze_reason": line.reason,
            "trainable_parameters": thawed.n_trainable,
            "parity": thawed.parity.difference,
            "device": task.device.description,
            "n_devices": n_devices,
        },
        measure_seconds=task.stopwatch.total,
        output=task.output,
        force=task.force,
    )
    return FinetuneResult(
        folder=folder,
        assessment=assessment,
        unfreeze=line.name,
        trainable_parameters=thawed.n_trainable,
        best_epoch=state.best_epoch,
        last_epoch=state.history[-1]["epoch"],
        parity=thawed.parity.difference,
        used_trunk_cache=state.used_trunk_cache,
        notes=state.notes,
        seconds=seconds,
    )
