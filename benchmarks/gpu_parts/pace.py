"""How fast an extraction goes once it is under way, and what it takes of the cores meanwhile."""

import resource
import time
from dataclasses import dataclass, field
from pathlib import Path

_STAT = Path("/proc/stat")


@dataclass
class Pace:
    """Listens to the progress of an extraction: give it as `on_progress`.

    Between the first batch and the last one, so starting and ending are left out.
    """

    _seen: list[tuple[int, float, float, tuple[int, int]]] = field(default_factory=list)

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage == "Embedding" and done:
            self._seen.append((done, time.perf_counter(), time.process_time(), read_cores()))

    def describe(self) -> dict:
        """Images/s, share of all cores that was busy, and what this process took for an image."""
        if len(self._seen) < 2:
            return {}
        (first, began, own_before, cores_before), (last, ended, own_after, cores_after) = (
            self._seen[0],
            self._seen[-1],
        )
        n_images = last - first
        busy, everything = (b - a for a, b in zip(cores_before, cores_after, strict=True))
        return {
            "images/s under way": n_images / (ended - began),
            "cores busy": busy / everything if everything else None,
            "this process, us an image": 1e6 * (own_after - own_before) / n_images,
        }


def read_cores() -> tuple[int, int]:
    """Ticks that all cores were busy, and that went by on all of them; zeros where nobody tells."""
    try:
        numbers = [int(word) for word in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return 0, 0
    return sum(numbers) - sum(numbers[3:5]), sum(numbers)


def children_seconds() -> float:
    """Processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
