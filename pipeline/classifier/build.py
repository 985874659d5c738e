"""Backbone and head as one Keras model from RGB 0..255 to probabilities, for fine-tuning.

Layers of the model: `image`, `preprocessing`, `backbone`, `head`; it is what fine-tuning trains and
what `model.keras` holds. For prediction the two are kept apart: see `model.py`.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.backbones.build import build_embedding_model
from pipeline.backbones.keras_settings import keras_settings
from pipeline.backbones.networks.tuned import set_precision
from pipeline.backbones.presets import HUB_PREFIX
from pipeline.backbones.safe_loading import load_keras_model_safely
from pipeline.backbones.weights.resolve import resolve_recorded_weights
from pipeline.errors import BackboneError, HeadError, RunError
from pipeline.heads.dense.head import DenseHead
from pipeline.heads.head import Head
from pipeline.heads.linear import LinearHead
from pipeline.heads.saved_head import FINETUNED_MODEL, load_head, require_model
from pipeline.recipe import TOLERANCE, Recipe
from pipeline.runs.binding import require_bound_names
from pipeline.runs.run_folder import Run
from pipeline.system.keras_on_tensorflow import keras


@keras_settings()
def build_classifier(embedding: keras.Model, head: Head, class_names: list[str]) -> keras.Model:
    """Puts a head on an embedding model.

    Args:
        embedding: from RGB 0..255 (n, height, width, 3) to features (n, n_features).
        head: of the same number of features.

    Returns:
        Keras model from RGB 0..255 to probabilities (n, n_classes), float32.

    Raises:
        HeadError: the head is none that Keras can train.
        RunError: numbers of features or classes differ.
    """
    layer = head.to_keras()
    n_features = embedding.output_shape[1]
    received = layer.compute_output_shape((None, n_features))
    try:
        probabilities = layer(embedding.output)
    except ValueError as error:  # it was built for another number of features
        raise RunError(
            f"The head does not fit. Expected {n_features} features. Received: {error}"
        ) from error
    if received[-1] != len(class_names):
        raise RunError(
            f"The head does not fit. Expected {len(class_names)} classes. Received: {received[-1]}"
        )
    return keras.Model(embedding.input, probabilities, name="classifier")


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
        HeadError: the head is none that Keras can train.
        RunError: head or model are missing or damaged.
        WeightsError: the weights are not there, or are others than the run was made with.
    """
    if run.manifest.is_finetuned:
        model = _load_finetuned(run)
        if precision is not None:
            set_precision(model.get_layer("backbone"), precision)
        return model
    head = load_head(run)
    embedding = _build_embedding(run, weights, precision)
    if to_be_saved and run.recipe.backbone.startswith(HUB_PREFIX):
        _require_savable(embedding, run.recipe)
    try:
        return build_classifier(embedding, head, run.class_names)
    except HeadError as error:
        raise HeadError(f"The {run.kind} head of {run.folder} cannot be fine-tuned: {error}") from (
            error
        )


def load_finetuned_parts(run: Run) -> tuple[keras.Model, Head]:
    """The two halves of a fine-tuned run's model: from RGB 0..255 to features, and the head.

    Raises:
        RunError: the model is missing or damaged.
    """
    model = _load_finetuned(run)
    return split_classifier(model, run.class_names)


def split_classifier(model: keras.Model, class_names: list[str]) -> tuple[keras.Model, Head]:
    """A classifier's embedding model, from RGB 0..255 to features, and its head."""
    backbone, preprocessing = model.get_layer("backbone"), model.get_layer("preprocessing")
    embedding = keras.Model(model.input, backbone(preprocessing(model.input)), name="embedding")
    layer = model.get_layer("head")
    if isinstance(layer, keras.layers.Dense):
        kernel, bias = layer.get_weights()
        return embedding, LinearHead(kernel, bias, tuple(class_names))
    return embedding, DenseHead(layer)


def _build_embedding(run: Run, weights: str | None, precision: str | None = None) -> keras.Model:
    recipe = run.recipe if precision is None else replace(run.recipe, precision=precision)
    source = weights or run.manifest.weights_source
    return build_embedding_model(recipe, resolve_recorded_weights(recipe, source))


def _load_finetuned(run: Run) -> keras.Model:
    require_model(run)
    path = run.folder / FINETUNED_MODEL
    require_bound_names(run, [FINETUNED_MODEL])
    model = load_keras_model_safely(path)
    missing = {"preprocessing", "backbone", "head"} - {layer.name for layer in model.layers}
    if missing or model.output_shape[-1] != len(run.class_names):
        raise RunError(
            "This is not the model of this run. Expected layers preprocessing, backbone and head "
            f"and {len(run.class_names)} classes. Received: {path}, "
            + (f"without {', '.join(sorted(missing))}" if missing else f"of {model.output_shape}")
        )
    return model


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
            if not difference <= TOLERANCE:
                problem = f"features that differ by {difference:.2g} of the greatest"
    if problem:
        raise BackboneError(
            "The network of this preset cannot be saved and read back, so what fine-tuning makes "
            f"of it would be lost. Expected: the same features. Received: {problem}, from "
            f"`backbone={recipe.backbone}`\nIts features and heads are as good as any: stay with "
            "the frozen head, or fine-tune another backbone."
        )
