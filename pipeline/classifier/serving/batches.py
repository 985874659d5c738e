"""Batches of jobs that came together: one call of the network for several requests.

A stream of the engine takes what is there and waits a moment for what is about to come, but only
where something is: a request that is alone waits for nobody.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable

from pipeline.classifier.embed_images import describe_decoding
from pipeline.classifier.model import Classifier
from pipeline.classifier.serving.decoder import Form
from pipeline.classifier.serving.jobs import Job, Jobs
from pipeline.classifier.sources import Source
from pipeline.images.decoding.read_images import Limits
from pipeline.recipe import Recipe

WINDOW_SECONDS = 0.004


class Batcher:
    """Classifies jobs in threads, as many as the engine has streams.

    Args:
        limits: what an image may be at most; they were heeded when it was decoded.
        expects_more: whether other jobs are about to come.
        on_batch: called with the number of images of each batch.
    """

    def __init__(
        self,
        limits: Limits,
        expects_more: Callable[[], bool],
        on_batch: Callable[[int], None] = lambda n_images: None,
    ) -> None:
        self._limits = limits
        self._expects_more = expects_more
        self._on_batch = on_batch
        self._jobs: Jobs = Jobs()
        self._threads: list[threading.Thread] = []
        self._n_images = 1

    def start(self, n_streams: int, n_images: int) -> None:
        """Starts the threads.

        Args:
            n_streams: batches side by side.
            n_images: most jobs of a batch.
        """
        self._n_images = n_images
        for number in range(n_streams):
            name = f"frostline-batches-{number}"
            thread = threading.Thread(target=self._work, daemon=True, name=name)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Waits for the jobs that were put."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def put(self, job: Job) -> None:
        """Takes a job that is decoded; its answer comes later, from another thread."""
        self._jobs.put(job)

    def _work(self) -> None:
        while batch := self._gather():
            wanted = [job for job in batch if job.answer.set_running_or_notify_cancel()]
            for model in {id(job.model): job.model for job in wanted}.values():
                self._classify(model, [job for job in wanted if job.model is model])

    def _gather(self) -> list[Job]:
        """Waits for a job, and for a moment for more; none where there should be no more."""
        job = self._jobs.get()
        if job is None:
            return []
        batch = [job]
        until = time.monotonic() + WINDOW_SECONDS
        while len(batch) < self._n_images:
            seconds = until - time.monotonic() if self._expects_more() else 0
            try:
                job = self._jobs.get(timeout=seconds) if seconds > 0 else self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)  # to come again when these are done
                break
            batch.append(job)
        return batch

    def _classify(self, model: Classifier, jobs: list[Job]) -> None:
        self._on_batch(len(jobs))
        try:
            answers = model.predict_batch([_make_source(job) for job in jobs], self._limits)
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].answer.set_exception(error)
            else:  # one of them is to blame, and the others are none the worse for it
                for job in jobs:
                    self._classify(model, [job])
            return
        for job, answer in zip(jobs, answers, strict=True):
            job.answer.set_result(answer)


def find_forms(recipes: Iterable[Recipe]) -> list[Recipe]:
    """A recipe for each form that an image has to be decoded to."""
    return list({describe_decoding(recipe): recipe for recipe in recipes}.values())


def _make_source(job: Job) -> Source:
    """The upload as an image that is decoded already."""
    forms = {
        describe_decoding(recipe): form for recipe, form in zip(job.recipes, job.forms, strict=True)
    }

    def read(recipe: Recipe, limits: Limits) -> Form:
        del limits
        return forms[describe_decoding(recipe)]

    return Source(str(job.upload.name), job.upload.name, read)
