"""Jobs on the workers of a `dask.distributed` scheduler, to which the features are sent once."""

import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path

from pipeline.errors import ClusterError
from pipeline.features.spread.scheduler import connect
from pipeline.heads.head import TrainingRows
from pipeline.heads.sweep.jobs import Job, fit_job
from pipeline.heads.sweep.outcomes import Outcome, save_outcome


def run_on_cluster(
    rows: TrainingRows, jobs: Sequence[Job], scheduler: str, seed: int, folder: Path
) -> Generator[Outcome]:
    """Gives outcomes a job at a time, as they come; a worker that dies costs its job in flight.

    Args:
        rows: with features in an array; each worker holds a copy.
        scheduler: its address, such as `tcp://10.0.0.1:8786`.
        folder: where outcomes are kept, on this machine.

    Raises:
        MissingExtraError: the package for it is not installed.
        ClusterError: no scheduler answers, no worker is left, or one has another Frostline.
    """
    with connect(scheduler) as cluster:
        from distributed import KilledWorker

        cluster.require_same_frostline()
        (shared,) = cluster.client.scatter([rows], broadcast=True, hash=False)
        left = [cluster.client.submit(_work, shared, job, seed, pure=False) for job in jobs]
        while left:
            future = cluster.wait_for_any(left)
            left.remove(future)
            try:
                outcomes: list[Outcome] = cluster.wait_for(future)
            except KilledWorker as error:
                raise ClusterError(
                    "Workers died again and again of the same settings. Expected workers with "
                    f"enough memory for {rows.features.shape[0]:,} rows and a few copies of them. "
                    f"Received: {error}\nWhat was finished is kept. See the workers' own messages."
                ) from error
            for outcome in outcomes:
                if not outcome.failed:
                    save_outcome(folder, outcome)
                yield outcome


def _work(rows: TrainingRows, job: Job, seed: int) -> list[Outcome]:
    """On a worker, which need not see the folder of this machine."""
    with tempfile.TemporaryDirectory(prefix="frostline-sweep-") as folder:
        return list(fit_job(rows, job, seed, Path(folder), lambda stage, done, total: None))
