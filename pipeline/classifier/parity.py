"""The parity check: is a rebuilt model the one that its run recorded?

A run carries a few probe images, as pixels and as what came out of them. They go through the
rebuilt backbone and head, and what comes out is compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import ParityError
from pipeline.images.decoding.read_images import NO_LIMITS, read_image
from pipeline.recipe import REDUCED_TOLERANCE, TOLERANCE, EngineRecord, Recipe, find_tolerance
from pipeline.runs.manifest import Manifest, UsedBackbone
from pipeline.runs.records import Probes, read_probes
from pipeline.runs.run_folder import Run
from pipeline.system.paths import is_file

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras

# Greatest difference of a probability: a head may amplify a difference of the features.
PROBABILITY_TOLERANCE = 1e-2
REDUCED_PROBABILITY_TOLERANCE = 1e-1


@dataclass(frozen=True)
class Parity:
    """How near a rebuilt model is to the recorded one.

    Args:
        difference: the greatest of the features, relative to the greatest feature of the same
            backbone.
        notes: sentences for people.
    """

    difference: float
    notes: list[str]


@dataclass(frozen=True)
class Rebuilt:
    """A backbone as it is here and now.

    Args:
        embed: from RGB uint8 (n, height, width, 3) to features (n, n_features).
        engine: what computes.
    """

    embed: Callable[[np.ndarray], np.ndarray]
    engine: EngineRecord


def check_parity(
    run: Run,
    rebuilt: Sequence[Rebuilt],
    predict_proba: Callable[[np.ndarray], np.ndarray],
    *,
    data_root: Path | None = None,
) -> Parity:
    """Compares a rebuilt model with what the run recorded for its probe images.

    Where the head takes the features of several backbones, each is compared by its own probes,
    with the others' features as they are recorded.

    Args:
        rebuilt: the backbones. Where another engine made the run's features, or a device of another
            kind, the notes say how far the two are apart; not where an engine's name is `unknown`.
        predict_proba: from all features to probabilities (n, n_classes).
        data_root: where the images lie; those that are there are decoded anew and compared too.

    Raises:
        ParityError: pixels, features or predictions differ.
    """
    backbones = run.manifest.backbones
    found = []
    for place, (used, backbone) in enumerate(zip(backbones, rebuilt, strict=True)):
        probes = read_probes(run, place)
        if data_root is not None:
            _compare_pixels(probes, data_root, used.recipe)
        columns = _find_columns(backbones, place, probes.features.shape[1])
        found.append(_check_backbone(run, used, probes, columns, backbone, predict_proba))
    difference = max(one.difference for one in found)
    return Parity(difference, list(dict.fromkeys(note for one in found for note in one.notes)))


def _find_columns(backbones: list[UsedBackbone], place: int, n_features: int) -> slice:
    """Which of the head's features a backbone makes."""
    widths = [used.n_features or 0 for used in backbones]
    widths[0] = max(0, n_features - sum(widths[1:]))
    return slice(sum(widths[:place]), sum(widths[: place + 1]))


def _check_backbone(
    run: Run,
    used: UsedBackbone,
    probes: Probes,
    columns: slice,
    rebuilt: Rebuilt,
    predict_proba: Callable[[np.ndarray], np.ndarray],
) -> Parity:
    manifest, engine = run.manifest, rebuilt.engine
    tolerance = _find_feature_tolerance(manifest, used, is_gpu=engine.is_gpu)
    is_unknown = tolerance == TOLERANCE and not _is_device_known(manifest, used)
    if is_unknown:
        tolerance = REDUCED_TOLERANCE
    received = rebuilt.embed(probes.pixels)
    difference = _compare_features(run, probes.features[:, columns], received, tolerance)
    features = probes.features.astype(np.float32)
    features[:, columns] = received
    _compare_probabilities(run, probes, predict_proba(features), is_reduced=tolerance > TOLERANCE)
    notes = []
    if is_unknown and difference > TOLERANCE:
        notes = [
            f"The features of {run.folder} differ by {difference:.2g} of the greatest from what "
            "its network gives here. That is usual between a CPU and a GPU, not between two CPUs, "
            "and the run does not say what made them."
        ]
    elif _is_another(manifest, used, engine):
        notes = [
            f"The features of {run.folder} were made by {used.engine}, and {engine} computes "
            f"here: greatest difference {difference:.2g} of the greatest feature, measured on "
            f"{len(probes.pixels)} images; up to {tolerance:g} is rounding."
        ]
    return Parity(difference, notes)


def check_head(run: Run, predict_proba: Callable[[np.ndarray], np.ndarray]) -> None:
    """Compares a head with what the run recorded, on the recorded features of its probe images.

    Args:
        predict_proba: from features to probabilities (n, n_classes).

    Raises:
        ParityError: predictions differ.
    """
    probes = read_probes(run)
    _compare_probabilities(run, probes, predict_proba(probes.features), is_reduced=False)


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
        engine = EngineRecord(device="gpu" if is_gpu else "cpu")  # no name: only one can train
        return check_parity(run, [Rebuilt(embed, engine)], predict_proba, data_root=data_root)


def _find_feature_tolerance(manifest: Manifest, used: UsedBackbone, *, is_gpu: bool) -> float:
    """The greatest difference relative to the greatest feature, for what the run says that made
    its features, and for what computes now.
    """
    engine = used.engine
    was_gpu = engine.is_gpu
    if not engine.is_known and manifest.finetuning is not None:
        was_gpu = manifest.finetuning.device.startswith("GPU")
    return max(
        find_tolerance(precision, is_gpu=is_gpu or was_gpu)
        for precision in (used.recipe.precision, engine.precision)
    )


def _is_another(manifest: Manifest, used: UsedBackbone, engine: EngineRecord) -> bool:
    """Whether an engine is another one than made the features, or on a device of another kind."""
    if manifest.is_finetuned or not (used.engine.is_known and engine.is_known):
        return False
    return (used.engine.name, used.engine.is_gpu) != (engine.name, engine.is_gpu)


def _is_device_known(manifest: Manifest, used: UsedBackbone) -> bool:
    return used.engine.is_known or manifest.finetuning is not None


def _compare_features(
    run: Run, recorded: np.ndarray, features: np.ndarray, tolerance: float
) -> float:
    greatest = float(np.abs(recorded).max(initial=0))
    difference = _greatest_difference(features, recorded) / max(greatest, 1e-30)
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
    run: Run, probes: Probes, probabilities: np.ndarray, *, is_reduced: bool
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
