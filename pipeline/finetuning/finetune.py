"""Stage three: put the fitted head on the full model, thaw its top blocks, train end to end."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np

from pipeline.backbones.engines.device import Device
from pipeline.backbones.frost_lines import find_frost_lines
from pipeline.classifier.build import load_classifier, set_precision
from pipeline.classifier.parity import Parity, check_model_parity
from pipeline.errors import RunError
from pipeline.finetuning.augment import Augmentation
from pipeline.finetuning.checkpoint import State
from pipeline.finetuning.choose_line import ChosenLine, choose_line
from pipeline.finetuning.final_model import make_final_model, thaw_classifier
from pipeline.finetuning.inputs import PixelInputs, TrunkInputs
from pipeline.finetuning.job import FinetuneJob, describe_job
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.parent import Parent, open_parent
from pipeline.finetuning.pixels import PixelStore
from pipeline.finetuning.replicas import Replicas, place
from pipeline.finetuning.tensorboard import log_epoch
from pipeline.finetuning.training import Hooks, Training
from pipeline.finetuning.trunk.stage import TrunkStage
from pipeline.finetuning.verdict import Assessment, assess
from pipeline.finetuning.write_run import write_finetuned_run
from pipeline.heads.class_weights import weigh_classes
from pipeline.runs.run_folder import Run, require_free_output


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
    assessment: Assessment
    unfreeze: str
    trainable_parameters: int
    best_epoch: int
    last_epoch: int
    parity: float
    used_trunk_cache: bool
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


@dataclass(frozen=True)
class _Thawed:
    """The parent's classifier with its top unfrozen.

    Args:
        n_trainable: parameters.
        parity: how near it is to what the parent recorded.
    """

    model: keras.Model
    line: ChosenLine
    n_trainable: int
    parity: Parity

    def neighbours(self) -> tuple[str | None, str | None]:
        """The frost lines above and below."""
        names = [line.name for line in find_frost_lines(self.model.get_layer("backbone"))]
        if self.line.name not in names:  # all
            return names[-1], None
        place = names.index(self.line.name)
        above, below = names[:place][-1:], names[place + 1 :][:1]
        return (above or [None])[0], (below or [None])[0]


@dataclass(frozen=True)
class _Images:
    """The parent's images as training takes them, from the frost line where there is a cache."""

    store: PixelStore
    augment: Augmentation
    trunk: TrunkInputs | None


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
        RunError: the run has no head, the output exists, there is nothing to resume, or there
            are epochs that would be lost.
        DatasetError: the images are not where they were.
        ParityError: the rebuilt model or the images are not those that the run recorded.
        BackboneError: no such frost line.
        DeviceError: the batch does not fit the device's memory.
    """
    watched = _Stopwatch()
    options.check()
    require_free_output(output, force=force)
    _require_other_folder(run, output)
    parent = open_parent(run, weights, data_root, watch.on_progress)
    class_weights = weigh_classes(options.class_weight, parent.train_labels, run.class_names)
    keras.utils.set_random_seed(options.seed)
    with place(options.strategy, device) as replicas:
        if options.strategy == "mirrored":
            watch.on_note(f"Mirrored on {replicas.n} device(s).")
        thawed = _thaw(parent, options, device)
        line = thawed.line.name
        for note in (*thawed.parity.notes, f"Frost line {line}: {thawed.line.reason}."):
            watch.on_note(note)
        watched.lap("prepare")
        job = describe_job(run, output, options, line, class_weights)
        state = job.find_state(resume=resume, force=force, on_note=watch.on_note)
        images = _open_images(parent, options, device, thawed, state, watch, watched)
        hooks = _make_hooks(watch, tensorboard, job)
        state = _train(parent, options, thawed, images, class_weights, replicas, state, hooks)
        watched.lap("train")
    last_epoch, n_notes = state.history[-1]["epoch"], len(state.notes)
    with place("single", device):
        model, after = make_final_model(
            thawed.model, parent, options, line, device, images.store, state
        )
    for note in state.notes[n_notes:]:
        watch.on_note(note)
    watched.lap("predict")
    lines = thawed.neighbours()
    assessment = assess(parent.before, after, run.class_names, state, options, lines)
    folder, seconds = write_finetuned_run(
        parent,
        model,
        after,
        state,
        assessment,
        device=device,
        augment=(images.augment, images.store) if options.is_augmented else None,
        line=line,
        facts={
            "parameters": {**asdict(options), "unfreeze": line},
            "unfreeze_reason": thawed.line.reason,
            "trainable_parameters": thawed.n_trainable,
            "parity": thawed.parity.difference,
            "device": device.description,
            "n_devices": replicas.n,
        },
        measure_seconds=watched.total,
        output=output,
        force=force,
    )
    job.forget()
    return FinetuneResult(
        folder=folder,
        assessment=assessment,
        unfreeze=line,
        trainable_parameters=thawed.n_trainable,
        best_epoch=state.best_epoch,
        last_epoch=last_epoch,
        parity=thawed.parity.difference,
        used_trunk_cache=state.used_trunk_cache,
        notes=state.notes,
        seconds=seconds,
    )


def _require_other_folder(run: Run, output: Path | None) -> None:
    """With --force the head, which nothing else holds, would be lost."""
    if output is not None and output.resolve() == run.folder.resolve():
        raise RunError(
            "The result of fine-tuning is a run of its own. Expected another --output than the run "
            f"that is fine-tuned. Received: --output {output}"
        )


def _thaw(parent: Parent, options: FinetuneOptions, device: Device) -> _Thawed:
    """Loads the parent's model, proves that it is the one it was, and unfreezes its top."""
    run, weights = parent.run, parent.weights
    model = load_classifier(run, weights, to_be_saved=True)
    parity = check_model_parity(run, model, is_gpu=device.is_gpu, data_root=parent.root)
    if run.recipe.precision != "float32":
        model = load_classifier(run, weights, "float32")
    n_images, n_classes = len(parent.train_labels), len(run.class_names)
    line = choose_line(model.get_layer("backbone"), options.unfreeze, n_images, n_classes)
    return _Thawed(model, line, thaw_classifier(model, line.name), parity)


