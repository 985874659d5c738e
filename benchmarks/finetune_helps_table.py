"""Tables of what `finetune_helps.py` logged: mean gains with 95% intervals.

    python benchmarks/finetune_helps_table.py results.jsonl

Every gain is paired. What was made of a finished fine-tuning is compared with the same one as it
is; a setting with `base` of the same data, seed and split. Intervals are Student's, over sets and
seeds. A screen's settings are compared within it, half against half, over seeds.
"""

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scipy.stats import t as student

from benchmarks.common import make_parser, print_table

MEASURES = ("test_acc", "test_logloss")
# In which settings are compared: as `finetune` chooses, and where chance has less of a say.
WAYS = ("", "average 0.95, last epoch, not chosen")
COLUMNS = ["what", "sets x seeds", "accuracy, points", "log-loss"]

Row = dict
Gains = dict[tuple[str, int], tuple[float, ...]]  # (set, seed) -> gain of each measure


def read_rows(paths: Iterable[Path]) -> list[Row]:
    """The last line counts where one was measured twice."""
    rows = {}
    for path in paths:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            rows[row["set"], row["seed"], row["what"]] = row
    return list(rows.values())


def is_screened(row: Row) -> bool:
    return row["what"].startswith("{")


def gain(row: Row, than: Row) -> tuple[float, ...]:
    return tuple(row[name] - than[name] for name in MEASURES)


def mean_gain(gains: list[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(statistics.fmean(values) for values in zip(*gains, strict=True))


def gains_of_ways(rows: list[Row]) -> dict[str, Gains]:
    """Of what was made of finished fine-tunings; those of one set and seed count as their mean."""
    usual = {}
    for row in rows:
        if not row["way"]:
            usual[*_place(row), row["what"]] = row
    found: dict[str, dict] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["way"] and row["setting"] is not None:
            than = usual[*_place(row), _name(row)]
            found[row["way"]][_place(row)].append(gain(row, than))
    return {way: {key: mean_gain(g) for key, g in at.items()} for way, at in found.items()}


def gains_of_settings(rows: list[Row], way: str) -> dict[str, Gains]:
    """Of one thing changed, over `base`; both made into the same of what they came to."""
    same = [row for row in rows if row["way"] == way and row["setting"] is not None]
    plain = {(*_place(row), _name(row)): row for row in same if not is_screened(row)}
    found: dict[str, Gains] = defaultdict(dict)
    for (*key, name), row in plain.items():
        base = plain.get((*key, "base"))
        if name != "base" and base is not None:
            found[name][tuple(key)] = gain(row, base)
    return found


def _place(row: Row) -> tuple[str, int]:
    return row["set"], row["seed"]


def _name(row: Row) -> str:
    """The setting's, without what was made of it."""
    return row["what"].removesuffix(f": {row['way']}") if row["way"] else row["what"]


def gains_of_screen(rows: list[Row], way: str) -> dict[str, Gains]:
    """Of a setting's other value, over its usual one: half of a screen against the other half."""
    screens: dict[tuple, list[Row]] = defaultdict(list)
    for row in rows:
        if row["way"] == way and row["setting"] is not None and is_screened(row):
            screens[_place(row)].append(row)
    found: dict[str, Gains] = defaultdict(dict)
    for key, screen in screens.items():
        for name in screen[0]["setting"]:
            values = sorted({json.dumps(row["setting"][name]) for row in screen}, key=_how_usual)
            if len(values) == 2:
                usual, other = (
                    mean_gain(
                        [
                            gain(row, _ZERO)
                            for row in screen
                            if json.dumps(row["setting"][name]) == value
                        ]
                    )
                    for value in values
                )
                what = f"{name} {values[1]} over {values[0]}"
                found[what][key] = tuple(b - a for a, b in zip(usual, other, strict=True))
    return found


_ZERO = dict.fromkeys(MEASURES, 0.0)
_USUAL = ('"block6a"', "0.0003", "6", "false", "0.1", "1.0")


def _how_usual(value: str) -> bool:
    return value not in _USUAL


def describe(gains: Gains) -> list[str]:
    """How many, and each measure's mean with its interval."""
    sets = sorted({name for name, _ in gains})
    n_of = ", ".join(f"{name[:7]} {sum(key[0] == name for key in gains)}" for name in sets)
    columns = list(zip(*gains.values(), strict=True))
    return [n_of, _interval([100 * v for v in columns[0]], 1), _interval(list(columns[1]), 3)]


def _interval(values: list[float], digits: int) -> str:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:+.{digits}f}"
    error = statistics.stdev(values) / len(values) ** 0.5
    reach = student.ppf(0.975, len(values) - 1) * error
    return f"{mean:+.{digits}f} ({mean - reach:+.{digits}f} to {mean + reach:+.{digits}f})"


def print_gains(title: str, found: dict[str, Gains]) -> None:
    if found:
        print(title)
        print_table(COLUMNS, [[name, *describe(gains)] for name, gains in found.items()])


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="logs of finetune_helps.py")
    parser.add_argument("--by-set", action="store_true", help="each data set by itself, too")
    arguments = parser.parse_args()
    rows = read_rows(arguments.results)
    sets = sorted({row["set"] for row in rows})
    for names in [sets, *([name] for name in sets if arguments.by_set)]:
        here = [row for row in rows if row["set"] in names]
        print(f"== {', '.join(names)}\n")
        usual = [row for row in here if not row["way"] or row["way"] == "frozen"]
        for row in usual:
            if row["what"].startswith("base"):
                scores = f"{row['test_acc']:.4f}, log-loss {row['test_logloss']:.4f}"
                print(f"{row['set']} {row['seed']} {row['what']}: {scores}")
        print()
        print_gains("Made of a finished fine-tuning", gains_of_ways(here))
        for way in WAYS:
            suffix = f"; each: {way}" if way else ""
            print_gains(f"One setting changed{suffix}", gains_of_settings(here, way))
            print_gains(f"Screen: the other value{suffix}", gains_of_screen(here, way))


if __name__ == "__main__":
    main()
