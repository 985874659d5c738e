"""Stage three: put the fitted head on the full model, thaw its top blocks, train end to end."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras

from pipeline.augment import Augmentation
from pipeline.backbones.frost_lines import find_frost_lines
from pipeline.checkpoint import State
from pipeline.class_weights import weigh_classes
from pipeline.classifier import check_parity, load_classifier, set_precision
from pipeline.embedder import Device
from pipeline.final_model import make_final_model, thaw_classifier
from pipeline.finetune_job import FinetuneJob, describe_job
from pipeline.finetune_options import FinetuneOptions
from pipeline.finetuned_run import write_finetuned_run
from pipeline.inputs import PixelInputs
from pipeline.metrics import Metrics
from pipeline.pixels import PixelStore
from pipeline.replicas import place
from pipeline.run_images import hash_images, locate_images, require_same_images
from pipeline.runs import Run, read_history, read_predictions, require_free_output, score_splits
from pipeline.significance import Comparison, compare_predictions
from pipeline.splits import TRAIN
from pipeline.tensorboard import log_epoch
from pipeline.training import Hooks, Training
from pipeline.trunk_stage import TrunkStage
from pipeline.unfreeze import choose_line
from pipeline.verdict import judge, suggest
from pipeline.winner import calibrated_losses


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
    before = read_predictions(run)
    head_history = read_history(run)
    train_labels = before.labels[before.splits == TRAIN]
    class_weights = weigh_classes(options.class_weight, train_labels, run.class_names)
    root = data_root or Path(run.manifest["data_root"])
    paths = locate_images(root, before.paths)
    digests = hash_images(paths, watch.on_progress)
    require_same_images(run, paths, digests)
    keras.utils.set_random_seed(options.seed)
    with place(options.strategy, device) as replicas:
        if options.strategy == "mirrored":
            watch.on_note(f"Mirrored on {replicas.n} device(s).")
        model = load_classifier(run, weights, to_be_saved=True)
        parity = check_parity(run, model, is_gpu=device.is_gpu, data_root=root)
        if run.recipe.precision != "float32":
            model = load_classifier(run, weights, "float32")
        line = choose_line(
            model.get_layer("backbone"), options.unfreeze, len(train_labels), len(run.class_names)
        )
        trainable = thaw_classifier(model, line.name)
        watch.on_note(f"Frost line {line.name}: {line.reason}.")
        watched.lap("prepare")
        job = describe_job(run, output, options, line.name, class_weights)
        state = job.find_state(resume=resume, force=force, on_note=watch.on_note)
        stage = TrunkStage(
            run,
            weights,
            _short_name(device),
            root,
            paths,
            digests,
            before,
            options,
            model,
            line.name,
        )
        wanted = options.trunk_cache if state is None else state.used_trunk_cache
        trunk_inputs = stage.open_inputs(wanted, watch.on_progress, watch.on_note)
        watched.lap("trunk cache")
        store = PixelStore(paths, run.recipe, on_progress=watch.on_progress)
        watched.lap("decode")
        augment = Augmentation(options.augment, flip=options.flip, seed=options.seed)
        set_precision(model.get_layer("backbone"), options.precision)
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
            hooks=_make_hooks(watch, tensorboard, job),
        )
        training.run()
        watched.lap("train")
    state = training.state
    n_notes = len(state.notes)
    with place("single", device):
        model, after = make_final_model(
            model, run, weights, options, line.name, device, store, before, state
        )
    for note in state.notes[n_notes:]:
        watch.on_note(note)
    watched.lap("predict")
    frozen, finetuned = (score_splits(p.splits, p.labels, p.probabilities, run.class_names)
                         for p in (before, after))  # fmt: skip
    comparison = compare_predictions(before, after)
    calibrated = calibrated_losses(before)
    verdict = judge(
        comparison,
        frozen[comparison.split],
        finetuned[comparison.split],
        state.best_epoch,
        calibrated[comparison.split],
    )
    next_step = suggest(
        comparison,
        state.history,
        state.best_epoch,
        _line_below(model, line.name),
        options,
        state.n_divergences > 0,
    )
    folder, seconds = write_finetuned_run(
        run,
        model,
        before,
        after,
        state,
        digests=digests,
        device=device,
        head_history=head_history,
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
            "log_loss_frozen_calibrated": calibrated,
            "verdict": verdict,
            "next_step": next_step,
        },
        measure_seconds=watched.total,
        output=output,
        force=force,
    )
    job.forget()
    return FinetuneResult(
        folder=folder,
        frozen=frozen,
        finetuned=finetuned,
        comparison=comparison,
        unfreeze=line.name,
        trainable_parameters=trainable,
        best_epoch=state.best_epoch,
        last_epoch=training.last_epoch,
        parity=parity,
        used_trunk_cache=trunk_inputs is not None,
        verdict=verdict,
        next_step=next_step,
        notes=state.notes,
        seconds=seconds,
    )


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


def _line_below(model: keras.Model, name: str) -> str | None:
    names = [line.name for line in find_frost_lines(model.get_layer("backbone"))]
    below = names[names.index(name) + 1 :] if name in names else []
    return below[0] if below else None
