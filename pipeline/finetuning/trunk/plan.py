"""Whether the trunk cache is worth it: what it costs and saves, said before it starts."""

from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.features.finished_rows import FinishedRows
from pipeline.finetuning.trunk.cache import find_finished
from pipeline.finetuning.trunk.job import TrunkJob
from pipeline.finetuning.trunk.worker import TrunkPace
from pipeline.system.paths import free_bytes

# Starting a process, TensorFlow in it and the backbone takes no less.
START_SECONDS = 5.0
# Each row lies in a part and, at the end, in the file; some room is left to others.
ROOM = 2.2


@dataclass(frozen=True)
class TrunkPlan:
    """Costs and savings of a trunk cache, estimated.

    Args:
        n_rows, n_missing: rows that are wanted, and those that must be computed.
        bytes: that the cache will take in all.
        seconds: to compute what is missing, from the start of the process on.
        spent_seconds: of these, on starting the process and measuring; 0 = neither was done.
        saved_seconds: trunk work that all epochs together are spared.
        free: bytes on the disk.
    """

    target: Path
    n_rows: int
    n_missing: int
    bytes: int
    seconds: float
    saved_seconds: float
    free: int
    spent_seconds: float = 0.0

    @property
    def has_room(self) -> bool:
        return not self.n_missing or self.free >= ROOM * self.bytes

    @property
    def is_worth_it(self) -> bool:
        return self.has_room and self.saved_seconds > self.seconds - self.spent_seconds

    def with_pace(self, pace: TrunkPace) -> "TrunkPlan":
        """The plan once it was measured how long the rows take."""
        seconds = pace.start_seconds + (self.n_missing - pace.n_rows) * pace.row_seconds
        return replace(self, seconds=seconds, spent_seconds=pace.start_seconds)

    def describe(self) -> str:
        """Costs and savings in words."""
        about = "about" if self.spent_seconds else "at least"
        cost = (
            f"{self.n_missing:,} of {self.n_rows:,} rows to compute, {about} {self.seconds:,.0f} s"
            if self.n_missing
            else f"all {self.n_rows:,} rows are there"
        )
        return (
            f"{cost}, {self.bytes / 1e6:,.0f} MB in {self.target}; it saves about "
            f"{self.saved_seconds:,.0f} s of the epochs"
        )


def plan_trunk_cache(
    job: TrunkJob, trunk_seconds: float, n_passes: int
) -> tuple[TrunkPlan, list[str]]:
    """Estimates, without computing a row: what the cache costs is then the least that it can.

    Args:
        trunk_seconds: of one image in the trunk, as training runs it.
        n_passes: images that all epochs together send through it.

    Returns:
        The plan, and notes on damaged files that were set aside.
    """
    found = find_finished(job.target, job.trunk)
    n_missing = sum(len(views) for _, views in job.find_missing(FinishedRows(found.sources)))
    n_rows = len(job.keys())
    plan = TrunkPlan(
        target=job.target,
        n_rows=n_rows,
        n_missing=n_missing,
        bytes=n_rows * job.trunk.row_bytes,
        seconds=START_SECONDS if n_missing else 0.0,
        saved_seconds=n_passes * trunk_seconds,
        free=free_bytes(job.target.parent),
    )
    return plan, found.notes
