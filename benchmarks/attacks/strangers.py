"""A run folder and a feature file from a stranger, for every command that reads them.

Right: refused in one message, or used with the very result that the good one gives.
"""

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.attacks.feature_edits import GREEDY, SENSELESS, change
from benchmarks.attacks.workplace import (
    End,
    Tally,
    Workplace,
    find_leftovers,
    judge,
    list_files,
    name_outcome,
)

DEEP = "@deep@"  # stands for nesting that Python's own writer refuses
VALUES = (
    None,
    True,
    -1,
    10**400,
    float("nan"),
    float("inf"),
    "../../../../etc/passwd",
    "/dev/zero",
    "https://127.0.0.1:9/x",
    "\x1b[31m[red]\n\u202e\ud800",
    [],
    {},
    [[0] * 3] * 3,
    "x" * 10_000_000,
    DEEP,
)
READERS = {
    "predict": ("predict", "run", "photos", "--json"),
    "evaluate": ("evaluate", "run", "photos", "--json"),
    "runs": ("runs", ".", "--json"),
    "features": ("features", "f.h5", "--verify", "--json"),
    "suggest": ("suggest", "f.h5", "3", "--output", "s"),
    "fit-head": ("fit-head", "f.h5", "--C", "1", "--output", "r"),
    "finetune": ("finetune", "run", "--unfreeze", "block99", "--output", "t"),
}


class Evil:
    """Leaves a file where it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("was-here",)


def attack_manifest(
    place: Workplace, names: tuple[str, ...], n_tries: int, *, seed: int = 0
) -> Iterator[Tally]:
    """Each value of manifest.json becomes each of `VALUES`, in random order."""
    random = np.random.default_rng(seed)
    for name in names:
        tally = Tally("a stranger's manifest.json", name)
        with place.copy("run", "photos") as folder:
            path = folder / "run" / "manifest.json"
            good = json.loads(path.read_text())
            expected = place.run(READERS[name], folder)
            spots = list(_find_spots(good))
            for _ in range(n_tries):
                spot = spots[random.integers(len(spots))]
                value = VALUES[random.integers(len(VALUES))]
                path.write_text(_dump(_with(good, spot, value)), "utf-8", "surrogatepass")
                title = f"{'.'.join(map(str, spot))} = {str(value)[:30]!r}"
                _try(place, name, folder, expected, tally, title)
        yield tally


def attack_run_files(
    place: Workplace, names: tuple[str, ...], kinds: tuple[str, ...], *, every: int = 1
) -> Iterator[Tally]:
    """Each file of a run, or every so manieth, becomes something else."""
    for name in names:
        tally = Tally(f"a run's file becomes one of {len(kinds)} things", name)
        with place.copy("run", "photos") as folder:
            expected = place.run(READERS[name], folder)
        with place.copy("run", "photos") as folder:
            run = folder / "run"
            files = sorted(path.name for path in run.iterdir() if path.is_file())
            for file in files[::every]:
                for kind in kinds:
                    aside = folder / "aside"
                    (run / file).rename(aside)
                    KINDS[kind](run / file, aside.read_bytes())
                    _try(place, name, folder, expected, tally, f"{file} is {kind}")
                    _remove(run / file)
                    aside.rename(run / file)
        yield tally


def attack_features(place: Workplace, names: tuple[str, ...], *, every: int = 1) -> Iterator[Tally]:
    """The edits of a feature file with a right seal; it was made by a stand-in for a backbone."""
    for name in names:
        tally = Tally("a stranger's feature file, sealed", name)
        for edit, words in [*GREEDY, *SENSELESS][::every]:
            with place.copy("strange.h5") as folder:
                (folder / "strange.h5").rename(folder / "f.h5")
                change(folder / "f.h5", edit)
                before = list_files(folder)
                end = place.run(READERS[name], folder)
                wrong = judge(end, may=(1,))
                if "f.h5" not in end.said:
                    wrong.append(f"does not name the file: {end.said[:200]}")
                if list_files(folder) != before:
                    wrong.append("files changed")
                tally.add(name_outcome(end), [f"{words}: {one}" for one in wrong])
        yield tally


def _try(
    place: Workplace, name: str, folder: Path, expected: End, tally: Tally, title: str
) -> None:
    before = list_files(folder)
    end = place.run(READERS[name], folder)
    wrong = judge(end, may=(0, 1))
    outcome = name_outcome(end)
    if end.code == 0 and name != "runs":
        outcome = "as without it"
        if _leave_out_hint(end.stdout, expected.stdout) != expected.stdout:
            outcome = "another result"
            wrong.append(outcome)
    elif end.code == 0:
        outcome = "left out by name" if "Left out" in end.stderr else "listed"
    if (folder / "was-here").exists():
        wrong.append("EXECUTED")
    changed = set(list_files(folder).items()) - set(before.items())
    if {path for path, _ in changed} - {"run/parity.json"}:
        wrong.append(f"files changed: {changed}")
    if find_leftovers(folder):
        wrong.append(f"left over: {find_leftovers(folder)}")
    shown = "".join(c for c in end.stdout + end.stderr if ord(c) < 32 and c not in "\n\t")
    if shown or "\u202e" in end.stderr:
        wrong.append(f"control characters on the screen: {shown!r}")
    tally.add(outcome, [f"{title}: {one}" for one in wrong])


def _leave_out_hint(text: str, expected: str) -> str:
    """Of `evaluate`: a run need not say which images trained it, and says less without that."""
    if not text.startswith("{"):
        return text
    scores, good = json.loads(text), json.loads(expected)
    if scores.get("n_trained_on", 0) is not None:
        return text
    hints = ("n_trained_on", "without_trained_on")
    same = {**scores, **{name: good[name] for name in hints}} == good
    return expected if same else text


def _find_spots(value: object, place: tuple = ()) -> Iterator[tuple]:
    if place:
        yield place
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _find_spots(part, (*place, key))
    elif isinstance(value, list):
        for number, part in enumerate(value[:2]):
            yield from _find_spots(part, (*place, number))


def _with(value: object, place: tuple, new: object) -> object:
    if not place:
        return new
    key, *rest = place
    if isinstance(value, dict):
        return {**value, key: _with(value[key], tuple(rest), new)}
    return [_with(part, tuple(rest), new) if i == key else part for i, part in enumerate(value)]


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace(f'"{DEEP}"', "[" * 50_000 + "]" * 50_000)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flip(path: Path, data: bytes) -> None:
    changed = bytearray(data)
    for place in range(0, len(data), 37):
        changed[place] ^= 1 << place % 8
    path.write_bytes(changed)


def _huge(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    os.truncate(path, 20 * 2**30)


KINDS: dict[str, Callable[[Path, bytes], object]] = {
    "absent": lambda path, data: None,
    "empty": lambda path, data: path.write_bytes(b""),
    "cut": lambda path, data: path.write_bytes(data[: len(data) // 2]),
    "flipped": _flip,
    "a pickle": lambda path, data: path.write_bytes(pickle.dumps(Evil())),
    "20 GB": _huge,
    "a folder": lambda path, data: path.mkdir(),
    "a pipe": lambda path, data: os.mkfifo(path),
    "a device": lambda path, data: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path, data: path.symlink_to(path),
}