def _open_images(
    parent: Parent,
    options: FinetuneOptions,
    device: Device,
    thawed: _Thawed,
    state: State | None,
    watch: Watch,
    watched: _Stopwatch,
) -> _Images:
    """Fills the trunk cache if there is to be one, and decodes the images."""
    # What is resumed goes on as it began.
    wanted = options.trunk_cache if state is None else state.used_trunk_cache
    stage = TrunkStage(parent, options, _short_name(device), thawed.model, thawed.line.name)
    trunk = stage.open_inputs(wanted, watch.on_progress, watch.on_note)
    watched.lap("trunk cache")
    store = PixelStore(parent.paths, parent.run.recipe, on_progress=watch.on_progress)
    watched.lap("decode")
    augment = Augmentation(options.augment, flip=options.flip, seed=options.seed)
    return _Images(store, augment, trunk)


def _train(
    parent: Parent,
    options: FinetuneOptions,
    thawed: _Thawed,
    images: _Images,
    class_weights: np.ndarray | None,
    replicas: Replicas,
    state: State | None,
    hooks: Hooks,
) -> State:
    """Trains; the winner's weights are in the model then."""
    uses_cache = images.trunk is not None
    set_precision(thawed.model.get_layer("backbone"), options.precision)
    training = Training(
        thawed.model,
        thawed.line.name,
        images.trunk if uses_cache else PixelInputs(images.store, images.augment),
        parent.before,
        options,
        from_line=uses_cache,
        class_weights=class_weights,
        replicas=replicas,
        state=state or State(used_trunk_cache=uses_cache),
        hooks=hooks,
    )
    training.run()
    return training.state


def _make_hooks(watch: Watch, tensorboard: Path | None, job: FinetuneJob) -> Hooks:
    def on_epoch(record: dict) -> None:
        watch.on_epoch(record)
        if tensorboard is not None:
            log_epoch(tensorboard, record)

    return Hooks(watch.on_progress, on_epoch, watch.on_note, job.save)


def _short_name(device: Device) -> str:
    """`/GPU:1` -> `gpu:1`, `/CPU:0` -> `cpu`, as on the command line."""
    name = device.name.strip("/").lower()
    return name if device.is_gpu else "cpu"
