"""The model of a run, loaded once and used often: images in, probabilities of classes out."""

import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.backbones.engines.device import Device, require_device_name
from pipeline.backbones.engines.embedder import Embedder
from pipeline.backbones.engines.engine import Network
from pipeline.backbones.engines.network_store import NetworkStore
from pipeline.backbones.engines.opening import find_device, open_embedder
from pipeline.classifier.embed_images import embed_images
from pipeline.classifier.parity import Parity, Rebuilt, check_parity
from pipeline.classifier.parts import load_parts
from pipeline.classifier.sources import Source, list_images, make_source
from pipeline.errors import ParameterError, RunError, StorageError
from pipeline.heads.head import Head
from pipeline.heads.saved_head import require_model
from pipeline.heads.tempered import predict_averaged
from pipeline.images.augmentation.augment import AUGMENTATION_VERSION
from pipeline.images.decoding.read_images import DEFAULT_LIMITS, Limits
from pipeline.recipe import EngineRecord, Recipe
from pipeline.runs.promise.guard import Guard, load_guard
from pipeline.runs.run_folder import Run, describe_software, open_run
from pipeline.system.atomic_files import write_json
from pipeline.system.parallel import map_batches
from pipeline.system.paths import as_path, open_regular_file
from pipeline.system.progress import OnProgress

# So many images at most are not padded to the large batch that a GPU takes.
SMALL_BATCH = 8
_MARKER_BYTES = 2**16  # more than the parity check ever leaves


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Args:
        path: of its file; None for an image that came without one.
        probabilities: float32 (n_classes,); None where the image cannot be used.
        label: name of the most probable class, likewise.
        reason: why the image cannot be used; None where it can.
        digest: sha256 of its file, uint8 (32,), zeros where there is none or it cannot be read.
        no_answer: `unsure` or `unlike anything seen`, where the run's promise covers no answer;
            None where it does, and of a run that promises nothing.
    """

    path: Path | None
    probabilities: np.ndarray | None
    label: str | None
    reason: str | None
    digest: np.ndarray = field(repr=False)
    no_answer: str | None = None

    @property
    def answer(self) -> str | None:
        """The label, where there is one and the run's promise, if it makes one, covers it."""
        return self.label if self.no_answer is None else None


def load_run(
    run: Run | str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    *,
    engine: str | None = None,
    network_store: bool = True,
    is_alone: bool = False,
) -> "Classifier":
    """Loads the model of a run, and checks that it is the one that the run recorded.

    Args:
        run: a run or its folder.
        weights: where the backbone's weights lie now, None for where they came from.
        device: `auto`, `cpu`, `gpu` or `gpu:N`.
        engine: what runs the network, None for the one that made the run's features, where these
            were made on a device of the kind, and else what suits the device.
        network_store: keep the converted network for the next time, and take it from there.
        is_alone: this process does nothing but predict, so TensorFlow's threads may be set up for
            that for good.

    Returns:
        The `Classifier`.

    Raises:
        RunError, HeadError, WeightsError: the model cannot be rebuilt.
        ParityError: it is not the model that the run recorded (checked on first use).
        DeviceError: the device is not there.
        EngineError: no such engine, or it cannot run the network.
    """
    require_device_name(device)
    opened, _ = open_either(run)
    made_by = _find_engines_of_features(opened)
    of_gpus = [record.name for record in made_by if record.is_gpu]
    chosen = find_device(device, engine, of_gpus[0] if of_gpus else None)
    preferred = [record.name if record.device == chosen.kind else None for record in made_by]
    store = NetworkStore() if network_store else None
    networks, head = load_parts(opened, None if weights is None else str(weights), store)
    classifier = Classifier(
        opened, networks, head, chosen, engine, preferred=preferred, is_alone=is_alone
    )
    classifier.open_engines(n_images=1)  # now, so that the first prediction is as quick as any
    classifier.notes += _check_parity_once(classifier)
    return classifier


def open_either(
    run: "Run | Classifier | str | os.PathLike[str]",
) -> "tuple[Run, Classifier | None]":
    """A run, and its model where that is loaded already.

    Raises:
        RunError: there is no run, nothing to rebuild its model from, or it averages over views that
            this Frostline does not make.
    """
    if isinstance(run, Classifier):
        return run.run, run
    opened = run if isinstance(run, Run) else open_run(as_path(run, "run"))
    require_model(opened)
    _require_known_views(opened)
    return opened, None


