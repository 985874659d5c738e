"""The run folder of a fine-tuning: model, history, predictions, what changed sides, pictures."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.backbones.engines.device import Device, describe_cpu
from pipeline.backbones.engines.engine import Network
from pipeline.backbones.engines.network_store import NetworkStore
from pipeline.backbones.engines.opening import open_embedder
from pipeline.backbones.safe_loading import load_keras_model_safely
from pipeline.classifier.build import split_classifier
from pipeline.classifier.parts import identify_finetuned
from pipeline.errors import ParityError
from pipeline.finetuning.checkpoint import State
from pipeline.finetuning.interpolate import describe_winner
from pipeline.finetuning.parent import Parent
from pipeline.finetuning.pixels import PixelStore
from pipeline.finetuning.replicas import place
from pipeline.finetuning.search.record import TRIALS, write_trials
from pipeline.finetuning.verdict import Assessment
from pipeline.heads.dense.arithmetic import find_arithmetic, save_arithmetic
from pipeline.heads.saved_head import FINETUNED_MODEL
from pipeline.images.augmentation.augment import Augmentation, number_images
from pipeline.images.splits import TRAIN
from pipeline.recipe import EngineRecord
from pipeline.runs.binding import bind_names
from pipeline.runs.confusion_matrices import write_confusion_matrices
from pipeline.runs.manifest import (
    FINETUNED,
    FinetuningPart,
    HistoryAxis,
    Manifest,
    write_manifest,
)
from pipeline.runs.predictions import Predictions, write_predictions
from pipeline.runs.promise.guard import Guard, save_guard
from pipeline.runs.records import (
    Probes,
    read_probes,
    write_digests,
    write_history,
    write_probes,
)
from pipeline.runs.run_folder import Run, describe_software, find_git_commit, new_run, now
from pipeline.runs.scored_images import identify_scored_images
from pipeline.runs.scores import Metrics
from pipeline.runs.significance import CHANGED_SIDES, write_changed_sides
from pipeline.system.keras_on_tensorflow import keras
from pipeline.system.versions import find_version

SAVED_MODEL_TOLERANCE = 1e-5
SAVED_MODEL_TOLERANCE_ON_GPU = 1e-3  # two copies may be given different kernels
N_PICTURED = 16


def write_finetuned_run(
    parent: Parent,
    model: keras.Model,
    after: Predictions,
    state: State,
    assessment: Assessment,
    *,
    device: Device,
    augment: tuple[Augmentation, PixelStore] | None,
    line: str,
    guard: Guard | None,
    facts: dict,
    measure_seconds: Callable[[], dict[str, float]],
    output: Path | None,
    force: bool,
) -> tuple[Path, dict[str, float]]:
    """Writes everything and gives the folder its name at the end.

    Args:
        after: what the model says of each image.
        state: of the training, at its end.
        device: where to check the saved model.
        augment: what augmented the images and the images, None where nothing did.
        line: the frost line.
        guard: keeps the promise of the model, None where it makes none.
        facts: of the manifest: parameters, n_devices, parity, unfreeze_reason,
            trainable_parameters and search.

    Returns:
        The folder, and the seconds of each stage.

    Raises:
        RunError: the output exists.
        ParityError: the saved model, loaded again, predicts otherwise.
    """
    run, before = parent.run, parent.before
    base = run.name.rsplit("-", 1)[0] if run.name.rsplit("-", 1)[-1].isdigit() else run.name
    with new_run(output, f"{base}-finetuned", force=force) as (folder, final):
        with place("single", device):
            _save_model(model, folder / FINETUNED_MODEL, is_gpu=device.is_gpu)
            _keep_for_prediction(run, model, folder / FINETUNED_MODEL)
            write_probes(folder, _probe(run, model))
        write_predictions(folder, after, run.class_names)
        write_digests(folder, parent.digests)
        write_changed_sides(folder / CHANGED_SIDES, before, after, run.class_names)
        write_history(folder / "history.csv", state.history)
        if facts["search"] is not None:
            write_trials(folder / TRIALS, facts["search"])
        (folder / "plots").mkdir()
        is_augmented = augment is not None
        _draw(folder / "plots", final.name, parent, state, line, assessment.finetuned, is_augmented)
        _draw_augmentation(folder / "plots", augment, parent, state)
        seconds = measure_seconds()
        manifest = _describe(parent, state, assessment, device, facts, seconds)
        bound = bind_names(folder, manifest.class_names, [FINETUNED_MODEL])
        promise = None if guard is None else save_guard(folder, guard)
        manifest = replace(manifest, names_and_head_sha256=bound, promise=promise)
        write_manifest(folder, manifest)
        write_confusion_matrices(folder, manifest)
    return final, seconds


def _describe(
    parent: Parent,
    state: State,
    assessment: Assessment,
    device: Device,
    facts: dict,
    seconds: dict[str, float],
) -> Manifest:
    inherited = parent.run.manifest
    return Manifest(
        kind=FINETUNED,
        created=now(),
        class_names=inherited.class_names,
        recipe=inherited.recipe,
        recipe_id=inherited.recipe_id,
        weights_source=inherited.weights_source,
        data_root=str(parent.root.resolve()),
        data_name=inherited.data_name,
        splits=inherited.splits,
        parameters=facts["parameters"],
        chosen=describe_winner(
            state.best_epoch, state.history[-1]["epoch"], state.part, state.n_averaged
        ),
        chosen_by="val",
        history=HistoryAxis("epoch", state.best_epoch),
        metrics=assessment.finetuned,
        seconds=seconds,
        notes=state.notes,
        software=describe_software(),
        git_commit=find_git_commit(),
        engine=EngineRecord(
            name="tensorflow",
            version=find_version("tensorflow"),
            device="gpu" if device.is_gpu else "cpu",
            device_name=device.description,
            precision="float32",
        ),
        scored_images=identify_scored_images(
            parent.digests, parent.before.splits, parent.before.labels, inherited.class_names
        ),
        question=inherited.question,
        finetuning=FinetuningPart(
            parent=str(parent.run.folder.resolve()),
            device=device.description,
            n_devices=facts["n_devices"],
            parity=facts["parity"],
            unfreeze_reason=facts["unfreeze_reason"],
            trainable_parameters=facts["trainable_parameters"],
            used_trunk_cache=state.used_trunk_cache,
            learning_rate_sweep=[(rate, loss) for rate, loss in state.sweep],
            learning_rate_found=state.learning_rate,
            n_divergences=state.n_divergences,
            n_parts=state.n_parts,
            metrics_frozen=assessment.frozen,
            log_loss_frozen_calibrated=assessment.calibrated_losses,
            comparison=assessment.comparison,
            verdict=assessment.verdict,
            next_step=assessment.next_step,
            advice=[one.to_dict() for one in assessment.advice],
            search=facts["search"],
        ),
    )


def _save_model(model: keras.Model, path: Path, *, is_gpu: bool) -> None:
    """Saves the model and reads it back, since a model that cannot be loaded is worth nothing."""
    model.save(path)
    loaded = load_keras_model_safely(path)
    image = np.random.default_rng(0).integers(0, 256, (1, *model.input_shape[1:]))
    image = image.astype(np.float32)
    difference = float(np.abs(np.asarray(model(image)) - np.asarray(loaded(image))).max())
    tolerance = SAVED_MODEL_TOLERANCE_ON_GPU if is_gpu else SAVED_MODEL_TOLERANCE
    if not difference <= tolerance:
        raise ParityError(
            f"The saved model, loaded again, predicts otherwise. Expected a difference of at most "
            f"{tolerance:g}. Received: {difference:.2g}"
        )


def _keep_for_prediction(run: Run, model: keras.Model, path: Path) -> None:
    """Leaves what predicting needs without TensorFlow: the head's arithmetic, and the network as
    the CPU's engine has it.
    """
    embedding, _ = split_classifier(model, run.class_names)
    arithmetic = find_arithmetic(model.get_layer("head"))
    if arithmetic is not None:
        save_arithmetic(path, arithmetic)
    identity = identify_finetuned(run.recipe, path)
    network = Network(lambda: embedding, identity=identity, store=NetworkStore())
    open_embedder(network, describe_cpu(), n_streams=1)


def _probe(run: Run, model: keras.Model) -> Probes:
    """The parent's probe images with what the fine-tuned model makes of them."""
    probes = read_probes(run)
    images = probes.pixels.astype(np.float32)
    features = model.get_layer("backbone")(model.get_layer("preprocessing")(images))
    return Probes(probes.paths, probes.pixels, np.asarray(features), np.asarray(model(images)))


