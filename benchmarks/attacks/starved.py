"""Too little of what a process needs: memory, descriptors, folders, rights, room on the disk.

Right: the command is done all the same, or says in one message what is missing; what it wrote is
whole or not there; and it succeeds as soon as there is enough.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.attacks.endings import COMMANDS, Command
from benchmarks.attacks.workplace import (
    Tally,
    Workplace,
    find_leftovers,
    judge,
    limit_files,
    limit_memory,
    name_outcome,
)

MEMORY_MB = (3000, 1500, 1000, 700, 500, 350, 250)
_DENSE = ("--head", "dense", "--epochs", "2")
# What starts TensorFlow.
HEAVY = {
    "extract --no-network-store": replace(
        COMMANDS["extract"], arguments=(*COMMANDS["extract"].arguments, "--no-network-store")
    ),
    "fit-head --head dense": replace(
        COMMANDS["fit-head"], arguments=(*COMMANDS["fit-head"].arguments, *_DENSE)
    ),
    "finetune": COMMANDS["finetune"],
}
NOBODY = 65534


def attack_by_limits(place: Workplace, names: tuple[str, ...], *, short: bool) -> Iterator[Tally]:
    """`ulimit -v` and `ulimit -n`."""
    limits = {f"ulimit -v, {size} MB": limit_memory(size * 10**6) for size in MEMORY_MB}
    limits |= {f"ulimit -n {n}": limit_files(n) for n in (64, 32, 16)}
    if short:
        limits = {name: limits[name] for name in ("ulimit -v, 500 MB", "ulimit -n 64")}
    for title, limit in limits.items():
        tally = Tally(title, ", ".join(names))
        for name in names:
            try_starved(place, COMMANDS[name], tally, before=limit, is_warm=False)
        yield tally
    if short:
        return
    for size in (3000, 1500):
        tally = Tally(f"ulimit -v, {size} MB", ", ".join(HEAVY))
        for command in HEAVY.values():
            try_starved(place, command, tally, before=limit_memory(size * 10**6), is_warm=False)
        yield tally


def attack_by_environment(place: Workplace, names: tuple[str, ...]) -> Iterator[Tally]:
    """Variables that are not set, and folders that are not there."""
    absent: dict[str, dict[str, str | None]] = {
        "HOME is not set": {"HOME": None, "XDG_DATA_HOME": None},
        "TMPDIR is not there": {"TMPDIR": "/nowhere/at/all"},
        "LC_ALL=C, TERM=dumb, COLUMNS=20": {"LC_ALL": "C", "TERM": "dumb", "COLUMNS": "20"},
        "KERAS_BACKEND=torch": {"KERAS_BACKEND": "torch"},
    }
    for title, variables in absent.items():
        tally = Tally(title, ", ".join(names))
        for name in names:
            try_starved(place, COMMANDS[name], tally, environment=variables, is_warm=False)
        yield tally


def try_starved(
    place: Workplace,
    command: Command,
    tally: Tally,
    *,
    around: Callable[[Path], contextlib.AbstractContextManager] = contextlib.nullcontext,
    **how,
) -> None:
    """The command without enough, then with."""
    with place.copy(*command.needs) as folder:
        with around(folder):
            end = place.run(command.arguments, folder, **how)
        wrong = judge(end, may=(0, 1))
        if end.code != 0:
            if command.writes and (folder / command.writes).exists():
                wrong.append(f"left {command.writes}")
            how = {"is_warm": how.get("is_warm", True)}
            again = place.run((*command.arguments, *command.again), folder, **how)
            wrong += [f"then: {one}" for one in judge(again, may=(0,))]
            if again.code == 0:
                command.read(folder, again)
        else:
            command.read(folder, end)
        if find_leftovers(folder):
            wrong.append(f"left over: {find_leftovers(folder)}")
        tally.add(name_outcome(end), [f"{command.arguments[0]}: {one}" for one in wrong])
        if end.code == 1:
            tally.note = end.said[:160]


def attack_without_room(
    place: Workplace, names: tuple[str, ...], *, n_sizes: int
) -> Iterator[Tally]:
    """The output's file system is full at the first byte, a little later, and so on."""
    for name in names:
        command = COMMANDS[name]
        tally = Tally(f"a disk that is full after one of {n_sizes} sizes", name)
        with place.copy(*command.needs) as folder:
            end = place.run(command.arguments, folder)
            written = folder / (command.writes or "")
            n_bytes = _measure(written) if command.writes else len(end.stdout)
        for number in range(n_sizes):
            size = 4096 + int(2.2 * n_bytes * number / n_sizes)
            with place.copy(*command.needs) as folder, mounted(folder / "disk", size) as disk:
                _try_on_disk(place, command, folder, disk, tally, is_first=number == 0)
        yield tally


