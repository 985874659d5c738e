"""The state of a fine-tuning after an epoch, in one file, whole or not there at all."""

import glob
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.errors import RunError
from pipeline.system.array_files import UnreadableError, read_arrays
from pipeline.system.atomic_files import atomic_path
from pipeline.system.expected_tables import Table

FORMAT = "frostline-checkpoint"


@dataclass
class State:
    """All that the next epoch depends on.

    Args:
        epoch: the last one that is finished; 0 is the frozen head.
        is_over: no further epoch is wanted.
        weights, best_weights, optimizer: values of the variables, in the model's order.
        rate_factor: what the learning rate was lowered by.
        n_parts: that each batch is computed in, for want of memory.
        learning_rate: the highest; None until it is known.
        part: of the way from the frozen head to the last epoch that the best weights are.
        n_averaged: trainings whose mean the best weights are.
        n_blended: trainings before this one, whose mean its own weights may join.
        blended: the mean of theirs.
        blended_history: of the last of them.
        blended_said: what that mean said of the validation images, one array.
        said: what the network said of the validation images after the last epoch, one array
            (n_images, n_classes); none before the first.
    """

    history: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    epoch: int = 0
    is_over: bool = False
    best_epoch: int = 0
    best_temperature: float = 1.0
    rate_factor: float = 1.0
    n_divergences: int = 0
    n_parts: int = 1
    used_trunk_cache: bool = False
    learning_rate: float | None = None
    part: float = 1.0
    n_averaged: int = 1
    n_blended: int = 0
    blended: list[np.ndarray] = field(default_factory=list)
    blended_history: list[dict] = field(default_factory=list)
    sweep: list[list[float]] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    best_weights: list[np.ndarray] = field(default_factory=list)
    optimizer: list[np.ndarray] = field(default_factory=list)
    said: list[np.ndarray] = field(default_factory=list)
    blended_said: list[np.ndarray] = field(default_factory=list)


_ARRAYS = ("weights", "best_weights", "optimizer", "said", "blended", "blended_said")


def write_checkpoint(path: Path, state: State, job: dict) -> None:
    """Writes a state; `job` says in plain values what it belongs to.

    Raises:
        StorageError: it cannot be written; the one before is still there.
    """
    values = {name: value for name, value in vars(state).items() if name not in _ARRAYS}
    n_arrays = {name: len(getattr(state, name)) for name in _ARRAYS}
    header = json.dumps({"format": FORMAT, "job": job, "n_arrays": n_arrays, **values})
    arrays = {
        f"{name}-{number:05d}": value
        for name in _ARRAYS
        for number, value in enumerate(getattr(state, name))
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, header=np.frombuffer(header.encode(), np.uint8), **arrays)


def read_checkpoint(path: Path) -> tuple[State, dict]:
    """Reads a state and what it belongs to.

    The zip format's CRC is over every byte of an array, but not over the list of them, in which
    damage may hide one; so they are counted. Earlier versions counted fewer kinds, or none.

    Raises:
        RunError: it is damaged.
    """
    try:
        arrays = read_arrays(path, {"header": Table(np.uint8, ("n_bytes",))}, with_others=True)
        values = json.loads(arrays["header"].tobytes())
        if values.pop("format") != FORMAT:
            raise ValueError("another format")
        job = values.pop("job")
        for name in _ARRAYS:
            members = sorted(member for member in arrays if member.startswith(name + "-"))
            values[name] = [arrays[member] for member in members]
        n_arrays = values.pop("n_arrays", {})
        if any(len(values[name]) != number for name, number in n_arrays.items()):
            raise ValueError("arrays are missing")
        state = State(**values)
        if state.n_blended and not state.blended_said:
            raise ValueError("an earlier version left it in the middle of several trainings")
        return state, job
    except (UnreadableError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"This checkpoint cannot be read ({error}). Received: {path}\n"
            "Remove it, or leave out `resume=True`: training starts anew then."
        ) from error


def list_others(path: Path, stem: str, job: dict) -> list[str]:
    """Says of each other checkpoint of the same run how its job differs; of those with epochs.

    Args:
        path: where this very job's checkpoint lies.
        stem: what the names of all checkpoints of the same run begin with.
    """
    said = []
    for other in sorted(path.parent.glob(f"{glob.escape(stem)}*.checkpoint")):
        if other == path:
            continue
        try:
            state, there = read_checkpoint(other)
        except RunError:
            said.append(f"{other}: cannot be read")
            continue
        if state.epoch:
            said.append(
                f"{other}: " + ("; ".join(describe_differences(there, job)) or "same options")
            )
    return said


def describe_differences(there: dict, here: dict) -> list[str]:
    """`name A there, B here` of each fact in which two jobs differ."""
    return [
        f"{name} {there.get(name)} there, {here.get(name)} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]