def _draw(
    folder: Path,
    name: str,
    parent: Parent,
    state: State,
    line: str,
    metrics: dict[str, Metrics],
    is_augmented: bool,
) -> None:
    from pipeline.runs.plots.confusion_matrix import plot_confusion_matrix
    from pipeline.runs.plots.finetuning_plots import plot_learning_rate_sweep
    from pipeline.runs.plots.learning_curves import plot_finetuning

    head = parent.run.manifest
    plot_finetuning(
        folder / "learning-curve",
        parent.history,
        state.history,
        head_x=head.history.x,
        head_best=head.history.best if head.chosen_by == "val" else None,
        # Weights between two epochs are no point of the curve.
        finetune_best=state.best_epoch if state.part == state.n_averaged == 1 else None,
        unfrozen_from=line,
        is_augmented=is_augmented,
        title=name,
    )
    split = "test" if "test" in metrics else "val"
    plot_confusion_matrix(
        folder / "confusion-matrix",
        metrics[split].confusion_matrix,
        parent.run.class_names,
        title=f"{name}, {split} split",
    )
    if state.sweep:
        plot_learning_rate_sweep(
            folder / "learning-rate", state.sweep, state.learning_rate, title=name
        )


def _draw_augmentation(
    folder: Path, augment: tuple[Augmentation, PixelStore] | None, parent: Parent, state: State
) -> None:
    """Sixteen images as the first epoch saw them; from the trunk cache, their first views."""
    from pipeline.runs.plots.finetuning_plots import plot_augmented_images

    if augment is None:
        return
    layers, store = augment
    before = parent.before
    rows = np.flatnonzero(before.splits == TRAIN)
    rows = rows[np.linspace(0, len(rows) - 1, N_PICTURED).astype(int)]
    targets = np.eye(before.probabilities.shape[1], dtype=np.float32)[before.labels[rows]]
    numbers = number_images(parent.digests[rows]) if state.used_trunk_cache else rows
    images, _ = layers.mix(layers(store.read(rows), numbers, 1), targets, 1, 0)
    title = f"{N_PICTURED} training images, augmented ({layers.kind})"
    plot_augmented_images(folder / "augmentation", images, title=title)
