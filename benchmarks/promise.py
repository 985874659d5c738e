"""Whether a promise is kept: the precision that `fit-head --promise` claims, over many divisions.

Two feature files of different kinds of photos. Each is divided at random, over and over, into
images that train, choose, prove and judge; the judges have no part in anything before. Of each
division is asked whether the promised share of answers to the judges is right, how many images get
an answer, how many of the other file's photos are refused as unlike anything seen, and how many of
its own. Then each class of the first file is left out of training in turn: how many images of it
get an answer all the same, which is always a wrong one.

    python benchmarks/promise.py flowers.h5 animals.h5            # about 10 minutes
    python benchmarks/promise.py flowers.h5 animals.h5 --short    # 10 divisions
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)
from pipeline.errors import PromiseError
from pipeline.features.feature_file import FeatureFile
from pipeline.heads.fit import Fit, fit
from pipeline.heads.tempered import calibrate
from pipeline.images.splits import TEST, TRAIN, VAL
from pipeline.runs.promise.guard import UNLIKE
from pipeline.runs.promise.make_guard import make_guard
from pipeline.runs.promise.options import PromiseOptions

SHARES = (0.8, 0.85, 0.9, 0.95, 0.98)
# Train, choose, prove; the rest judges, many, or their own chance would hide what is measured.
SHARES_OF_SPLITS = (0.3, 0.1, 0.2)
JUDGE = 3


@dataclass(frozen=True)
class Data:
    """Different images of a feature file."""

    name: str
    features: np.ndarray
    labels: np.ndarray
    class_names: list[str]


def read(path: Path) -> Data:
    """One image of each digest, those with a label."""
    with FeatureFile(path) as file:
        contents, features = file.contents, file.read_all()
    _, rows = np.unique(contents.images.digests, axis=0, return_index=True)
    rows = rows[contents.labels[rows] >= 0]
    return Data(
        contents.data_name,
        features[rows],
        contents.labels[rows],
        contents.class_names,
    )


def divide(n: int, random: np.random.Generator) -> np.ndarray:
    splits = np.full(n, JUDGE, np.int8)
    ends = [round(share * n) for share in np.cumsum(SHARES_OF_SPLITS)]
    order = random.permutation(n)
    for split, rows in zip((TRAIN, VAL, TEST), np.split(order, ends)[:3], strict=True):
        splits[rows] = split
    return splits


def fit_calibrated(data: Data, splits: np.ndarray, **options) -> Fit:
    of_fit = np.where(splits == JUDGE, -1, splits)
    fitted = fit(data.features, data.labels, split=of_fit, class_names=data.class_names, **options)
    return calibrate(fitted)


def judge(data: Data, other: Data, splits: np.ndarray, share: float, fitted: Fit) -> dict:
    """What came of one promise in one division."""
    rows = np.flatnonzero(splits == JUDGE)
    given = (data.features, fitted.labels, np.where(splits == JUDGE, -1, splits))
    options = PromiseOptions(promise=share)
    try:
        guard = make_guard(*given, fitted.probabilities, np.arange(len(splits)), options)
    except PromiseError:
        return {"found": False, "kept": True}
    said = guard.judge(data.features[rows], fitted.probabilities[rows])
    is_right = fitted.probabilities[rows].argmax(axis=1) == data.labels[rows]
    is_answered = np.array([reason is None for reason in said])
    n_answered, n_right = int(is_answered.sum()), int((is_answered & is_right).sum())
    strange = guard.judge(other.features, fitted.head.predict_proba(other.features))
    return {
        "found": True,
        "kept": n_right >= share * n_answered - 1e-9,
        "answered": n_answered / len(rows),
        "right": n_right / max(1, n_answered),
        "own_unlike": np.mean([reason == UNLIKE for reason in said]).item(),
        "other_unlike": np.mean([reason == UNLIKE for reason in strange]).item(),
        "other_answered": np.mean([reason is None for reason in strange]).item(),
    }


def repeat(data: Data, other: Data, n_divisions: int, seed: int) -> dict[float, list[dict]]:
    """The outcomes of each promise."""
    random = np.random.default_rng(seed)
    outcomes: dict[float, list[dict]] = {share: [] for share in SHARES}
    for number in range(n_divisions):
        splits = divide(len(data.labels), random)
        fitted = fit_calibrated(data, splits)
        for share in SHARES:
            outcomes[share].append(judge(data, other, splits, share, fitted))
        print(f"\r{data.name}: {number + 1} of {n_divisions}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return outcomes


def summarize(outcomes: list[dict]) -> dict:
    made = [one for one in outcomes if one["found"]]
    names = ("answered", "right", "own_unlike", "other_unlike", "other_answered")
    return {
        "made": len(made) / len(outcomes),
        "kept": np.mean([one["kept"] for one in outcomes]).item(),
        "kept_where_made": np.mean([one["kept"] for one in made]).item() if made else None,
        **{name: np.mean([one[name] for one in made]).item() if made else None for name in names},
    }


def leave_out(data: Data, n_divisions: int, share: float) -> dict[str, dict]:
    """For each class, what becomes of its images where it was no class in training."""
    found = {}
    for left_out, name in enumerate(data.class_names):
        random = np.random.default_rng(left_out)
        rows = np.flatnonzero(data.labels != left_out)
        names = [one for one in data.class_names if one != name]
        part = Data(
            data.name,
            data.features[rows],
            data.labels[rows] - (data.labels[rows] > left_out),
            names,
        )
        strange = data.features[data.labels == left_out]
        answers, unlike = [], []
        for _ in range(n_divisions):
            splits = divide(len(rows), random)
            fitted = fit_calibrated(part, splits)
            given = (part.features, fitted.labels, np.where(splits == JUDGE, -1, splits))
            options = PromiseOptions(promise=share)
            try:
                guard = make_guard(*given, fitted.probabilities, np.arange(len(splits)), options)
            except PromiseError:
                continue
            said = guard.judge(strange, fitted.head.predict_proba(strange))
            answers.append(np.mean([reason is None for reason in said]).item())
            unlike.append(np.mean([reason == UNLIKE for reason in said]).item())
        found[name] = {
            "n_promises": len(answers),
            "answered": np.mean(answers).item() if answers else None,
            "unlike": np.mean(unlike).item() if unlike else None,
        }
    return found


def plot(path: Path, results: dict, left_out: dict, share: float) -> None:
    from matplotlib.figure import Figure

    from pipeline.runs.plots.figures import BLUE, GRID, INK, ORANGE, write_figure

    figure = Figure((11, 4.8))
    left, right = figure.subplots(
        1, 2, gridspec_kw={"wspace": 0.3, "top": 0.92, "bottom": 0.28, "left": 0.07, "right": 0.98}
    )
    for (name, by_share), colour in zip(results.items(), (BLUE, ORANGE), strict=True):
        made = {s: one for s, one in by_share.items() if one["made"] > 0}
        left.plot(list(made), [one["right"] for one in made.values()], "o-", color=colour,
                  label=f"{name}: right, of the answers")  # fmt: skip
        left.plot(list(made), [one["answered"] for one in made.values()], "s--", color=colour,
                  label=f"{name}: answered", alpha=0.6)  # fmt: skip
    left.plot(SHARES, SHARES, color=INK, linewidth=1, label="promised")
    left.set_xlabel("promised share of right answers")
    left.set_ylabel("share of the images that judge")
    left.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.13))
    left.set_title("Promised, and what came of it", fontsize=10, loc="left")
    names = [name for name, one in left_out.items() if one["answered"] is not None]
    answered = np.array([left_out[name]["answered"] for name in names])
    unlike = np.array([left_out[name]["unlike"] for name in names])
    right.barh(names, answered, color=ORANGE, label="answered (wrongly)")
    right.barh(names, 1 - answered - unlike, left=answered, color=GRID, label="unsure")
    right.barh(names, unlike, left=1 - unlike, color=BLUE, label="unlike anything seen")
    right.set_xlabel("share of the images of the class that was left out")
    right.set_title(f"A class that never trained, promise {share:g}", fontsize=10, loc="left")
    right.legend(
        frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.42, -0.13)
    )
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    write_figure(figure, path, "", 0.1)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("features", type=Path, nargs=2, help="two feature files of one recipe")
    parser.add_argument("--divisions", type=int, help="[default: 200; short: 10]")
    parser.add_argument("--seed", type=int, default=0, help="of the divisions")
    parser.add_argument("--plot", type=Path, metavar="STEM", help="draw STEM.png, .svg")
    arguments = parser.parse_args()
    n_divisions = arguments.divisions or (10 if arguments.short else 200)
    machine = describe_machine(("numpy", "scikit-learn", "scipy"))
    print_machine(machine)
    first, second = (read(path) for path in arguments.features)
    results: dict[str, dict] = {}
    for data, other in ((first, second), (second, first)):
        outcomes = repeat(data, other, n_divisions, arguments.seed)
        results[data.name] = {share: summarize(outcomes[share]) for share in SHARES}
        n = len(data.labels)
        counts = [round(n * share) for share in SHARES_OF_SPLITS]
        print(
            f"{data.name}: {n:,} images, {n_divisions} divisions: {counts[0]} train, {counts[1]} "
            f"choose, {counts[2]} prove, {n - sum(counts)} judge; strangers: {other.name}"
        )
        print_table(
            ["promised", "made", "kept", "kept where made", "answered", "right", "own unlike",
             "strangers unlike", "strangers answered"],
            [[f"{share:g}", *one.values()] for share, one in results[data.name].items()],
        )  # fmt: skip
    share = 0.85
    left_out = leave_out(first, max(1, n_divisions // 10), share)
    print(f"{first.name}: a class left out of training, promise {share:g} of the others")
    print_table(
        ["left out", "promises", "answered", "unlike anything seen"],
        [[name, *one.values()] for name, one in left_out.items()],
    )
    if arguments.plot:
        plot(arguments.plot, results, left_out, share)
    write_results(
        arguments.json, machine, json.loads(json.dumps({"runs": results, "left_out": left_out}))
    )


if __name__ == "__main__":
    main()
