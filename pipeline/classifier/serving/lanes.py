"""Two lanes of decoding: a quick one for what photos are, and a slow one for what takes long.

An image of very many pixels, and one that a decoder did not manage in a few seconds, change over to
the slow lane. Others are held up by it as little as by a slow car that leaves the road.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.classifier.serving.decoder import Decoder, DecoderLostError, Form, Read, refuse
from pipeline.classifier.serving.jobs import Job, Jobs, RefusedError
from pipeline.images.decoding.read_images import Limits, read_image_bytes

QUICK_PIXELS = 25_000_000  # a telephone's photo has half as many
QUICK_SECONDS, SLOW_SECONDS = 3.0, 20.0
MOST_SLOW = 16  # jobs that wait in the slow lane
_RETRY_SECONDS = 30
_TOO_LARGE = "too large: "  # as the decoder's reasons begin

Deliver = Callable[[Job], None]


@dataclass(frozen=True)
class _Lane:
    """What distinguishes a lane.

    Args:
        limits: what an image may be at most in it.
        seconds: that decoding may take.
        n_processes: that decode.
    """

    limits: Limits
    seconds: float
    n_processes: int


class DecodingLanes:
    """Decodes jobs and delivers them; safe to call from several threads.

    Args:
        limits: what an upload may be at most.
        n_processes: of the quick lane; the slow lane has one.
        deliver: is called with each job that is decoded, and with each that is refused with a
            reason in place of pixels.
        quick_seconds, slow_seconds: that an upload may take to be decoded.
        read: what decodes an upload, as for `Decoder`.
    """

    def __init__(
        self,
        limits: Limits,
        n_processes: int,
        deliver: Deliver,
        *,
        quick_seconds: float = QUICK_SECONDS,
        slow_seconds: float = SLOW_SECONDS,
        read: Read = read_image_bytes,
    ) -> None:
        self._read = read
        quick = replace(limits, max_pixels=min(QUICK_PIXELS, limits.max_pixels))
        self._quick = _Lane(quick, quick_seconds, n_processes)
        self._slow = _Lane(limits, slow_seconds, 1)
        self._deliver = deliver
        self._quick_jobs: Jobs = Jobs()
        self._slow_jobs: Jobs = Jobs()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Starts the processes of the quick lane, and the threads that feed both."""
        for number in range(self._quick.n_processes):
            decoder = Decoder(self._quick.seconds, self._read)
            decoder.start()
            self._run(f"frostline-decoder-{number}", self._work_quickly, decoder)
        self._run(
            "frostline-decoder-slow", self._work_slowly, Decoder(self._slow.seconds, self._read)
        )

    def _run(self, name: str, task: Callable[[Decoder], None], decoder: Decoder) -> None:
        thread = threading.Thread(target=task, args=(decoder,), daemon=True, name=name)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        """Waits for the jobs that were put, and ends the processes."""
        for _ in range(self._quick.n_processes):
            self._quick_jobs.put(None)
        for thread in self._threads[:-1]:
            thread.join()
        self._slow_jobs.put(None)
        for thread in self._threads[-1:]:
            thread.join()
        self._threads = []

    def put(self, job: Job) -> None:
        """Takes a job; it is delivered later, from another thread."""
        self._quick_jobs.put(job)

    def _work_quickly(self, decoder: Decoder) -> None:
        self._work(self._quick_jobs, self._quick, decoder, self._finish_quick)

    def _work_slowly(self, decoder: Decoder) -> None:
        self._work(self._slow_jobs, self._slow, decoder, self._finish)

    def _work(
        self,
        jobs: Jobs,
        lane: _Lane,
        decoder: Decoder,
        finish: Callable[[Job, "list[Form] | DecoderLostError"], None],
    ) -> None:
        try:
            while (job := jobs.get()) is not None:
                if job.answer.cancelled():
                    continue
                try:
                    finish(job, decoder.decode(job.upload.data, job.recipes, lane.limits))
                except DecoderLostError as lost:
                    finish(job, lost)
                except Exception as error:  # whoever waits for the answer raises it
                    _fail(job, error)
        finally:
            decoder.stop()

    def _finish_quick(self, job: Job, found: "list[Form] | DecoderLostError") -> None:
        """Changes a job over to the slow lane where that may do better."""
        if not isinstance(found, DecoderLostError) and not _are_too_large(found):
            self._finish(job, found)
        elif self._slow_jobs.qsize() < MOST_SLOW:
            self._slow_jobs.put(job)
        else:
            message = "Many large or strange images wait already. Send this one later."
            _fail(job, RefusedError(503, message, _RETRY_SECONDS))

    def _finish(self, job: Job, found: "list[Form] | DecoderLostError") -> None:
        if isinstance(found, DecoderLostError):
            found = refuse(job.upload.data, job.recipes, str(found))
        job.forms = found
        self._deliver(job)


def _are_too_large(forms: list[Form]) -> bool:
    return any(isinstance(form, str) and form.startswith(_TOO_LARGE) for _, form in forms)


def _fail(job: Job, error: Exception) -> None:
    """Passes an error on to whoever waits, if anybody does."""
    if job.answer.set_running_or_notify_cancel():
        job.answer.set_exception(error)
