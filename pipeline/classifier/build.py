"""Backbone and head as one Keras model from RGB 0..255 to probabilities, and the parity check.

Layers of the model: `image`, `preprocessing`, `backbone`, `head`; it is what fine-tuning trains and
what `model.keras` holds.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.backbones.build import build_embedding_model
from pipeline.backbones.engines.embedder import GPU_BATCH_SIZE
from pipeline.backbones.keras_internals import flatten_layers
from pipeline.backbones.keras_settings import keras_settings
from pipeline.backbones.presets import HUB_PREFIX
from pipeline.backbones.safe_loading import load_keras_model_safely
from pipeline.backbones.weights.resolve import resolve_recorded_weights
from pipeline.errors import BackboneError, ParityError, RunError
from pipeline.heads.dense import load_dense_head
from pipeline.heads.logistic import LinearHead, load_linear_head
from pipeline.images.decoding.read_images import NO_LIMITS, read_image
from pipeline.recipe import Recipe
from pipeline.runs.records import read_probes
from pipeline.runs.run_folder import Run, require_model
from pipeline.system.keras_on_tensorflow import keras

# Greatest difference relative to the greatest feature.
FEATURE_TOLERANCE = 1e-3
REDUCED_FEATURE_TOLERANCE = 2e-2
# Greatest difference of a probability: a head may amplify a difference of the features.
PROBABILITY_TOLERANCE = 1e-2
REDUCED_PROBABILITY_TOLERANCE = 1e-1


@keras_settings()
def build_classifier(
    embedding: keras.Model, head: LinearHead | keras.Model, class_names: list[str]
) -> keras.Model:
    """Puts a head on an embedding model.

    Args:
        embedding: from RGB 0..255 (n, height, width, 3) to features (n, n_features).
        head: of the same number of features; a linear one becomes a Dense layer.

    Returns:
        Keras model from RGB 0..255 to probabilities (n, n_classes), float32.

    Raises:
        RunError: numbers of features or classes differ.
        ParityError: the head was fitted on other classes.
    """
    if isinstance(head, LinearHead):
        _require_same_classes(head.class_names, class_names)
        n_features, n_classes = head.kernel.shape
        layer = keras.layers.Dense(n_classes, activation="softmax", dtype="float32", name="head")
        layer.build((None, n_features))
        layer.set_weights([head.kernel, head.bias])
    else:
        n_features, n_classes = head.input_shape[1], head.output_shape[1]
        layer = head
    if n_features != embedding.output_shape[1] or n_classes != len(class_names):
        raise RunError(
            f"The head does not fit. Expected {embedding.output_shape[1]} features and "
            f"{len(class_names)} classes. Received: {n_features} features and {n_classes} classes"
        )
    return keras.Model(embedding.input, layer(embedding.output), name="classifier")


def _require_same_classes(of_head: Sequence[str], of_run: Sequence[str]) -> None:
    if list(of_head) == list(of_run):
        return
    only_head = [name for name in of_head if name not in set(of_run)]
    only_run = [name for name in of_run if name not in set(of_head)]
    differences = [
        f"{where}: {', '.join(names)}"
        for where, names in (("only in the head", only_head), ("only in the run", only_run))
        if names
    ] or [f"in another order: {', '.join(of_head)}"]
    raise ParityError(
        f"The head was fitted on other classes than the run's. Expected {', '.join(of_run)}. "
        f"Received: {'; '.join(differences)}\nThe head's file is not the one that this run was "
        "written with; fit it again."
    )


def load_head(run: Run) -> LinearHead | keras.Model:
    """Reads the head of a run that `fit-head` wrote.

    Raises:
        RunError: there is none, or it is damaged.
    """
    require_model(run)
    if (run.folder / "head.npz").is_file():
        return load_linear_head(run.folder / "head.npz")
    return load_dense_head(run.folder / "head.keras")


def load_classifier(
    run: Run,
    weights: str | None = None,
    precision: str | None = None,
    *,
    to_be_saved: bool = False,
) -> keras.Model:
    """Rebuilds the full model of a run.

    Args:
        weights: where the backbone's weights lie now, None for where they came from.
        precision: of the backbone's computation; None as recorded.
        to_be_saved: make sure that the model can be saved and read back.

    Raises:
        BackboneError: the model cannot be saved.
        RunError: head or model are missing or damaged.
        WeightsError: the weights are not there, or are others than the run was made with.
    """
    if run.kind == "finetuned":
        model = load_keras_model_safely(run.folder / "model.keras")
        if precision is not None:
            set_precision(model.get_layer("backbone"), precision)
        return model
    head = load_head(run)
    recipe = run.recipe if precision is None else replace(run.recipe, precision=precision)
    source = weights or run.manifest["weights_source"]
    embedding = build_embedding_model(recipe, resolve_recorded_weights(recipe, source))
    if to_be_saved and recipe.backbone.startswith(HUB_PREFIX):
        _require_savable(embedding, recipe)
    return build_classifier(embedding, head, run.class_names)


def set_precision(backbone: keras.Model, precision: str) -> None:
    """Lets a backbone compute in a precision, whatever it was built in; weights stay float32."""
    for layer in flatten_layers(backbone):
        layer.dtype_policy = keras.dtype_policies.get(precision)


@keras_settings()
def check_parity(run: Run, model: keras.Model, *, is_gpu: bool, data_root: Path | None) -> float:
    """Compares a rebuilt model with what the run recorded for its probe images.

    Args:
        data_root: where the images lie; those that are there are decoded anew and compared too.

    Returns:
        The greatest difference of the features, relative to the greatest feature.

    Raises:
        ParityError: pixels, features or predictions differ.
    """
    probes = read_probes(run)
    recipe = run.recipe
    is_reduced = is_gpu or _was_made_on_gpu(run) or recipe.precision != "float32"
    if data_root is not None:
        _compare_pixels(probes.paths, probes.pixels, data_root, recipe)
    preprocessed = model.get_layer("preprocessing")(probes.pixels.astype(np.float32))
    features = np.asarray(model.get_layer("backbone")(preprocessed, training=False), np.float32)
    greatest = float(np.abs(probes.features).max())
    difference = float(np.abs(features - probes.features).max()) / max(greatest, 1e-30)
    tolerance = REDUCED_FEATURE_TOLERANCE if is_reduced else FEATURE_TOLERANCE
    if not difference <= tolerance:
        raise ParityError(
            f"The rebuilt backbone gives other features than {run.folder} was made with. Expected "
            f"a greatest difference of {tolerance:g} of the greatest feature. Received: "
            f"{difference:.2g}\nWeights or preprocessing differ, or the versions of TensorFlow "
            f"and Keras do: the run was made with {run.manifest['software']}. Extract again and "
            "fit the head anew."
        )
    probabilities = np.asarray(model(probes.pixels.astype(np.float32), training=False))
    difference_head = float(np.abs(probabilities - probes.probabilities).max())
    tolerance = REDUCED_PROBABILITY_TOLERANCE if is_reduced else PROBABILITY_TOLERANCE
    if not difference_head <= tolerance:
        raise ParityError(
            f"The rebuilt head gives other predictions than {run.folder} recorded. Expected "
            f"probabilities that differ by at most {tolerance:g}. Received: {difference_head:.2g}\n"
            "The head's file is not the one that this run was written with; fit it again."
        )
    return difference


def _require_savable(embedding: keras.Model, recipe: Recipe) -> None:
    """Saves a preset's network and reads it back: some of KerasHub's layers cannot, or come back
    with other numbers.
    """
    pixels = np.random.default_rng(0).uniform(0, 255, (2, *embedding.input_shape[1:]))
    expected = np.asarray(embedding(pixels.astype(np.float32), training=False))
    problem = ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            embedding.save(path)
            received = load_keras_model_safely(path)(pixels.astype(np.float32), training=False)
        except Exception as error:
            # A layer's configuration can fail in any way that code can.
            reason = str(error).strip().splitlines()
            problem = f"{type(error).__name__}: {reason[0][:200] if reason else ''}"
        else:
            difference = np.abs(np.asarray(received) - expected).max() / np.abs(expected).max()
            if not difference <= FEATURE_TOLERANCE:
                problem = f"features that differ by {difference:.2g} of the greatest"
    if problem:
        raise BackboneError(
            "The network of this preset cannot be saved and read back, so what fine-tuning makes "
            f"of it would be lost. Expected: the same features. Received: {problem}, from "
            f"--backbone {recipe.backbone}\nIts features and heads are as good as any: stay with "
            "fit-head, or fine-tune another backbone."
        )


def _was_made_on_gpu(run: Run) -> bool:
    """A fine-tuned run says so; features have it from the batch size, which on a CPU is small."""
    facts = run.manifest
    by_batch_size = facts.get("features_batch_size", 0) >= GPU_BATCH_SIZE
    return facts.get("device", "").startswith("GPU") or by_batch_size


def _compare_pixels(paths: list[str], pixels: np.ndarray, root: Path, recipe: Recipe) -> None:
    for path, expected in zip(paths, pixels, strict=True):
        if not (root / path).exists():
            continue
        _, decoded = read_image(root / path, recipe, NO_LIMITS)
        if isinstance(decoded, str) or not np.array_equal(decoded, expected):
            raise ParityError(
                f"This image no longer gives the pixels that its features were made from. "
                f"Received: {root / path}\nIt was edited, or the decoder is another version. "
                "Run extract again and fit the head anew."
            )
