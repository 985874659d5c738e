"""The fitting of a sweep: what is done already, what is left, and the best so far."""

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from pathlib import Path

from pipeline.errors import ParameterError
from pipeline.heads.fit_head import count_bytes
from pipeline.heads.rows.divided_file import DividedFile
from pipeline.heads.sweep.in_parallel import count_processes, run_jobs
from pipeline.heads.sweep.jobs import make_jobs
from pipeline.heads.sweep.on_cluster import run_on_cluster
from pipeline.heads.sweep.outcomes import Outcome, read_outcome
from pipeline.heads.sweep.settings import Setting
from pipeline.heads.sweep.swept_files import SweptFile, open_rows
from pipeline.system.progress import OnProgress


class Work:
    """The settings on each file: those that are done, and those that are not.

    A number is of a setting on a file: all settings on the first file, then all on the second.
    """

    def __init__(
        self,
        files: list[SweptFile],
        settings: list[Setting],
        divided: DividedFile,
        n_jobs: int | None,
        memory: int | str | None,
        folder: Path,
        scheduler: str | None = None,
    ):
        self._files, self._settings = files, settings
        self._divided = divided
        self._n_jobs, self._memory = n_jobs, count_bytes(memory)
        self._folder = folder
        self._scheduler = scheduler
        self._n_all = len(files) * len(settings)
        self.notes: list[str] = []

    def read_back(self) -> dict[int, Outcome]:
        """What an earlier call had finished, by number."""
        found = ((number, read_outcome(self._folder, number)) for number in range(self._n_all))
        return {number: outcome for number, outcome in found if outcome is not None}

    def finish(
        self,
        done: Mapping[int, Outcome],
        on_progress: OnProgress,
        on_note: Callable[[str], None],
    ) -> list[Outcome]:
        """All outcomes, in the order of their numbers."""
        outcomes = dict(done)
        if done:
            on_note(f"{len(done):,} of {self._n_all:,} settings were finished before.")
        on_progress("Settings", len(outcomes), self._n_all)
        best = min(outcomes.values(), key=lambda one: one.rank, default=None)
        for place, file in enumerate(self._files):
            for outcome in self._fit_on(place, file, set(outcomes), on_progress):
                outcomes[outcome.number] = outcome
                on_progress("Settings", len(outcomes), self._n_all)
                if not outcome.failed and (best is None or outcome.rank < best.rank):
                    best = outcome
                    on_note(self._describe_best(best, len(outcomes)))
        return [outcomes[number] for number in range(self._n_all)]

    def _fit_on(
        self, place: int, file: SweptFile, done: set[int], on_progress: OnProgress
    ) -> Generator[Outcome]:
        """The outcomes on one file that are not there yet."""
        first = place * len(self._settings)
        left = {n: one for n, one in enumerate(self._settings, start=first) if n not in done}
        if not left:
            return
        jobs = make_jobs(left)
        seed = self._divided.dividing.seed
        with open_rows(file, self._divided, self._memory) as (rows, is_whole):
            if self._scheduler is not None:
                _require_whole(is_whole, file)
                elsewhere = run_on_cluster(rows, jobs, self._scheduler, seed, self._folder)
                with closing(elsewhere) as found:
                    yield from found
                return
            n_bytes = 4 * len(rows.labels) * file.n_features
            n_jobs = count_processes(jobs, self._n_jobs, n_bytes, self._memory) if is_whole else 1
            if not is_whole and len(jobs) > 1:
                self.notes.append(
                    f"The features of {file.name} take more memory than may be used, so its "
                    "settings were fitted one after another."
                )
            with closing(run_jobs(rows, jobs, n_jobs, seed, self._folder, on_progress)) as found:
                yield from found

    def _describe_best(self, best: Outcome, n_done: int) -> str:
        place, number = divmod(best.number, len(self._settings))
        where = f" on {self._files[place].name}" if len(self._files) > 1 else ""
        return (
            f"Best of {n_done:,} so far: {self._settings[number]}{where}, validation log-loss "
            f"{best.log_loss:.4f}, accuracy {best.accuracy:.4f}"
        )


def _require_whole(is_whole: bool, file: SweptFile) -> None:
    """Raises a ParameterError where the features cannot be sent to workers in one piece."""
    if not is_whole:
        raise ParameterError(
            "The workers of a scheduler are sent all features. Expected `memory` that holds those "
            f"of {file.name}. Received: less\nSweep without `scheduler`, or allow more.",
            "memory",
        )
