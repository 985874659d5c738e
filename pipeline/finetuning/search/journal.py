"""What a search has done so far, so that a killed one goes on where it was.

A folder beside the checkpoint: `journal.json` with the plan and the trainings that ended, an .npz
for each of these, and `training.checkpoint` with the state of the one that is running, or of the
last one, whose weights the result is made of.
"""

import glob
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import RunError
from pipeline.finetuning.checkpoint import (
    State,
    describe_differences,
    read_checkpoint,
    write_checkpoint,
)
from pipeline.finetuning.search.costs import StepCosts
from pipeline.finetuning.search.rounds import Plan, Round
from pipeline.finetuning.search.trials import Trial, read_trial, write_arrays
from pipeline.system.array_files import UnreadableError
from pipeline.system.atomic_files import write_json
from pipeline.system.printable import count

FORMAT = "frostline-search"
SUFFIX = ".search"


@dataclass
class Journal:
    """The record of one search.

    Args:
        folder: of its files.
        facts: in plain values all that decides what it finds.
        run: folder of the run that is trained; empty until it is chosen.
        plan, costs: None until they are made and measured.
        used_trunk_cache: whether trainings begin at one; None until that is decided, which hangs on
            the clock.
        trials: that ended, in order.
        used_before: seconds of the budget, by the processes before this one.
        used_seconds: of the budget, by this one, too.
    """

    folder: Path
    facts: dict[str, Any]
    run: str = ""
    plan: Plan | None = None
    costs: StepCosts | None = None
    used_trunk_cache: bool | None = None
    trials: list[Trial] = field(default_factory=list)
    used_before: float = 0.0
    used_seconds: float = 0.0

    @property
    def is_begun(self) -> bool:
        return bool(self.trials) or (self.folder / "training.checkpoint").is_file()

    def save(self) -> None:
        """Writes the journal anew.

        Raises:
            StorageError: it cannot be written; the one before is still there.
        """
        write_json(
            self.folder / "journal.json",
            {
                "format": FORMAT,
                "facts": self.facts,
                "run": self.run,
                "plan": None if self.plan is None else asdict(self.plan),
                "costs": None if self.costs is None else asdict(self.costs),
                "used_trunk_cache": self.used_trunk_cache,
                "used_seconds": self.used_seconds,
                "trials": [trial.facts() for trial in self.trials],
            },
        )

    def add(self, trial: Trial) -> None:
        """Keeps what a training came to."""
        write_arrays(self._arrays(len(self.trials)), trial)
        self.trials.append(trial)
        self.save()

    def save_training(self, state: State, training: tuple[int, int, int]) -> None:
        """Keeps the state of a training, known by its round, its setting and its repeat."""
        write_checkpoint(self.folder / "training.checkpoint", state, _name(training))
        self.save()

    def find_training(self, training: tuple[int, int, int]) -> State | None:
        """The state of a training; None where none of its epochs is there.

        Raises:
            RunError: it cannot be read.
        """
        path = self.folder / "training.checkpoint"
        if not path.is_file():
            return None
        try:
            state, facts = read_checkpoint(path)
        except RunError as error:
            what = str(error).split("\n")[0]
            raise RunError(
                f"{what}\nRemove it: the training that it is of begins anew, those that ended are "
                "kept."
            ) from error
        return state if facts == _name(training) and state.history else None

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _arrays(self, number: int) -> Path:
        return self.folder / f"training-{number + 1:03d}.npz"


def _name(training: tuple[int, int, int]) -> dict[str, int]:
    return {"round": training[0], "setting": training[1], "repeat": training[2]}


def open_journal(folder: Path, facts: dict[str, Any], *, resume: bool, force: bool) -> Journal:
    """The journal of an interrupted search, or a new one.

    Args:
        facts: in plain values all that decides what the search finds.

    Raises:
        RunError: trainings would be lost, or the journal cannot be read.
    """
    there = folder / "journal.json"
    if not there.is_file():
        return Journal(folder, facts)
    if resume:
        return _read(there, facts)
    if not force:
        found = _read(there, facts)
        if found.is_begun:
            n_trainings = count(len(found.trials), "training")
            raise RunError(
                f"This very search was interrupted after {n_trainings}; what it found lies in "
                f"{folder}. Expected `resume=True` to go on from there, or `force=True` to begin "
                "anew and lose that. Received: neither"
            )
    shutil.rmtree(folder, ignore_errors=True)
    return Journal(folder, facts)


def list_other_searches(folder: Path, stem: str, facts: dict[str, Any]) -> list[str]:
    """Says of each other search of the same run that was interrupted how it differs.

    Args:
        folder: of this very search's journal.
        stem: what the names of all journals of the same run begin with.
    """
    said = []
    for path in sorted(folder.parent.glob(f"{glob.escape(stem)}*{SUFFIX}/journal.json")):
        if path.parent == folder:
            continue
        try:
            there = json.loads(path.read_text("utf-8"))["facts"]
            words = "; ".join(describe_differences(there, facts)) or "same options"
        except (OSError, ValueError, KeyError, TypeError):
            words = "cannot be read"
        said.append(f"{path.parent}: {words}")
    return said


def _read(path: Path, facts: dict[str, Any]) -> Journal:
    try:
        values = json.loads(path.read_text("utf-8"))
        if values["format"] != FORMAT or values["facts"] != facts:
            raise ValueError("it is of another search")
        used = float(values["used_seconds"])
        journal = Journal(path.parent, facts, used_before=used, used_seconds=used)
        journal.run = str(values["run"])
        journal.used_trunk_cache = values.get("used_trunk_cache")
        if values["plan"] is not None:
            rounds = tuple(Round(**one) for one in values["plan"].pop("rounds"))
            journal.plan = Plan(rounds=rounds, **values["plan"])
            journal.costs = StepCosts(**values["costs"])
        for number, trial in enumerate(values["trials"]):
            journal.trials.append(read_trial(journal._arrays(number), trial))
        return journal
    except (OSError, UnreadableError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"The journal of this search cannot be read ({error}). Received: {path}\n"
            "Remove its folder, or say `force=True`: the search begins anew then."
        ) from error