def require_defaults(weights: object, device: str, engine: str | None) -> None:
    """A model that is loaded has its weights, its device and its engine already.

    Raises:
        ParameterError: others are asked for.
    """
    for name, value, default in (
        ("weights", weights, None),
        ("device", device, "auto"),
        ("engine", engine, None),
    ):
        if value != default:
            raise ParameterError(
                f"This model is loaded already. Expected no `{name}`. Received: {value}\n"
                f"Give `{name}` to `frostline.load`.",
                name,
            )


class Classifier:
    """Backbone and head of a run, ready to predict. Any number of threads may use it at once.

    Args:
        run: that it is the model of.
        networks: each from RGB 0..255 to features, which the head takes side by side; mostly one.
        head: from features to probabilities.
        device: where the backbones compute.
        engine: what runs them, None for what suits the device.
        preferred: for each network, of the engines that suit the one to try first, None for none;
            see `open_embedder`.
        is_alone: see `load_run`.
    """

    def __init__(
        self,
        run: Run,
        networks: Sequence[Network],
        head: Head,
        device: Device,
        engine: str | None = None,
        *,
        preferred: Sequence[str | None] | None = None,
        is_alone: bool = False,
    ):
        self.run = run
        self.head = head
        self.guard = load_guard(run)
        self.device = device
        self.notes: list[str] = []
        self._networks = networks
        self._engine = engine
        self._preferred: Sequence[str | None] = preferred or [None] * len(networks)
        self._is_alone = is_alone
        self._engines: dict[int | None, list[Embedder]] = {}
        self._opening = threading.Lock()

    @property
    def class_names(self) -> list[str]:
        """In the order of the probabilities."""
        return self.run.class_names

    @property
    def recipe(self) -> Recipe:
        """What decides the features of an image; of several backbones the first one's."""
        return self.run.recipe

    def predict(
        self,
        images: Iterable[Any],
        *,
        limits: Limits = DEFAULT_LIMITS,
        on_progress: OnProgress = lambda stage, done, total: None,
    ) -> list[Prediction]:
        """Classifies images; one that cannot be used comes with its reason.

        Whatever form an image comes in, it gives what its file gives. (One exception: Pillow
        images and arrays hold all pixels of a photo, while a JPEG file that is four times larger
        than wanted is shrunk as it is decoded, which rounds differently. A Pillow image that was
        opened and not used yet is read from its file. And the views that a run averages over are
        drawn by the file's digest, or by the pixels of an image that has none.)

        Args:
            images: each a path, the bytes of an image file, a Pillow image, or an RGB array,
                uint8 (height, width, 3).
            limits: what an image may be at most.
            on_progress: called with a stage, the number done and the number to do.

        Returns:
            A `Prediction` for each, in the same order.

        Raises:
            ParameterError: an image is none of these.
            DeviceError: the device's memory is too small.
        """
        found = list_images(images)
        return list(self._predict_each(found, limits, on_progress))

    def embed(self, pixels: np.ndarray, place: int = 0) -> np.ndarray:
        """Features, float32 (n, n_features), of RGB uint8 (n, height, width, 3) of the recipe's
        size.

        Args:
            place: of the backbone among the run's `manifest.backbones`, where it has several.
        """
        return self.open_engines(len(pixels))[place](pixels)

    def _predict_each(
        self, images: list[Any], limits: Limits, on_progress: OnProgress
    ) -> Iterator[Prediction]:
        engines = self.open_engines(len(images))
        size = max(engine.images_per_task for engine in engines)
        n_streams = min(engine.n_streams for engine in engines)
        batches = (
            [make_source(image, start + place) for place, image in enumerate(images[start:][:size])]
            for start in range(0, len(images), size)
        )
        done = 0
        for predictions in map_batches(
            lambda batch: self._predict_batch(batch, engines, limits), batches, n_streams
        ):
            yield from predictions
            done += len(predictions)
            on_progress("Classifying", done, len(images))

    def _predict_batch(
        self, batch: list[Source], engines: list[Embedder], limits: Limits
    ) -> list[Prediction]:
        recipes = [used.recipe for used in self.run.manifest.backbones]
        views = self.run.manifest.tta
        outcomes, features = embed_images(batch, recipes, engines, limits, views)
        probabilities = self._predict_rows(features) if len(features) else features
        plain = features[:, 0] if features.ndim == 3 else features  # view 0 of all views
        rows = iter(describe_rows(self.run, self.guard, plain, probabilities))
        return [
            Prediction(source.path, None, None, reason, digest)
            if reason is not None
            else replace(next(rows), path=source.path, digest=digest)
            for source, (digest, reason) in zip(batch, outcomes, strict=True)
        ]

    def _predict_rows(self, features: np.ndarray) -> np.ndarray:
        """Probabilities of images, of whose features there are one row or one of each view."""
        if self.run.manifest.tta is None:
            probabilities = self.head.predict_proba(features)
        else:
            probabilities = predict_averaged(self.head, features[:, 0], features[:, 1:])
        if probabilities.shape != (len(features), len(self.class_names)):
            raise RunError(
                f"The head does not fit. Expected probabilities of {len(self.class_names)} "
                f"classes. Received: shape {probabilities.shape}, from {self.run.folder}"
            )
        return probabilities

    def open_engines(self, n_images: int) -> list[Embedder]:
        """An engine for each network, for so many images; they are opened once and kept."""
        is_small = self.device.is_gpu and n_images <= SMALL_BATCH
        batch_size = SMALL_BATCH if is_small else None
        with self._opening:
            if batch_size not in self._engines:
                opened = [
                    open_embedder(
                        network,
                        self.device,
                        engine=self._engine,
                        preferred=preferred,
                        batch_size=batch_size,
                        is_alone=self._is_alone,
                    )
                    for network, preferred in zip(self._networks, self._preferred, strict=True)
                ]
                for engine in opened:
                    self.notes += [note for note in engine.notes if note not in self.notes]
                self._engines[batch_size] = opened
            return self._engines[batch_size]


