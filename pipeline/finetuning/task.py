"""One fine-tuning on its way through the stages: what was asked for, and what they hand on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pipeline.backbones.engines.device import Device, use_tf32
from pipeline.backbones.networks.tuned import set_precision
from pipeline.finetuning.callbacks import Callbacks
from pipeline.finetuning.checkpoint import State
from pipeline.finetuning.inputs import PixelInputs
from pipeline.finetuning.mirrored import try_mirrored
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.parent import Parent
from pipeline.finetuning.pixels import PixelStore
from pipeline.finetuning.replicas import Replicas
from pipeline.finetuning.thawed import Thawed, thaw_parent
from pipeline.finetuning.watch import Watch
from pipeline.images.augmentation.augment import Augmentation
from pipeline.recipe import PRECISIONS, TF32, keras_policy
from pipeline.runs.manifest import SearchPart
from pipeline.system.parallel import count_cores


@dataclass
class Stopwatch:
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
class Task:
    """What was asked for, with all that is known before anything is loaded."""

    parent: Parent
    options: FinetuneOptions
    device: Device
    watch: Watch
    output: Path | None
    force: bool
    class_weights: np.ndarray | None  # float (n_classes,)
    stopwatch: Stopwatch
    callbacks: Callbacks


@dataclass(frozen=True)
class Trained:
    """The model with the weights that won.

    Args:
        task: with the run and the options that it was trained with.
        store: the images.
        search: how the options were found, None where they were given.
    """

    task: Task
    thawed: Thawed
    store: PixelStore
    state: State
    search: SearchPart | None = None


def thaw_task(task: Task, replicas: Replicas) -> Thawed:
    """The run's model, proven to be the one it was, thawed from its line up."""
    note = task.watch.on_note
    if task.options.strategy == "mirrored":
        note(f"Mirrored on {replicas.n} device(s).")
    thawed = thaw_parent(task.parent, task.options.unfreeze, task.device)
    for words in (*thawed.parity.notes, f"Frost line {thawed.line.name}: {thawed.line.reason}."):
        note(words)
    task.stopwatch.lap("prepare")
    return thawed


def settle_flip(task: Task, thawed: Thawed) -> Task:
    """The task with flips on or off, where that was left open; the model is as the head left it."""
    options, parent = task.options, task.parent
    if options.flip is not None:
        return task
    flip = False
    if options.is_augmented:
        seen = try_mirrored(parent, thawed.model, options.seed, task.watch.on_progress)
        task.watch.on_note(seen.describe())
        flip = seen.are_same
    task.stopwatch.lap("mirrored images")
    return replace(task, options=replace(options, flip=flip))


def decode(task: Task) -> PixelStore:
    """The run's images."""
    store = PixelStore(
        task.parent.paths, task.parent.run.recipe, on_progress=task.watch.on_progress
    )
    task.stopwatch.lap("decode")
    return store


@contextmanager
def in_precision(task: Task, thawed: Thawed) -> Iterator[None]:
    """The backbone computes as training is to; what follows needs no TensorFloat-32."""
    precision = PRECISIONS[task.options.precision]
    set_precision(thawed.model.get_layer("backbone"), keras_policy(precision))
    if task.device.is_gpu:
        use_tf32(is_on=precision == TF32)
    try:
        yield
    finally:
        if task.device.is_gpu:
            use_tf32(is_on=False)


def make_pixel_inputs(task: Task, store: PixelStore, options: FinetuneOptions) -> PixelInputs:
    """On a CPU training itself takes all cores but what one thread augments ahead."""
    n_threads = count_cores() if task.device.is_gpu else 1
    return PixelInputs(store, make_augmentation(options), n_threads)


def make_augmentation(options: FinetuneOptions) -> Augmentation:
    return Augmentation(options.augment, flip=bool(options.flip), seed=options.seed)
