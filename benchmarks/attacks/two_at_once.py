"""Two commands at one output at once, or one that replaces what the other reads.

Right: one is done, the other is done too or is told who writes; what is there is whole.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.attacks.endings import COMMANDS, TUNE
from benchmarks.attacks.workplace import End, Tally, Workplace, find_leftovers, judge, name_outcome

_LOCKS = {"extract": ".g.h5.lock", "fit-head": ".r.lock", "finetune": ".tuned-1.lock"}


def attack_together(place: Workplace, names: tuple[str, ...], n_tries: int) -> Iterator[Tally]:
    """The same command twice at once, the second as soon as the first has its lock."""
    for name in names:
        command = COMMANDS[name]
        tally = Tally("the same command twice at once", name)
        for _ in range(n_tries):
            with place.copy(*command.needs) as folder:
                ends = _run_both(place, folder, command.arguments, command.arguments, _LOCKS[name])
                wrong = [one for end in ends for one in judge(end, may=(0, 1))]
                codes = sorted(end.code for end in ends)
                told = any("is being written by process" in end.stderr for end in ends)
                over = any("exists already" in end.stderr for end in ends)
                if codes not in ([0, 1], [0, 0]) or (codes == [0, 1] and not (told or over)):
                    wrong.append(f"exit codes {codes}: {[end.said for end in ends]}")
                command.read(folder, ends[0])
                if find_leftovers(folder):
                    wrong.append(f"left over: {find_leftovers(folder)}")
                names_of_ends = " and ".join(sorted(name_outcome(end) for end in ends))
                tally.add(names_of_ends, wrong)
        yield tally


def attack_two_outputs(place: Workplace) -> Iterator[Tally]:
    """Two fine-tunings of one run with two outputs."""
    command = COMMANDS["finetune"]
    tally = Tally("two fine-tunings of one run, two outputs", "finetune")
    other = ("finetune", "run", *TUNE[:-1], "tuned-2")
    with place.copy(*command.needs) as folder:
        ends = _run_both(place, folder, command.arguments, other, _LOCKS["finetune"])
        wrong = [one for end in ends for one in judge(end, may=(0, 1))]
        if find_leftovers(folder):
            wrong.append(f"left over: {find_leftovers(folder)}")
        tally.add(" and ".join(sorted(name_outcome(end) for end in ends)), wrong)
    yield tally


def attack_replaced(place: Workplace, n_tries: int) -> Iterator[Tally]:
    """`fit-head` while its feature file is replaced or removed."""
    command = COMMANDS["fit-head"]
    for title in ("replaced by an equal one", "removed"):
        tally = Tally(f"the feature file is {title} meanwhile", "fit-head")
        with place.copy("f.h5") as folder:
            expected = command.read(folder, place.run(command.arguments, folder))
        for number in range(n_tries):
            with place.copy("f.h5") as folder:
                shutil.copy(folder / "f.h5", folder / "other.h5")

                def change(_: int, folder=folder, number=number, title=title) -> None:
                    time.sleep(0.5 * number / n_tries)
                    if title == "removed":
                        (folder / "f.h5").unlink()
                    else:
                        (folder / "other.h5").replace(folder / "f.h5")

                end = place.run(command.arguments, folder, meanwhile=change)
                wrong = judge(end, may=(0, 1))
                if end.code == 0 and command.read(folder, end) != expected:
                    wrong.append("another result")
                if find_leftovers(folder):
                    wrong.append(f"left over: {find_leftovers(folder)}")
                tally.add(name_outcome(end), wrong)
        yield tally


def _run_both(
    place: Workplace, folder: Path, one: tuple[str, ...], other: tuple[str, ...], lock: str
) -> list[End]:
    """Both in new Pythons, the second when the first has its lock file."""
    ends: list[End] = []

    def run_second() -> None:
        end = time.monotonic() + 60
        while not (folder / lock).exists() and time.monotonic() < end:
            time.sleep(0.01)
        ends.append(place.run(other, folder, is_warm=False))

    def start_second(_: int) -> None:
        second.start()

    second = threading.Thread(target=run_second)
    first = place.run(one, folder, meanwhile=start_second, is_warm=False)
    second.join()
    return [first, *ends]
