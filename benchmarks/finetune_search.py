"""Whether a search for settings of fine-tuning pays, whether it finds what is not there, and
whether a killed one goes on as if nothing had been.

    python benchmarks/finetune_search.py pays photos/flowers data/digits:96 --seeds 0 1 --budget 10m
    python benchmarks/finetune_search.py luck photos/flowers --runs 40 --budget 60s
    python benchmarks/finetune_search.py kill photos/flowers --kills 5

`pays`: a logistic head on EfficientNet-Lite0's features, then `finetune` with its defaults and with
the budget; scored on a test split that chose nothing.

`luck`: on a subset of the images, whose labels are shuffled within each split, a search with the
budget, without one of few settings; counted is how often a significant gain is claimed, of which
there is none to be had.

`kill`: a search is killed so many times at random, and resumed each time; its table of trainings
has to be that of a search that was left alone.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import frostline
from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)
from benchmarks.divided_heads import Row, fit_head
from pipeline.runs.run_folder import open_run

# Small, so that forty runs take less than an hour: images a class to train, validate and test on.
FEW = {"train": 24, "val": 16, "test": 16}
SMALL_TRAININGS = {"epochs": 4, "keep_size": True}
N_TRIALS = 4
MOST_SECONDS = 20.0  # before a search is killed


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("what", choices=("pays", "luck", "kill"))
    parser.add_argument("data", nargs="+", metavar="FOLDER[:IMAGE_SIZE]")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--budget", help="10m where it pays; where it is luck, few settings")
    parser.add_argument("--first-seed", type=int, default=0, help="of the runs with luck")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--kills", type=int, default=5)
    options = parser.parse_args(arguments)
    if options.short:
        options.budget, options.runs, options.kills = "90s", 1, 1
    machine = describe_machine()
    print_machine(machine)
    rows = []
    with tempfile.TemporaryDirectory(prefix="frostline-search-") as folder:
        for data in options.data:
            rows += RUNS[options.what](data, options, Path(folder))
    print_table(list(rows[0]), [list(row.values()) for row in rows])
    write_results(options.json, machine, rows)


def measure_pay(data: str, options: Namespace, folder: Path) -> list[dict]:
    """Each seed's test accuracy: frozen, fine-tuned by default, and by the budget."""
    rows = []
    for seed in options.seeds:
        run = fit_head(data, seed, folder)
        for how in ({}, {"budget": options.budget or "10m"}):
            started = time.perf_counter()
            result = frostline.finetune(
                run, device="cpu", seed=seed, output=folder / "tuned", force=True, **how
            )
            frozen, tuned = (
                scores["test"] for scores in (result.assessment.frozen, result.assessment.finetuned)
            )
            rows.append(
                {
                    "data": Path(data).name,
                    "seed": seed,
                    "how": how.get("budget", "defaults"),
                    "image size": open_run(result.folder).recipe.image_size,
                    "frozen": frozen.accuracy,
                    "tuned": tuned.accuracy,
                    "errors": round((1 - tuned.accuracy) * tuned.n_samples),
                    "of": tuned.n_samples,
                    "frozen errors": round((1 - frozen.accuracy) * frozen.n_samples),
                    "log-loss": tuned.log_loss,
                    "seconds": time.perf_counter() - started,
                    "setting": "" if result.search is None else result.search.winner,
                }
            )
            print_table(list(rows[-1]), [list(rows[-1].values())])
    return rows


def measure_luck(data: str, options: Namespace, folder: Path) -> list[dict]:
    """How often a search claims a significant gain where labels are shuffled."""
    rows = []
    how = {"trials": N_TRIALS} if options.budget is None else {"budget": options.budget}
    for seed in range(options.first_seed, options.first_seed + options.runs):
        run = fit_head(data, seed, folder, draw=partial(draw_few, seed=seed, shuffled=True))
        result = frostline.finetune(
            run,
            device="cpu",
            seed=seed,
            output=folder / "tuned",
            force=True,
            **SMALL_TRAININGS,
            **how,
        )
        found = result.assessment.comparison
        gain = found.became_right - found.became_wrong
        rows.append(
            {
                "seed": seed,
                "trainings": len(result.search.trials),
                "kept": result.best_epoch > 0,
                "became right": found.became_right,
                "became wrong": found.became_wrong,
                "p": found.p_value,
                "claimed": found.is_significant and gain > 0,
            }
        )
        n_claimed = sum(row["claimed"] for row in rows)
        print(f"{len(rows)} runs, {n_claimed} with a significant gain", file=sys.stderr, flush=True)
    return rows


def measure_kills(data: str, options: Namespace, folder: Path) -> list[dict]:
    """Whether the table of a search that was killed is that of one that was not."""
    run = fit_head(data, 0, folder, draw=partial(draw_few, seed=0, shuffled=False))
    whole, killed = folder / "whole", folder / "killed"
    command = [sys.executable, "cli.py", "finetune", str(run), "--quiet", "--keep-size"]
    command += ["--trials", str(N_TRIALS), "--epochs", str(SMALL_TRAININGS["epochs"])]
    subprocess.run([*command, "--output", str(whole)], check=True)
    n_kills, chance = 0, random.Random(options.seeds[0])
    while n_kills < options.kills:
        seconds = chance.uniform(0.0, MOST_SECONDS)
        again = ["--resume"] if n_kills else []
        process = subprocess.Popen([*command, *again, "--output", str(killed)])
        try:
            process.wait(seconds)
            break  # it was faster
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            n_kills += 1
            print(f"killed after {seconds:.1f} s", file=sys.stderr, flush=True)
    if not killed.is_dir():
        subprocess.run([*command, "--resume", "--output", str(killed)], check=True)
    tables = [_read_trials(one) for one in (whole, killed)]
    losses = [np.array([trial["log_loss"] for trial in table]) for table in tables]
    return [
        {
            "kills": n_kills,
            "trainings": len(tables[0]),
            "same table": str(tables[0] == tables[1]),
            "greatest difference of log-losses": float(np.abs(losses[0] - losses[1]).max())
            if len(losses[0]) == len(losses[1])
            else float("nan"),
        }
    ]


def _read_trials(run: Path) -> list[dict]:
    """What a search tried, but for what hangs on the clock."""
    trials = json.loads((run / "manifest.json").read_text())["search"]["trials"]
    return [{name: value for name, value in one.items() if name != "seconds"} for one in trials]


RUNS = {"pays": measure_pay, "luck": measure_luck, "kill": measure_kills}


def draw_few(rows: list[Row], seed: int, *, shuffled: bool) -> list[Row]:
    """A few images of each class and split, whose labels may be shuffled within each split."""
    rng, drawn = np.random.default_rng([seed, 1]), []
    for split, n_images in FEW.items():
        names = sorted({label for _, label, _ in rows})
        some = []
        for name in names:
            of_class = [row for row in rows if row[1:] == (name, split)]
            some += [of_class[n] for n in rng.permutation(len(of_class))[:n_images]]
        labels = [label for _, label, _ in some]
        if shuffled:
            labels = rng.permutation(labels).tolist()
        drawn += [(path, label, split) for (path, _, _), label in zip(some, labels, strict=True)]
    return drawn


if __name__ == "__main__":
    main()