def _require_known_views(run: Run) -> None:
    """Raises a RunError for a run that averages over views where others would be made now."""
    views = run.manifest.tta
    if views is not None and views.version != AUGMENTATION_VERSION:
        raise RunError(
            "This run averages over views that are made otherwise now. Expected version "
            f"{AUGMENTATION_VERSION} of the augmentation. Received: version {views.version}, in "
            f"{run.folder}\nExtract the views again and fit the head anew, or use the version of "
            "Frostline that wrote the run."
        )


def describe_rows(
    run: Run, guard: Guard | None, features: np.ndarray, probabilities: np.ndarray
) -> list[Prediction]:
    """A prediction for each row of features, of images whose path and digest are still to be said.

    Args:
        guard: keeps the run's promise, None where it makes none.
        features: float32 (n, n_features).
        probabilities: float32 (n, n_classes).
    """
    unknown = np.zeros(32, np.uint8)
    no_answers = [None] * len(features) if guard is None else guard.judge(features, probabilities)
    return [
        Prediction(None, row, run.class_names[int(row.argmax())], None, unknown, no_answer)
        for row, no_answer in zip(probabilities, no_answers, strict=True)
    ]


def _find_engines_of_features(run: Run) -> list[EngineRecord]:
    """What made the features of each backbone.

    Two engines agree to rounding, so the head is best given rows of the one that it was fitted
    on. A fine-tuned network is another one, of which no feature file was made.
    """
    if run.manifest.is_finetuned:
        return [EngineRecord()]
    return [used.engine for used in run.manifest.backbones]


def _check_parity_once(classifier: Classifier) -> list[str]:
    """The parity check, once per run, device and versions of the software; what it has to say."""
    run, device = classifier.run, classifier.device
    marker = run.folder / "parity.json"
    records = [engine.record for engine in classifier.open_engines(n_images=1)]
    circumstances = {
        "software": describe_software(),
        "device": device.description,
        "engine": ", ".join(map(str, records)),
    }
    unread = suppress(OSError, ValueError, TypeError, KeyError, RecursionError)
    with unread, open_regular_file(marker) as file:
        if json.loads(file.read(_MARKER_BYTES))["circumstances"] == circumstances:
            return []
    rebuilt = [
        Rebuilt(partial(classifier.embed, place=place), record)
        for place, record in enumerate(records)
    ]
    found: Parity = check_parity(run, rebuilt, classifier.head.predict_proba)
    with suppress(StorageError):  # a run that may not be written is checked every time
        write_json(
            marker, {"circumstances": circumstances, "greatest_difference": found.difference}
        )
    return found.notes
