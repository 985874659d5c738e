"""CSV lists, archives, and folders of images that are no images, from strangers."""

import contextlib
import os
import random
import socket
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.attacks.archive_files import make_seeds, make_tar, make_zip, mutate, special
from benchmarks.attacks.workplace import (
    LITE0,
    Tally,
    Workplace,
    find_leftovers,
    judge,
    name_outcome,
)

EXTRACT_LIST = ("extract", "list.csv", *LITE0, "--output", "g.h5")
EXTRACT_PHOTOS = ("extract", "photos", *LITE0, "--output", "g.h5")
Make = Callable[[Path], object]


def _write(make: Callable[[], str | bytes]) -> Make:
    """Long texts are made when they are written: what this process holds, its forks hold, too."""

    def write(folder: Path) -> None:
        text = make()
        (folder / "list.csv").write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


GOOD = "path,label\n" + "".join(
    f"photos/{name}/{number:03d}.png,{name}\n" for name in ("blue", "red") for number in range(6)
)


def _write_pipe(folder: Path) -> None:
    os.mkfifo(folder / "list.csv")


def _write_special_cells(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "socket.png"))
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "loop.png").symlink_to("loop.png")
    names = ("pipe.png", "socket.png", "zero.png", "loop.png", "/dev/zero", "photos", "/etc/passwd")
    _write(lambda: GOOD + "".join(f"{name},red\n" for name in names))(folder)


LISTS: dict[str, Make] = {
    "UTF-16": _write(lambda: GOOD.encode("utf-16")),
    "UTF-16 without its mark": _write(lambda: GOOD.encode("utf-16-le")),
    "NUL": _write(lambda: GOOD.replace("blue/001", "blue/0\x0001")),
    "cells that name pipes, sockets, devices, loops, folders": _write_special_cells,
    "a million rows of nothing there": _write(
        lambda: "path,label\n" + "".join(f"a/{n}.png,{n % 3}\n" for n in range(1_000_000))
    ),
    "a million times the same row": _write(lambda: GOOD + "photos/blue/001.png,blue\n" * 1_000_000),
    "a cell of 50 MB": _write(lambda: GOOD + "x" * 50_000_000 + ",red\n"),
    "a quote that does not end": _write(lambda: GOOD + '"' + "photos/red/001.png,red\n" * 200_000),
    "a million columns": _write(lambda: "path,label" + ",x" * 1_000_000 + "\n" + GOOD),
    "a pipe": _write_pipe,
    "a device": lambda folder: (folder / "list.csv").symlink_to("/dev/zero"),
    "nothing": _write(lambda: ""),
}


def attack_lists(place: Workplace, names: tuple[str, ...] = tuple(LISTS)) -> Iterator[Tally]:
    """Each kind of list, for `extract`."""
    tally = Tally(f"a CSV list of {len(names)} kinds", "extract")
    for name in names:
        with place.copy("photos") as folder:
            LISTS[name](folder)
            end = place.run(EXTRACT_LIST, folder)
            wrong = judge(end, may=(0, 1), most_mb=2500)
            wrong += _look_for_rest(folder, end.code)
            took = f"{name}: {end.said[:150]} ({end.seconds:.1f} s, {end.peak_mb:.0f} MB)"
            tally.add(name_outcome(end), [f"{took}: {one}" for one in wrong])
            (folder / "list.csv").unlink()
            _write(lambda: GOOD)(folder)
            again = place.run(EXTRACT_LIST, folder)
            if again.code != 0 and end.code != 0:
                tally.wrong.append(f"{name}, then: {again.said}")
    yield tally


def _look_for_rest(folder: Path, code: int) -> list[str]:
    wrong = [f"left over: {find_leftovers(folder)}"] if find_leftovers(folder) else []
    if code != 0 and (folder / "g.h5").exists():
        wrong.append("refused, but wrote a feature file")
    return wrong


def _encrypted(folder: Path) -> Path:
    path = make_zip(folder / "a.zip", ("red/1.png", b"x" * 300))
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + place] |= 1
    path.write_bytes(data)
    return path


