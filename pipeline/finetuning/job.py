"""What a checkpoint of fine-tuning belongs to, and whether to go on from one or begin."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import FrostlineError, RunError
from pipeline.finetuning.checkpoint import State, list_others, read_checkpoint, write_checkpoint
from pipeline.finetuning.search.journal import (
    SUFFIX,
    Journal,
    list_other_searches,
    open_journal,
)
from pipeline.finetuning.search.options import NO_SEARCH, SearchOptions
from pipeline.finetuning.task import Task
from pipeline.heads.class_weights import BALANCED
from pipeline.runs.run_folder import RUNS_FOLDER
from pipeline.system.locks import hold_lock_for_now
from pipeline.system.paths import sha256_of_file
from pipeline.system.printable import count


@dataclass(frozen=True)
class FinetuneJob:
    """One fine-tuning, as its checkpoint knows it.

    Args:
        path: of its checkpoint.
        stem: what the names of all checkpoints of the same parent run begin with.
        facts: in plain values all that decides the result, and where it goes.
    """

    path: Path
    stem: str
    facts: dict

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the job, since two at it would write one checkpoint.

        An error before an epoch is finished leaves no checkpoint: there is nothing to resume.

        Raises:
            LockedError: another process is at it.
        """
        with hold_lock_for_now(self.path):
            try:
                yield
            except FrostlineError:
                if self._count_epochs() == 0:
                    self.forget()
                raise

    def find_state(
        self, *, resume: bool, force: bool, on_note: Callable[[str], None]
    ) -> State | None:
        """The state to go on from; None to begin.

        A checkpoint is left in any case, so that `resume` finds one however early the kill.

        Raises:
            RunError: there are epochs that would be lost, or only those of other jobs to resume.
        """
        if resume and not self.path.is_file():
            self._require_no_others()
            on_note("There is nothing to resume: no epoch was finished. It begins from the start.")
        elif resume:
            state = read_checkpoint(self.path)[0]
            if state.history:
                on_note(f"Resumed after epoch {state.epoch} from {self.path}.")
                return state
            on_note(f"No epoch is finished in {self.path}; it begins from the start.")
        elif self.path.is_file() and not force:
            self._require_nothing_lost()
        write_checkpoint(self.path, State(), self.facts)
        return None

    def open_journal(self, *, resume: bool, force: bool, on_note: Callable[[str], None]) -> Journal:
        """The journal of the search that this job is.

        Raises:
            RunError: trainings would be lost, or those to resume cannot be read.
        """
        folder = self._journal_folder
        if resume and not folder.is_dir():
            self._require_no_others()
        journal = open_journal(folder, self.facts, resume=resume, force=force)
        if resume and journal.plan is None:
            on_note("There is nothing to resume: no training was begun. It begins from the start.")
        elif resume:
            on_note(f"Resumed after {count(len(journal.trials), 'training')} from {folder}.")
        return journal

    def save(self, state: State) -> None:
        write_checkpoint(self.path, state, self.facts)

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
        shutil.rmtree(self._journal_folder, ignore_errors=True)

    @property
    def _journal_folder(self) -> Path:
        return self.path.with_suffix(SUFFIX)

    def _count_epochs(self) -> int | None:
        """How many are finished in the checkpoint; None where that cannot be read."""
        try:
            return read_checkpoint(self.path)[0].epoch
        except RunError:
            return None

    def _require_nothing_lost(self) -> None:
        n_epochs = self._count_epochs()
        if n_epochs:  # nothing can be lost that cannot be read
            raise RunError(
                f"This very fine-tuning was interrupted, and {n_epochs} finished epoch(s) lie in "
                f"{self.path}. Expected `resume=True` to go on from there, or `force=True` "
                "to begin anew and lose them. Received: neither"
            )

    def _require_no_others(self) -> None:
        others = list_others(self.path, self.stem, self.facts)
        others += list_other_searches(self._journal_folder, self.stem, self.facts)
        if others:
            raise RunError(
                "There is nothing to resume. Expected a checkpoint of this run with these options. "
                f"Received: {self.path}, which does not exist.\n"
                + "\n".join(["Checkpoints of other jobs:", *others])
                + "\nRepeat the interrupted command word for word and add `resume=True`; or leave "
                "that out to start anew."
            )


def describe_job(task: Task, line: str, search: SearchOptions = NO_SEARCH) -> FinetuneJob:
    """The job of a fine-tuning.

    Args:
        line: the frost line that was chosen, or what was said of it.
    """
    run, options, output, class_weights = (
        task.parent.run, task.options, task.output, task.class_weights,
    )  # fmt: skip
    facts = {
        **asdict(options),
        "unfreeze": line,
        "run": str(run.folder.resolve()),
        "predictions": sha256_of_file(run.folder / "predictions.csv"),
        "output": None if output is None else str(output.resolve()),
    }
    if search.is_wanted:
        facts |= asdict(search)
    # A file of weights may say something else tomorrow.
    if options.class_weight not in (None, BALANCED) and class_weights is not None:
        facts["class_weight"] = "weights " + hashlib.sha256(class_weights.tobytes()).hexdigest()[:8]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:10]
    stem = f".{run.name}-finetuned-"
    folder = RUNS_FOLDER if output is None else output.parent
    return FinetuneJob(folder / f"{stem}{key}.checkpoint", stem, facts)