def _try_on_disk(
    place: Workplace, command: Command, folder: Path, disk: Path, tally: Tally, *, is_first: bool
) -> None:
    arguments = list(command.arguments)
    if command.writes:
        arguments[arguments.index("--output") + 1] = str(disk / command.writes)
        end = place.run(tuple(arguments), folder)
    else:
        if is_first:
            fill(disk)
        with (disk / "stdout").open("wb") as file:
            end = place.run(tuple(arguments), folder, streams={1: file.fileno()})
    wrong = judge(end, may=(0, 1))
    if command.writes and end.code != 0 and (disk / command.writes).exists():
        wrong.append("half-written")
    if end.code == 0 and command.writes:
        command.read(disk, end)
    kept = {f"{command.writes}.parts"} if command.writes == "g.h5" else set()
    if set(find_leftovers(disk)) - kept:
        wrong.append(f"left over: {find_leftovers(disk)}")
    if end.code == 1 and not any(
        word in end.stderr for word in ("full", "No space", "Not enough room")
    ):
        wrong.append(f"does not say so: {end.said[:200]}")
    tally.add(name_outcome(end), [f"{command.arguments[0]}: {one}" for one in wrong])


def attack_without_rights(place: Workplace, names: tuple[str, ...]) -> Iterator[Tally]:
    """An ordinary user in a folder that belongs to somebody else."""
    tally = Tally("an ordinary user in a read-only folder", ", ".join(names))
    for name in names:
        command = COMMANDS[name]
        with place.copy(*command.needs) as folder:
            home = {"HOME": "/nowhere", **give_networks(place, folder / "home")}
            open_to_all(folder)
            end = place.run(command.arguments, folder, before=as_nobody, environment=home)
            may = (1,) if command.writes else (0,)
            wrong = judge(end, may=may)
            if command.writes and "permission denied" not in end.stderr:
                wrong.append(f"does not say so: {end.said[:200]}")
            tally.add(name_outcome(end), [f"{name}: {one}" for one in wrong])
    yield tally


def attack_temporary_folder(place: Workplace, names: tuple[str, ...]) -> Iterator[Tally]:
    """TMPDIR is full, and what networks are kept in is full."""
    for variable in ("TMPDIR", "FROSTLINE_NETWORKS"):
        tally = Tally(f"{variable} is a full disk", ", ".join(names))
        disk = place.folder / "disk"
        with mounted(disk, 4096):
            fill(disk)
            for name in names:
                try_starved(place, COMMANDS[name], tally, environment={variable: str(disk)})
        yield tally


def attack_without_shared_memory(place: Workplace, names: tuple[str, ...]) -> Iterator[Tally]:
    """/dev/shm takes no byte."""
    commands = {name: COMMANDS[name] for name in names}
    for way in ("decoders", "processes"):
        extract = commands["extract"]
        arguments = (*extract.arguments, "--parallel", way)
        commands[f"extract --parallel {way}"] = replace(extract, arguments=arguments)
    tally = Tally("/dev/shm takes no byte", ", ".join(commands))
    for command in commands.values():
        try_starved(place, command, tally, before=without_shared_memory, is_warm=False)
    yield tally


def without_shared_memory() -> None:
    """From here on this process sees a /dev/shm that may not be written to."""
    new_namespace = 0x20000  # CLONE_NEWNS; os.unshare is Python 3.12's
    if ctypes.CDLL(None, use_errno=True).unshare(new_namespace) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=4k", "tmpfs", "/dev/shm"], check=True)


def fill(disk: Path) -> None:
    """Takes all the room that there is."""
    with contextlib.suppress(OSError), (disk / "full").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def _measure(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size + 4096 for file in files)


def give_networks(place: Workplace, home: Path) -> dict[str, str | None]:
    """Variables that name copies of the kept networks, and of their secret, which nobody has."""
    kept = place.environment(home)
    for name in ("FROSTLINE_NETWORKS", "XDG_DATA_HOME"):
        shutil.copytree(kept[name], home / name)
    for path in [home, *home.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    return {name: str(home / name) for name in ("FROSTLINE_NETWORKS", "XDG_DATA_HOME")}


def open_to_all(folder: Path) -> None:
    """Everybody may read it, and reach it; nobody but its owner may write."""
    for above in folder.parents:
        if above.stat().st_uid == os.getuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o055)
    for path in [folder, *folder.rglob("*")]:
        if path.stat().st_uid != os.getuid():
            continue
        path.chmod(0o755 if path.is_dir() else 0o644)


def may_mount() -> bool:
    """Whether this process may mount a file system and become another user."""
    if os.getuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            with mounted(Path(folder) / "disk", 4096):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@contextlib.contextmanager
def mounted(folder: Path, n_bytes: int) -> Iterator[Path]:
    """A file system of a size on a folder.

    Raises:
        subprocess.CalledProcessError: this process may not mount.
    """
    folder.mkdir(exist_ok=True)
    how = ["-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(folder)]
    subprocess.run(["mount", *how], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


def as_nobody() -> None:
    """From here on an ordinary user."""
    os.setgid(NOBODY)
    os.setuid(NOBODY)
