"""Stage three as one call: put the fitted head on the full model, thaw its top, train end to end.

TensorFlow starts only when all that can be wrong without it is right.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.backbones.engines.device import Device, require_device_name
from pipeline.classifier.load import open_either
from pipeline.classifier.model import Classifier
from pipeline.errors import RunError
from pipeline.finetuning.callbacks import Callbacks, require_callbacks
from pipeline.finetuning.fast_precision import require_fast_precision
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.parent import open_parent
from pipeline.finetuning.search.options import make_search_options
from pipeline.finetuning.watch import Watch
from pipeline.heads.class_weights import weigh_classes
from pipeline.runs.manifest import SearchPart
from pipeline.runs.run_folder import Run, claim_output, open_run
from pipeline.runs.tracking.log import MlflowRun, log_result, require_tracking
from pipeline.system.options import build_options
from pipeline.system.paths import as_path
from pipeline.system.quiet_start import no_start_up_talk

if TYPE_CHECKING:
    from pipeline.finetuning.verdict import Assessment
    from pipeline.system.keras_on_tensorflow import keras


@dataclass(frozen=True)
class FinetuneResult:
    """The run that was written, and how it compares with the frozen head it started from.

    Args:
        folder: of the run.
        unfreeze: the frost line that was trained from, or `all`.
        best_epoch: the one that is kept; 0 is the frozen head.
        part: of the way from the frozen head to that epoch that the weights are, 1 = all of it.
        n_averaged: trainings whose mean the weights are, 1 = of one alone.
        parity: greatest difference of the rebuilt model's features to what the parent recorded,
            relative to the greatest feature.
        notes: what people should know of the training.
        seconds: of each stage, and in all.
        search: how the settings were found, None where they were given.
        mlflow: where the run was logged, None where that was not asked for.
    """

    folder: Path
    assessment: "Assessment"
    unfreeze: str
    trainable_parameters: int
    best_epoch: int
    last_epoch: int
    parity: float
    used_trunk_cache: bool
    notes: list[str]
    seconds: dict[str, float]
    part: float = 1.0
    n_averaged: int = 1
    search: SearchPart | None = None
    mlflow: MlflowRun | None = None

    def __fspath__(self) -> str:
        return str(self.folder)

    def _repr_html_(self) -> str:
        return open_run(self.folder)._repr_html_()


def finetune(
    run: Run | Classifier | str | os.PathLike[str],
    options: FinetuneOptions | None = None,
    device: Device | str = "auto",
    *,
    data: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    resume: bool = False,
    budget: float | str | None = None,
    trials: int | None = None,
    keep_size: bool = False,
    tensorboard: str | os.PathLike[str] | None = None,
    mlflow: str | None = None,
    callbacks: "Sequence[keras.callbacks.Callback] | None" = None,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    on_epoch: Callable[[dict[str, float]], None] = lambda record: None,
    on_note: Callable[[str], None] = lambda note: None,
    **settings: Any,
) -> FinetuneResult:
    """Fine-tunes the model of a run and writes a run of its own.

    Args:
        run: with a fitted head: what `fit_head` gives, a run, or its folder.
        options: how to fine-tune, None for the defaults.
        device: `auto`, `cpu`, `gpu` or `gpu:N`.
        data: where the images lie now, None for where they lay at extraction.
        weights: where the backbone's weights lie now, None for where they came from.
        output: folder of the new run, None for the next free name under `runs/`.
        force: replace an output that exists.
        resume: go on from the checkpoint that the same call left when it was interrupted; where
            no run of this parent was interrupted it begins from the start, and says so.
        budget: search for better settings and be done in so long: seconds, or text such as `10m`.
            What `settings` say, other than the defaults, is not searched.
        trials: search among so many settings; with a budget, at most.
        keep_size: train at the run's image size. Without, a larger one is tried in a search, and
            where the run has its network's usual size; for it a run is written beside.
        tensorboard: folder for TensorBoard's logs.
        mlflow: address of the MLflow server to which the run is logged once it is written.
        callbacks: Keras callbacks of your own. They hear the begin and end of the training, of each
            epoch and of each batch, and may end it (`model.stop_training`) with an epoch; what they
            do to the trained weights between epochs is undone.
        on_progress: called with a stage, the number done and the number to do.
        on_epoch: called with the record of an epoch, as in `history.csv`.
        on_note: called with what people should know while they wait.
        settings: fields of `FinetuneOptions`, in place of those in `options`.

    Returns:
        The new run's folder, and how it compares with the run that it was made from.

    Raises:
        ParameterError: an option that makes no sense, or that there is not; 16 bits on a CPU; a
            budget without room for one epoch.
        LockedError: another process is at this very fine-tuning, or at this output.
        RunError: the run has no head, the output exists, there is nothing to resume but the
            checkpoints of other options, or there are epochs that would be lost.
        DatasetError: the images are not where they were.
        ParityError: the rebuilt model or the images are not those that the run recorded.
        BackboneError: no such frost line.
        DeviceError: the batch does not fit the device's memory, or there is no such device.
        MissingExtraError: MLflow is not installed.
        TrackingError: the run cannot be logged to MLflow. If that was known before, nothing was
            done; else the run is written, and the error's `result` is the `FinetuneResult`.
    """
    wanted = build_options(FinetuneOptions, settings, "fine-tune", base=options)
    wanted.check()
    search = make_search_options(budget, trials, keep_size=keep_size)
    heard = require_callbacks(callbacks)
    if not isinstance(device, Device):
        require_device_name(device)
    require_fast_precision(wanted.precision, device, wanted.strategy)
    opened, _ = open_either(run)
    target = None if output is None else as_path(output, "output")
    watch = Watch(on_progress, on_epoch, on_note)
    if tensorboard is not None:
        watch = watch.with_tensorboard(as_path(tensorboard, "tensorboard"))
    root = None if data is None else as_path(data, "data")
    source = None if weights is None else str(weights)
    if mlflow is not None:
        require_tracking(mlflow)
    with claim_output(target, force=force):
        _require_other_folder(opened, target)
        started = time.perf_counter()
        parent = open_parent(opened, source, root, watch.on_progress)
        class_weights = weigh_classes(wanted.class_weight, parent.train_labels, opened.class_names)
        seconds = time.perf_counter() - started
        with no_start_up_talk():
            from pipeline.finetuning.stages import run_stages
        result = run_stages(
            parent,
            wanted,
            device,
            class_weights=class_weights,
            seconds=seconds,
            output=target,
            force=force,
            resume=resume,
            watch=watch,
            callbacks=Callbacks(heard),
            search=search,
        )
    return result if mlflow is None else log_result(result, mlflow, on_progress)


def _require_other_folder(run: Run, output: Path | None) -> None:
    """The head, which nothing else holds, is never overwritten."""
    if output is not None and output.resolve() == run.folder.resolve():
        raise RunError(
            "The result of fine-tuning is a run of its own. Expected another `output` than the run "
            f"that is fine-tuned. Received: `output={output}`"
        )
