"""The model of a run, loaded once and used often: images in, probabilities of classes out."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.backbones.engines.device import Device
from pipeline.backbones.engines.embedder import Embedder
from pipeline.backbones.engines.engine import Network
from pipeline.backbones.engines.opening import open_embedder
from pipeline.classifier.embed_images import embed_images
from pipeline.classifier.prediction import Prediction, describe_rows
from pipeline.classifier.sources import Source, list_images, make_source
from pipeline.errors import RunError
from pipeline.heads.head import Head
from pipeline.heads.tempered import predict_averaged
from pipeline.images.decoding.read_images import DEFAULT_LIMITS, Limits
from pipeline.recipe import Recipe
from pipeline.runs.promise.guard import load_guard
from pipeline.runs.run_folder import Run
from pipeline.system.parallel import map_batches
from pipeline.system.progress import OnProgress
from pipeline.system.quiet_start import no_start_up_talk

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras

# So many images at most are not padded to the large batch that a GPU takes.
SMALL_BATCH = 8


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
        weights: where the backbone's weights lie now, None for where they came from.
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
        weights: str | None = None,
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
        self._weights = weights
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

    def predict_batch(self, batch: list[Source], limits: Limits) -> list[Prediction]:
        """Classifies a few images at once, in the thread that calls this.

        Args:
            batch: one image or more.
            limits: what an image may be at most.
        """
        return self._predict_batch(batch, self.open_engines(len(batch)), limits)

    def embed(self, pixels: np.ndarray, place: int = 0) -> np.ndarray:
        """Features, float32 (n, n_features), of RGB uint8 (n, height, width, 3) of the recipe's
        size.

        Args:
            place: of the backbone among the run's `manifest.backbones`, where it has several.
        """
        return self.open_engines(len(pixels))[place](pixels)

    def keras_model(self) -> "keras.Model":
        """A Keras model of its own, ready to be compiled: from RGB 0..255, float32
        `(n, height, width, 3)`, to probabilities `(n, n_classes)`.

        All but its last layer, the head, is frozen; the layers of a run of one backbone are called
        `image`, `preprocessing`, `backbone` (a model of its own, with all of its layers) and
        `head`. It computes in float32, of one view. Each call builds another one.

        Raises:
            HeadError, ExportError: the head is none that Keras has layers for.
            RunError, WeightsError: the model cannot be rebuilt.
        """
        with no_start_up_talk():
            from pipeline.classifier.keras_model import build_keras_model
        return build_keras_model(self.run, self._weights)

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
        """An engine for each network, for so many images; they are opened once and kept.

        Those for many images take a few, too, where they are open: compiling others takes longer.
        """
        is_small = self.device.is_gpu and n_images <= SMALL_BATCH
        with self._opening:
            batch_size = SMALL_BATCH if is_small and None not in self._engines else None
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
