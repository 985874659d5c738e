"""A `dask.distributed` scheduler and its workers: reached, waited for, and missed by name."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.errors import ClusterError, MissingExtraError
from pipeline.features.spread.cluster_checks import describe_other_frostline
from pipeline.features.spread.cluster_worker import describe_frostline

WAIT_SECONDS = 60.0  # for a scheduler to answer, and for a first or another worker
GLANCE_SECONDS = 2.0  # between looks at which workers there are


class Cluster:
    """A scheduler that answers.

    Args:
        scheduler: its address, such as `tcp://10.0.0.1:8786`.
        client: of it, `distributed.Client`.
    """

    def __init__(self, scheduler: str, client: Any):
        self.scheduler = scheduler
        self.client = client

    def require_same_frostline(self) -> None:
        """Waits for a worker, and asks all that there are for their Frostline.

        Raises:
            ClusterError: no worker comes, or one has another Frostline than this process.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.list_workers():
            if time.monotonic() > deadline:
                raise self.no_worker("has joined")
            time.sleep(0.2)
        here = describe_frostline()
        said = self.client.run(describe_frostline, on_error="return")
        others = {address: found for address, found in said.items() if found != here}
        if others:
            raise ClusterError(describe_other_frostline(others))

    def wait_for(self, future: Any, needed: str | None = None) -> Any:
        """What a task gives; whoever waits is told when there is nobody left to do it.

        Args:
            needed: the one worker that can; None comes back where it is gone.
        """
        from distributed import CancelledError

        lonely_since: float | None = None
        while True:
            try:
                return future.result(timeout=GLANCE_SECONDS)
            except CancelledError as error:
                loss = _describe_loss(self.scheduler, or_workers=True)
                raise ClusterError(loss) from error
            except TimeoutError:
                if future.status == "error":  # the task's own
                    raise
                workers = self.list_workers()
            if needed is not None and needed not in workers:
                return None
            lonely_since = self._require_somebody(workers, lonely_since)

    def wait_for_any(self, futures: Sequence[Any]) -> Any:
        """The first of some tasks that has ended."""
        lonely_since: float | None = None
        glanced = time.monotonic()
        while True:
            for future in futures:
                if future.done():
                    return future
            if time.monotonic() - glanced > GLANCE_SECONDS:
                lonely_since = self._require_somebody(self.list_workers(), lonely_since)
                glanced = time.monotonic()
            time.sleep(0.05)

    def _require_somebody(
        self, workers: dict[str, int], lonely_since: float | None
    ) -> float | None:
        """Since when there is no worker; raises a ClusterError where that is too long."""
        now = time.monotonic()
        lonely_since = None if workers else lonely_since or now
        if lonely_since is not None and now - lonely_since > WAIT_SECONDS:
            raise self.no_worker("is left")
        return lonely_since

    def list_workers(self) -> dict[str, int]:
        """Address and threads of each worker that is there now."""
        with _loss_named(self.scheduler):
            return dict(self.client.nthreads())

    def count_workers(self) -> tuple[int, int]:
        """How many there are, and threads of all of them."""
        workers = self.list_workers()
        return len(workers), sum(workers.values())

    def no_worker(self, what: str) -> ClusterError:
        """Of a scheduler that has none any more, or never had."""
        return ClusterError(
            f"No worker of {self.scheduler} {what}. Expected one within {WAIT_SECONDS:g} seconds."
            f"\nStart some: dask worker {self.scheduler}\nWhat was finished is kept."
        )


@contextmanager
def connect(scheduler: str) -> Iterator[Cluster]:
    """Reaches a scheduler; leaves it at the end.

    Raises:
        MissingExtraError: the package for it is not installed.
        ClusterError: none answers.
    """
    try:
        from distributed import Client
    except ImportError:
        raise MissingExtraError(
            "A cluster needs the package distributed, which is not installed. Expected the extra "
            f"`dask`. Received: `scheduler={scheduler}`\nInstall it: pip install '.[dask]'"
        ) from None
    try:
        client = Client(scheduler, timeout=WAIT_SECONDS / 4, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ClusterError(
            "No scheduler answers there. Expected the address that `dask scheduler` prints, such "
            f"as tcp://10.0.0.1:8786. Received: `scheduler={scheduler}` ({error})\n"
            "Is it started, and does a firewall let its port through?"
        ) from error
    try:
        yield Cluster(scheduler, client)
    finally:
        client.close(timeout=2)


@contextmanager
def _loss_named(scheduler: str) -> Iterator[None]:
    try:
        yield
    except (OSError, TimeoutError) as error:
        raise ClusterError(_describe_loss(scheduler)) from error


def _describe_loss(scheduler: str, *, or_workers: bool = False) -> str:
    whom = ", or every worker that held what the work needs" if or_workers else ""
    return (
        f"The scheduler is lost{whom}. Expected it to answer to the end. Received: nothing more "
        f"from {scheduler}\nWhat was finished is kept. Start it and its workers again, and then "
        "the same command."
    )
