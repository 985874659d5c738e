"""Attacks on every command, in one table: what was tried, how often, and what came out.

Right is the right result or one clear message, with nothing executed, lost, half-written or left
over, in bounded memory and time; then the same command succeeds without the attack.

    python benchmarks/attack.py --short
    python benchmarks/attack.py --only signals limits
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.attacks import (
    endings,
    lists_and_archives,
    model_files,
    size,
    starved,
    strangers,
    terminals,
    two_at_once,
)
from benchmarks.attacks.workplace import Tally, Workplace
from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    write_results,
)

Group = Callable[[Workplace, bool], Iterator[Tally]]
QUICK = ("extract", "fit-head", "predict", "evaluate", "features", "runs")


def from_strangers(place: Workplace, is_short: bool) -> Iterator[Tally]:
    """Run folders and feature files that somebody else made."""
    if is_short:
        yield from strangers.attack_manifest(place, ("runs",), 6)
        yield from strangers.attack_run_files(place, ("predict",), ("flipped",), every=6)
        yield from strangers.attack_features(place, ("features",), every=6)
        return
    hard = ("flipped", "20 GB", "a pipe", "a device")
    yield from strangers.attack_manifest(place, ("runs",), 600)
    yield from strangers.attack_manifest(place, ("predict", "evaluate"), 150)
    yield from strangers.attack_manifest(place, ("finetune",), 20)
    kinds = tuple(strangers.KINDS)
    yield from strangers.attack_run_files(place, ("predict", "evaluate", "runs"), kinds)
    yield from strangers.attack_run_files(place, ("finetune",), hard)
    yield from model_files.attack_arrays(place, ("predict", "evaluate"))
    yield from model_files.attack_models(place)
    yield from strangers.attack_features(place, ("features", "fit-head", "suggest"))


def by_signals(place: Workplace, is_short: bool) -> Iterator[Tally]:
    """Told to end."""
    if is_short:
        yield from endings.attack_by_signals(place, ("features",), 4, is_warm=True)
        yield from endings.attack_by_signals(place, ("extract",), 2, is_warm=True)
    else:
        yield from endings.attack_by_signals(place, tuple(endings.COMMANDS), 20, is_warm=False)


def by_limits(place: Workplace, is_short: bool) -> Iterator[Tally]:
    """Too little memory, too few descriptors, a bare environment."""
    names = ("predict",) if is_short else QUICK
    yield from starved.attack_by_limits(place, names, short=is_short)
    if not is_short:
        yield from starved.attack_by_environment(place, names)


def without_room(place: Workplace, is_short: bool) -> Iterator[Tally]:
    """Full disks, and folders that may not be written to."""
    if not starved.may_mount():
        yield Tally("full disks, other users", "left out: this process may not mount")
    elif is_short:
        yield from starved.attack_without_room(place, ("extract",), n_sizes=2)
    else:
        names = (*QUICK, "fetch FILE")
        yield from starved.attack_without_room(place, names, n_sizes=25)
        yield from starved.attack_temporary_folder(place, QUICK)
        yield from starved.attack_without_shared_memory(place, QUICK)
        yield from starved.attack_without_rights(place, names)


def on_terminals(place: Workplace, is_short: bool) -> Iterator[Tally]:
    """Standard streams."""
    if is_short:
        yield from terminals.attack_streams(place, ("runs",), ("stdout is full", ">&-"))
    else:
        yield from terminals.attack_streams(place, QUICK)


def together(place: Workplace, is_short: bool) -> Iterator[Tally]:
    """Two at once; seconds each, so the short form has none."""
    if not is_short:
        yield from two_at_once.attack_together(place, ("extract", "fit-head"), 5)
        yield from two_at_once.attack_together(place, ("finetune",), 1)
        yield from two_at_once.attack_two_outputs(place)
        yield from two_at_once.attack_replaced(place, 10)


def from_files(place: Workplace, is_short: bool) -> Iterator[Tally]:
    """Lists, archives and images."""
    files = lists_and_archives
    if is_short:
        yield from files.attack_lists(place, ("a pipe",))
        yield from files.attack_archives(place, ("encrypted", "a path that leads out"), n_damaged=5)
    else:
        yield from files.attack_lists(place)
        yield from files.attack_archives(place)
        yield from files.attack_images(place)


def by_size(place: Workplace, is_short: bool) -> Iterator[Tally]:
    """Many of everything; minutes, so the short form has none."""
    if not is_short:
        yield from size.attack_by_size(place)


GROUPS: dict[str, Group] = {
    "files": from_files,
    "together": together,
    "room": without_room,
    "terminals": on_terminals,
    "strangers": from_strangers,
    "signals": by_signals,
    "limits": by_limits,
    "size": by_size,
}


def attack(
    place: Workplace, *, is_short: bool, only: tuple[str, ...] = tuple(GROUPS)
) -> Iterator[Tally]:
    """The matrix, line by line."""
    for name in only:
        yield from GROUPS[name](place, is_short)


def print_lines(tallies: list[Tally]) -> None:
    """The table as docs/reliability.md has it."""
    print("| attack | commands | tries | right | wrong | what came out |")
    print("| --- | --- | ---: | ---: | ---: | --- |")
    for t in tallies:
        cells = (t.attack, t.commands, t.tries, t.right, len(t.wrong), t.came_out)
        print("| " + " | ".join(map(str, cells)) + " |")


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    prepared = "a folder that has photos/, features.h5 and logreg/ already"
    parser.add_argument("--prepared", type=Path, metavar="FOLDER", help=prepared)
    arguments = parser.parse_args()
    machine = describe_machine()
    print_machine(machine)
    tallies = []
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        place = Workplace(Path(folder) / "place", arguments.prepared)
        for tally in attack(place, is_short=arguments.short, only=tuple(arguments.only)):
            print(f"{tally.attack}, {tally.commands}: {tally.tries}, {tally.came_out}", flush=True)
            for wrong in tally.wrong:
                print(f"  WRONG {wrong}", flush=True)
            tallies.append(tally)
    print_lines(tallies)
    results = [
        {**asdict(tally), "right": tally.right, "came_out": tally.came_out} for tally in tallies
    ]
    write_results(arguments.json, machine, results)
    return int(any(t.wrong for t in tallies))


if __name__ == "__main__":
    sys.exit(main())
