"""SIGINT, SIGTERM, SIGHUP and SIGKILL at random moments of each command.

Right: it ends by the signal, without a traceback and with no child left; what it writes is whole
or not there; the same command then succeeds with the result of a run that nobody disturbed, and
nothing is left over.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.attacks.workplace import (
    LITE0,
    End,
    Tally,
    Workplace,
    find_leftovers,
    judge,
)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
# Before this Python itself starts, and Ctrl-C shows Python's own traceback whatever the program is.
PYTHON_STARTS = 0.1  # seconds
TUNE = ("--unfreeze", "block7a", "--epochs", "2", "--output", "tuned-1")


@dataclass(frozen=True)
class Command:
    """A command that is ended, and how its result is read."""

    arguments: tuple[str, ...]
    needs: tuple[str, ...]
    read: Callable[[Path, End], object]
    again: tuple[str, ...] = ()  # what the same command takes besides, to go on
    writes: str | None = None
    own_store: bool = False  # whether it finds no network kept, and keeps the one that it makes

    def environment(self, folder: Path) -> dict[str, str | None]:
        """Variables of its own, in a folder."""
        return {"FROSTLINE_NETWORKS": str(folder / "networks")} if self.own_store else {}


def read_stdout(folder: Path, end: End) -> object:
    del folder
    return end.stdout


def read_features(folder: Path, end: End) -> object:
    from pipeline.features.feature_file import FeatureFile
    from pipeline.system.sealed_hdf5 import verify_seal

    del end
    verify_seal(folder / "g.h5")
    with FeatureFile(folder / "g.h5") as file:
        contents = file.contents
        return file.read_all().tobytes(), contents.images.paths, contents.probe_pixels.tobytes()


def read_run(name: str, *, exactly: bool = True) -> Callable[[Path, End], object]:
    """What a run predicts; a fine-tuning's numbers may differ in the last bits."""

    def read(folder: Path, end: End) -> object:
        del end
        run = folder / name
        names = sorted(path.name for path in run.iterdir())
        json.loads((run / "manifest.json").read_text())
        with np.load(run / "predictions.npz") as file:
            arrays = {key: file[key] for key in file.files if file[key].dtype.kind in "fiu"}
        if exactly:
            return names, {key: value.tobytes() for key, value in arrays.items()}
        return names, {key: value.shape for key, value in arrays.items()}

    return read


def read_fetched(folder: Path, end: End) -> object:
    del end
    root = folder / "data"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


COMMANDS = {
    "extract": Command(
        ("extract", "photos", *LITE0, "--output", "g.h5"), ("photos",), read_features, writes="g.h5"
    ),
    "extract, which keeps a network": Command(
        ("extract", "photos", *LITE0, "--output", "g.h5"),
        ("photos",),
        read_features,
        writes="g.h5",
        own_store=True,
    ),
    "fit-head": Command(
        ("fit-head", "f.h5", "--output", "r"), ("f.h5",), read_run("r"), writes="r"
    ),
    "predict": Command(("predict", "run", "photos", "--json"), ("run", "photos"), read_stdout),
    "evaluate": Command(("evaluate", "run", "photos", "--json"), ("run", "photos"), read_stdout),
    "features": Command(("features", "f.h5", "--verify", "--json"), ("f.h5",), read_stdout),
    "runs": Command(("runs", ".", "--json"), ("run",), read_stdout),
    "backbones": Command(("backbones", "efficientnet-lite0", "--json"), (), read_stdout),
    "fetch FILE": Command(
        ("fetch", "photos.tar.gz", "--output", "data"),
        ("photos.tar.gz",),
        read_fetched,
        writes="data",
    ),
    "finetune": Command(
        ("finetune", "run", *TUNE),
        ("photos", "run", "f.h5"),
        read_run("tuned-1", exactly=False),
        ("--resume",),
        writes="tuned-1",
    ),
}


def attack_by_signals(
    place: Workplace, names: tuple[str, ...], n_moments: int, *, is_warm: bool, seed: int = 0
) -> Iterator[Tally]:
    """One of the signals at each of `n_moments` of each command; a tally for each."""
    random = np.random.default_rng(seed)
    for name in names:
        command = COMMANDS[name]
        tally = Tally("told to end at random moments", name)
        with place.copy(*command.needs) as folder:
            variables = command.environment(folder)
            whole = place.run(command.arguments, folder, is_warm=is_warm, environment=variables)
            if whole.code != 0:
                raise RuntimeError(f"{name}: {whole.stderr}")
            expected = command.read(folder, whole)
        for number in range(n_moments):
            start = 0.0 if is_warm else PYTHON_STARTS
            moment = random.uniform(start, whole.seconds)
            _try(place, command, SIGNALS[number % len(SIGNALS)], moment, expected, tally, is_warm)
        tally.note = f"{whole.seconds:.1f} s undisturbed"
        yield tally


def _try(place, command, number, moment, expected, tally, is_warm) -> None:
    def send(process: int) -> None:
        time.sleep(moment)
        os.kill(process, number)

    with place.copy(*command.needs) as folder:
        how = {"is_warm": is_warm, "environment": command.environment(folder)}
        end = place.run(command.arguments, folder, meanwhile=send, **how)
        by_signal = (128 + number, -number) if number != signal.SIGKILL else (-number,)
        wrong = judge(end, may=(0, *by_signal))
        if command.writes and (folder / command.writes).exists():
            try:
                is_whole = command.read(folder, end) == expected
            except Exception as error:
                is_whole, wrong = False, [*wrong, f"half-written: {error!r}"]
            if not is_whole:
                wrong.append("what it wrote is not whole")
            outcome = "was done"
        elif end.code == 0:
            outcome = "was done"
        else:
            outcome = "ended"
        if number != signal.SIGKILL and find_leftovers(folder) not in (
            [],
            [f"{command.writes}.parts"],
        ):
            wrong.append(f"left after {number.name}: {find_leftovers(folder)}")
        is_kept = command.writes in {"r", "tuned-1", "data"}  # and not replaced
        if is_kept and (folder / command.writes).exists():
            again = None
        else:
            again = place.run((*command.arguments, *command.again), folder, **how)
            wrong += [f"then: {one}" for one in judge(again, may=(0,))]
            if again.code == 0 and command.read(folder, again) != expected:
                wrong.append("then another result")
        if again is not None and find_leftovers(folder):
            wrong.append(f"left over: {find_leftovers(folder)}")
        wrong = [
            f"{number.name} after {moment:.2f} s of {command.arguments[0]}: {one}" for one in wrong
        ]
        tally.add(outcome, wrong)
