"""The stages of a fine-tuning, one after another: thaw, decode, train, predict, write."""

import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from pipeline.backbones.engines.device import Device, choose_device
from pipeline.backbones.keras_settings import keras_settings
from pipeline.finetuning.callbacks import NO_CALLBACKS, Callbacks
from pipeline.finetuning.checkpoint import State
from pipeline.finetuning.fast_precision import require_fast_precision, suggest_precision
from pipeline.finetuning.final_model import make_final_model
from pipeline.finetuning.finetune import FinetuneResult
from pipeline.finetuning.job import FinetuneJob, describe_job
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.outlook import forecast_parent
from pipeline.finetuning.parent import Parent
from pipeline.finetuning.renew_promise import renew_promise
from pipeline.finetuning.replicas import Replicas, place
from pipeline.finetuning.search.options import NO_SEARCH, SearchOptions
from pipeline.finetuning.search.stage import run_search
from pipeline.finetuning.sizes import enlarge, has_usual_size, name_larger
from pipeline.finetuning.task import (
    Stopwatch,
    Task,
    Trained,
    decode,
    in_precision,
    make_augmentation,
    make_pixel_inputs,
    settle_flip,
    thaw_task,
)
from pipeline.finetuning.thawed import Thawed
from pipeline.finetuning.training import Training
from pipeline.finetuning.trunk.stage import TrunkStage
from pipeline.finetuning.verdict import assess
from pipeline.finetuning.watch import Watch
from pipeline.finetuning.write_run import write_finetuned_run
from pipeline.heads.registry import HEADS
from pipeline.runs.predictions import Predictions
from pipeline.system.keras_on_tensorflow import keras


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
    search: SearchOptions = NO_SEARCH,
) -> FinetuneResult:
    """What `finetune` does once it is known that it can be done; see there.

    Args:
        class_weights: float (n_classes,), None for equal ones.
        seconds: that the parent took to be opened.
        callbacks: people's own.
    """
    stopwatch = Stopwatch(started=time.perf_counter() - seconds)
    if isinstance(device, str):
        device = choose_device(device, sees_others=options.strategy == "mirrored")
    require_fast_precision(options.precision, device, options.strategy)
    advice = suggest_precision(options.precision, device, options.strategy)
    for note in (f"Computing on {device.description}.", *device.notes, *advice):
        watch.on_note(note)
    task = Task(parent, options, device, watch, output, force, class_weights, stopwatch, callbacks)
    with ExitStack() as held:
        with place(options.strategy, device) as replicas:
            if search.is_wanted:
                job = describe_job(task, options.unfreeze or "searched", search)
                held.enter_context(job.hold())
                trained = run_search(task, replicas, job, search, resume=resume)
            else:
                task = _choose_size(task, search)
                thawed = thaw_task(task, replicas)
                task = settle_flip(task, thawed)
                job = describe_job(task, thawed.line.name)
                held.enter_context(job.hold())
                with in_precision(task, thawed):
                    trained = _train(task, thawed, replicas, job, resume=resume)
        model, after = _predict(trained)
        result = _write(trained, model, after, n_devices=replicas.n)
        job.forget()
    return result


def _choose_size(task: Task, search: SearchOptions) -> Task:
    """The task with larger images where these are better, if nobody chose the size of the run."""
    run = task.parent.run
    if search.keep_size or run.kind not in HEADS or not has_usual_size(run):
        return task
    folder = name_larger(run, task.output)
    larger = enlarge(task.parent, folder, task.device.asked_as, task.watch)
    task.stopwatch.lap("image size")
    return replace(task, parent=larger)


def _train(
    task: Task, thawed: Thawed, replicas: Replicas, job: FinetuneJob, *, resume: bool
) -> Trained:
    """Trains with the options as they were given."""
    options, watch = task.options, task.watch
    found = job.find_state(resume=resume, force=task.force, on_note=watch.on_note)
    # What is resumed goes on as it began.
    wanted = options.trunk_cache if found is None else found.used_trunk_cache
    stage = TrunkStage(
        task.parent,
        options,
        task.device.asked_as,
        thawed.model,
        thawed.line.name,
        is_one_cpu=replicas.is_one_cpu,
    )
    trunk = stage.open_inputs(wanted, watch.on_progress, watch.on_note)
    task.stopwatch.lap("trunk cache")
    store = decode(task)
    for note in options.describe_idle(uses_trunk_cache=trunk is not None):
        watch.on_note(note)
    training = Training(
        thawed.model,
        thawed.line.name,
        trunk or make_pixel_inputs(task, store, options),
        task.parent.before,
        options,
        begins_at=None if trunk is None else thawed.line.name,
        class_weights=task.class_weights,
        replicas=replicas,
        state=found or State(used_trunk_cache=trunk is not None),
        watch=watch,
        on_state=job.save,
        callbacks=task.callbacks,
    )
    training.run()
    task.stopwatch.lap("train")
    return Trained(task, thawed, store, training.state)


def _predict(trained: Trained) -> tuple[keras.Model, Predictions]:
    """The model that is kept, and what it says of each image."""
    task, state = trained.task, trained.state
    n_notes = len(state.notes)
    with place("single", task.device):
        made = make_final_model(
            trained.thawed.model,
            task.parent,
            task.options,
            trained.thawed.line.name,
            task.device,
            trained.store,
            state,
            task.watch.on_progress,
        )
    for note in state.notes[n_notes:]:
        task.watch.on_note(note)
    task.stopwatch.lap("predict")
    return made


def _write(
    trained: Trained, model: keras.Model, after: Predictions, *, n_devices: int
) -> FinetuneResult:
    """Compares with the frozen head, and writes the run."""
    task, thawed, state = trained.task, trained.thawed, trained.state
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
        augment=(make_augmentation(options), trained.store) if options.is_augmented else None,
        line=line.name,
        guard=guard,
        facts={
            "parameters": {**asdict(options), "unfreeze": line.name},
            "unfreeze_reason": line.reason,
            "trainable_parameters": thawed.n_trainable,
            "parity": thawed.parity.difference,
            "device": task.device.description,
            "n_devices": n_devices,
            "search": trained.search,
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
        part=state.part,
        n_averaged=state.n_averaged,
        last_epoch=state.history[-1]["epoch"],
        parity=thawed.parity.difference,
        used_trunk_cache=state.used_trunk_cache,
        notes=state.notes,
        seconds=seconds,
        search=trained.search,
    )
