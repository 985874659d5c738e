"""Uploads in, answers out, whatever brings them: what waits is bounded, and batches are shared."""

import threading
from concurrent.futures import Future
from functools import partial

from pipeline.classifier.model import Classifier
from pipeline.classifier.prediction import Prediction
from pipeline.classifier.serving.batches import Batcher, find_forms
from pipeline.classifier.serving.current_model import CurrentModel
from pipeline.classifier.serving.jobs import Job, RefusedError, Upload
from pipeline.classifier.serving.lanes import DecodingLanes
from pipeline.classifier.serving.metrics import Metrics
from pipeline.images.decoding.read_images import Limits
from pipeline.system.parallel import count_cores

MOST_BYTES = 256 * 2**20  # of all requests that are being received or answered
_RETRY_SECONDS = 1

Received = tuple[Classifier, list["Future[Prediction]"]]


class Service:
    """Classifies uploads. Any number of threads may use it at once.

    Args:
        current: the model.
        limits: what an image may be at most.
        queue: images that may wait at once.
        most_bytes: that all requests may hold together.
    """

    def __init__(
        self, current: CurrentModel, limits: Limits, queue: int, most_bytes: int = MOST_BYTES
    ) -> None:
        self.current = current
        self.queue = queue
        self.metrics = Metrics(lambda: self.n_waiting, lambda: current.n_renewed)
        self.n_waiting = 0
        self._n_decoding = 0
        self._n_bytes = 0
        self._most_bytes = most_bytes
        self._counting = threading.Lock()
        self._batcher = Batcher(limits, lambda: self._n_decoding > 0, self.metrics.count_batch)
        self._lanes = DecodingLanes(limits, count_cores(), self._take_decoded)

    def begin(self) -> Classifier:
        """Starts all that works, and loads the model meanwhile.

        Raises:
            FrostlineError: the model cannot be loaded.
        """
        self._lanes.start()
        model = self.current.begin()
        engines = model.open_engines(n_images=1)
        self._batcher.start(
            min(engine.n_streams for engine in engines),
            max(engine.images_per_task for engine in engines),
        )
        return model

    def end(self) -> None:
        """Finishes what has begun, and stops all that works."""
        self.current.end()
        self._lanes.stop()
        self._batcher.stop()

    def submit(self, uploads: list[Upload]) -> Received:
        """Takes uploads in; all or none.

        Returns:
            The model that they go to, and for each what will become of it. Cancel those for which
            nobody waits any more.

        Raises:
            RefusedError: there is no model yet, or too many wait.
        """
        model = self.current.get()
        if model is None:
            raise RefusedError(503, "The model is being loaded. Try again.", _RETRY_SECONDS)
        with self._counting:
            if self.n_waiting + len(uploads) > self.queue:
                raise self._refuse(len(uploads))
            self.n_waiting += len(uploads)
            self._n_decoding += len(uploads)
        recipes = find_forms(used.recipe for used in model.run.manifest.backbones)
        jobs = [Job(upload, model, recipes) for upload in uploads]
        for job in jobs:
            job.answer.add_done_callback(partial(self._count_done, job))
            self._lanes.put(job)
        return model, [job.answer for job in jobs]

    def _refuse(self, n_images: int) -> RefusedError:
        if n_images > self.queue:
            return RefusedError(
                413, f"Expected at most {self.queue:,} images in a request. Received: {n_images:,}"
            )
        return RefusedError(
            503,
            f"Too many images wait already. Expected at most {self.queue:,}. Received: "
            f"{n_images:,} more than the {self.n_waiting:,} that wait. Try again.",
            _RETRY_SECONDS,
        )

    def hold_bytes(self, n_bytes: int) -> None:
        """Notes bytes that a request holds; a negative number gives them back.

        Raises:
            RefusedError: all requests together would hold too many.
        """
        with self._counting:
            if n_bytes > 0 and self._n_bytes + n_bytes > self._most_bytes:
                raise RefusedError(
                    503, "Too much is being received already. Try again.", _RETRY_SECONDS
                )
            self._n_bytes += n_bytes

    def _take_decoded(self, job: Job) -> None:
        self._batcher.put(job)
        self._count_decoded(job)

    def _count_decoded(self, job: Job) -> None:
        with self._counting:
            if not job.is_counted:
                job.is_counted = True
                self._n_decoding -= 1

    def _count_done(self, job: Job, answer: "Future[Prediction]") -> None:
        self._count_decoded(job)
        with self._counting:
            self.n_waiting -= 1
        if not answer.cancelled() and answer.exception() is None:
            self.metrics.count_image(is_used=answer.result().reason is None)
