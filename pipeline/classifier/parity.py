"""The parity check: is a rebuilt model the one that its run recorded?

A run carries a few probe images, as pixels and as what came out of them. They go through the
rebuilt backbone and head, and what comes out is compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import ParityError
from pipeline.images.decoding.read_images import NO_LIMITS, read_image
from pipeline.recipe import Recipe
from pipeline.runs.manifest import Manifest
from pipeline.runs.records import Probes, read_probes
from pipeline.runs.run_folder import Run
from pipeline.system.paths import is_file

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras

# Greatest difference relative to the greatest feature.
FEATURE_TOLERANCE = 1e-3
REDUCED_FEATURE_TOLERANCE = 2e-2
# Greatest difference of a probability: a head may amplify a difference of the features.
PROBABILITY_TOLERANCE = 1e-2
REDUCED_PROBABILITY_TOLERANCE = 1e-1


@dataclass(frozen=True)
class Parity:
    """How near a rebuilt model is to the recorded one.

    Args:
        difference: the greatest of the features, relative to the greatest feature.
        notes: sentences for people.
    """

    difference: float
    notes: list[str]


def check_parity(
    run: Run,
    embed: Callable[[np.ndarray], np.ndarray],
    predict_proba: Callable[[np.ndarray], np.ndarray],
    *,
    is_gpu: bool,
    data_root: Path | None = None,
) -> Parity:
    """Compares a rebuilt model with what the run recorded for its probe images.

    Args:
        embed: from RGB uint8 (n, height, width, 3) to features (n, n_features).
        predict_proba: from features to probabilities (n, n_classes).
        is_gpu: whether `embed` computes on a GPU.
        data_root: where the images lie; those that are there are decoded anew and compared too.

    Raises:
        ParityError: pixels, features or predictions differ.
    """
    probes, manifest = read_probes(run), run.manifest
    if data_root is not None:
        _compare_pixels(probes, data_root, run.recipe)
    is_reduced = is_gpu or _is_reduced(manifest)
    is_unknown = not is_reduced and not _is_device_known(manifest)
    features = embed(probes.pixels)
    difference = _compare_features(run, probes, features, is_reduced or is_unknown)
    _compare_probabilities(run, probes, predict_proba(features), is_reduced or is_unknown)
    notes = []
    if is_unknown and difference > FEATURE_TOLERANCE:
        notes = [
            f"The features of {run.folder} differ by {difference:.2g} of the greatest from what "
            "its network gives here. That is usual between a CPU and a GPU, not between two CPUs, "
            "and the run does not say what made them."
        ]
    return Parity(difference, notes)


def check_model_parity(
    run: Run, model: "keras.Model", *, is_gpu: bool, data_root: Path | None
) -> Parity:
    """`check_parity` of backbone and head as one Keras model, see `build.py`."""
    from pipeline.backbones.keras_settings import keras_settings

    preprocessing, backbone = model.get_layer("preprocessing"), model.get_layer("backbone")

    def embed(pixels: np.ndarray) -> np.ndarray:
        preprocessed = preprocessing(pixels.astype(np.float32))
        return np.asarray(backbone(preprocessed, training=False), np.float32)

    def predict_proba(features: np.ndarray) -> np.ndarray:
        return np.asarray(model.get_layer("head")(features, training=False))

    with keras_settings():
        return check_parity(run, embed, predict_proba, is_gpu=is_gpu, data_root=data_root)


def _is_reduced(manifest: Manifest) -> bool:
    """Whether the run says that a GPU or 16 bits made its features."""
    engine = manifest.engine
    if {manifest.recipe.precision, engine.precision} - {"float32", ""}:
        return True
    if not engine.is_known and manifest.finetuning is not None:
        return manifest.finetuning.device.startswith("GPU")
    return engine.is_gpu


def _is_device_known(manifest: Manifest) -> bool:
    return manifest.engine.is_known or manifest.finetuning is not None


def _compare_features(run: Run, probes: Probes, features: np.ndarray, is_reduced: bool) -> float:
    tolerance = REDUCED_FEATURE_TOLERANCE if is_reduced else FEATURE_TOLERANCE
    greatest = float(np.abs(probes.features).max())
    difference = _greatest_difference(features, probes.features) / max(greatest, 1e-30)
    if not difference <= tolerance:
        raise ParityError(
            f"The rebuilt backbone gives other features than {run.folder} was made with. Expected "
            f"a greatest difference of {tolerance:g} of the greatest feature. Received: "
            f"{difference:.2g}\nWeights or preprocessing differ, or the versions of TensorFlow "
            f"and Keras do: the run was made with {run.manifest.software}. Extract again and "
            "fit the head anew."
        )
    return difference


def _compare_probabilities(
    run: Run, probes: Probes, probabilities: np.ndarray, is_reduced: bool
) -> None:
    tolerance = REDUCED_PROBABILITY_TOLERANCE if is_reduced else PROBABILITY_TOLERANCE
    difference = _greatest_difference(probabilities, probes.probabilities)
    if not difference <= tolerance:
        raise ParityError(
            f"The rebuilt head gives other predictions than {run.folder} recorded. Expected "
            f"probabilities that differ by at most {tolerance:g}. Received: {difference:.2g}\n"
            "The head's file is not the one that this run was written with; fit it again."
        )


def _greatest_difference(actual: np.ndarray, expected: np.ndarray) -> float:
    """Infinite where even the shapes differ."""
    if actual.shape != expected.shape or not expected.size:
        return float("inf")
    return float(np.abs(actual - expected).max())


def _compare_pixels(probes: Probes, root: Path, recipe: Recipe) -> None:
    for path, expected in zip(probes.paths, probes.pixels, strict=True):
        if not is_file(root / path):
            continue
        _, decoded = read_image(root / path, recipe, NO_LIMITS)
        if isinstance(decoded, str) or not np.array_equal(decoded, expected):
            raise ParityError(
                f"This image no longer gives the pixels that its features were made from. "
                f"Received: {root / path}\nIt was edited, or the decoder is another version. "
                "Run extract again and fit the head anew."
            )