def _many_empty(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for number in range(1_000_000):
            archive.writestr(f"{number % 100}/{number}.png", b"")
    return folder / "a.zip"


def _nested(folder: Path) -> Path:
    inner = make_zip(folder / "inner.zip", ("red/1.png", b"x" * 300)).read_bytes()
    (folder / "inner.zip").unlink()
    return make_zip(folder / "a.zip", ("b.zip", inner), ("c.zip", inner))


ARCHIVES: dict[str, Callable[[Path], Path]] = {
    "encrypted": _encrypted,
    "nested": _nested,
    "names that differ in case": lambda folder: make_zip(
        folder / "a.zip", ("red/a.png", b"x" * 300), ("RED/A.png", b"y" * 300)
    ),
    "a path that leads out": lambda folder: make_tar(
        folder / "a.tar", ("red/1.png", b"x" * 300), ("../evil.png", b"x" * 300)
    ),
    "a link that leads out": lambda folder: make_tar(
        folder / "a.tar", special("red/l.png", tarfile.SYMTYPE, "/etc/passwd")
    ),
    "a device": lambda folder: make_tar(folder / "a.tar", special("zero.png", tarfile.CHRTYPE)),
    "zeros of 2 GB packed": lambda folder: make_zip(
        folder / "a.zip", ("red/1.png", bytes(2 * 2**30))
    ),
    "a million empty entries": _many_empty,
}


def attack_archives(
    place: Workplace, names: tuple[str, ...] = tuple(ARCHIVES), *, n_damaged: int = 100
) -> Iterator[Tally]:
    """Each kind of archive, for `fetch`, and archives with damage at random places."""
    tally = Tally(f"an archive of {len(names)} kinds", "fetch")
    for name in names:
        with place.copy() as folder:
            _fetch(place, folder, ARCHIVES[name](folder), name, tally)
    yield tally
    tally = Tally("an archive damaged at random places", "fetch")
    seeds = make_seeds()
    for number in range(n_damaged):
        suffix, data = seeds[number % len(seeds)]
        with place.copy() as folder:
            (folder / f"a{suffix}").write_bytes(mutate(data, random.Random(number)))
            _fetch(place, folder, folder / f"a{suffix}", f"number {number}", tally)
    yield tally


def _fetch(place: Workplace, folder: Path, archive: Path, name: str, tally: Tally) -> None:
    end = place.run(("fetch", archive.name, "--output", "in/side"), folder)
    wrong = judge(end, may=(0, 1))
    if find_leftovers(folder):
        wrong.append(f"left over: {find_leftovers(folder)}")
    outside = {path.name for path in folder.iterdir()} - {archive.name, "in"}
    inside = {path.name for path in (folder / "in").glob("*")} - {".side.lock"}
    if outside or inside - ({"side"} if end.code == 0 else set()):
        wrong.append(f"written elsewhere: {outside} {inside}")
    took = f"{name}: {end.said[:150]} ({end.seconds:.1f} s, {end.peak_mb:.0f} MB)"
    tally.add(name_outcome(end), [f"{took}: {one}" for one in wrong])


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link_to(target: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return change


IMAGES: dict[str, Callable[[Path], object]] = {
    "a pipe": _pipe,
    "a folder": _folder,
    "a link to itself": _link_to("001.png"),
    "a link to a device": _link_to("/dev/zero"),
    "a link to nothing": _link_to("/nowhere.png"),
    "20 GB": lambda path: os.truncate(path, 20 * 2**30),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:500]),
    "removed": lambda path: path.unlink(missing_ok=True),
    "away with its folder": lambda path: path.parent.rename(path.parents[2] / "away"),
}


def attack_images(
    place: Workplace, names: tuple[str, ...] = tuple(IMAGES), *, n_moments: int = 5
) -> Iterator[Tally]:
    """An image becomes something else before and while it is read."""
    commands = {
        "extract": EXTRACT_PHOTOS,
        "predict": ("predict", "run", "photos", "--json"),
        "evaluate": ("evaluate", "run", "photos", "--json", "--no-cache"),
    }
    for title, arguments in commands.items():
        tally = Tally(f"an image becomes one of {len(names)} things", title)
        with place.copy("photos", "run") as folder:
            whole = place.run(arguments, folder)
        for name in names:
            for moment in range(n_moments):
                with place.copy("photos", "run") as folder:
                    change = _once(IMAGES[name], folder / "photos" / "green" / "001.png")
                    if moment == 0:
                        change()
                    timer = threading.Timer(moment / n_moments * whole.seconds, change)
                    end = place.run(arguments, folder, meanwhile=lambda _, t=timer: t.start())
                    timer.join()
                    wrong = judge(end, may=(0, 1))
                    wrong += _look_for_rest(folder, end.code) if title == "extract" else []
                    tally.add(name_outcome(end), [f"{name} at {moment}: {one}" for one in wrong])
        yield tally


def _once(change: Callable[[Path], object], path: Path) -> Callable[[], None]:
    done = threading.Event()

    def call() -> None:
        if not done.is_set():
            done.set()
            with contextlib.suppress(FileNotFoundError):
                change(path)

    return call
