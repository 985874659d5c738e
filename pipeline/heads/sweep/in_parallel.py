"""Jobs in processes of their own, which share one copy of the features.

Processes, not threads: Keras's settings, Python's warnings and BLAS's threads are one for a whole
process, and each fit sets and restores them.
"""

import os
from collections.abc import Generator, Sequence
from pathlib import Path

from pipeline.heads.head import TrainingRows
from pipeline.heads.sweep.jobs import Job, fit_job
from pipeline.heads.sweep.outcomes import Outcome
from pipeline.system.parallel import count_cores
from pipeline.system.progress import OnProgress

# What a process takes besides its rows: numpy, scikit-learn, TensorFlow.
_PROCESS_BYTES = 600 * 10**6
# Copies of the rows that a head may make, in float64 and in parts.
_COPIES = 4


def count_processes(jobs: Sequence[Job], asked: int | None, feature_bytes: int, memory: int) -> int:
    """How many jobs to fit at once.

    Args:
        asked: at most; None = as many as there are cores.
        feature_bytes: of the rows.
        memory: bytes that may be taken.
    """
    affordable = memory // (_PROCESS_BYTES + _COPIES * feature_bytes)
    return max(1, min(len(jobs), asked or count_cores(), affordable))


def run_jobs(
    rows: TrainingRows,
    jobs: Sequence[Job],
    n_processes: int,
    seed: int,
    folder: Path,
    on_progress: OnProgress,
) -> Generator[Outcome]:
    """Gives outcomes as they come: one by one in this process, or a job at a time of several.

    Args:
        rows: with features in an array where there are several processes.
        n_processes: at once; 1 = this one.
        folder: where outcomes are kept.
        on_progress: called in this process, of what one fit does.
    """
    if n_processes == 1:
        for job in jobs:
            yield from fit_job(rows, job, seed, folder, on_progress)
        return
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky import get_reusable_executor

    n_threads = max(1, count_cores() // n_processes)
    with parallel_config("loky", n_jobs=n_processes, inner_max_num_threads=n_threads):
        try:
            done = Parallel(return_as="generator_unordered")(
                delayed(_work)(rows, job, seed, folder, n_threads) for job in jobs
            )
            for outcomes in done:
                yield from outcomes
        finally:  # nobody else waits for these, and they hold memory
            get_reusable_executor().shutdown(wait=False, kill_workers=True)


def _work(rows: TrainingRows, job: Job, seed: int, folder: Path, n_threads: int) -> list[Outcome]:
    """In a process of its own, which must not take the threads of all the others."""
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(n_threads))
    return list(fit_job(rows, job, seed, folder, lambda stage, done, total: None))
