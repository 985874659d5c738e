"""Seconds from the start of each command to its first work, each in a new process.

First work is the first batch, strength or epoch that is begun; for commands that only show
something it is their end. Python and all imports are in it. Medians.

    python benchmarks/start_up.py
"""

import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.common import (  # noqa: E402
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    run_process,
    write_results,
)

# Leaves the process as soon as a stage of real work says how far it is.
UNTIL_FIRST_WORK = """
import os
from contextlib import nullcontext
from pipeline.commands.terminal import terminal

def leave(stage, done, total):
    if stage not in ("Reading", "Hashing", "Decoding"):
        os._exit(0)

terminal.Terminal.progress = lambda self: nullcontext(leave)
from cli import main
main()
"""
SIDE = 64


def make_photos(root: Path) -> None:
    """Two classes of twelve."""
    random = np.random.default_rng(0)
    for number in range(24):
        path = root / f"class{number % 2}" / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(60 * (number % 2), 180, (SIDE, SIDE, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path)


def list_commands(folder: Path) -> dict[str, list]:
    """What is timed: name -> words of the command line."""
    photos, file, run = folder / "photos", folder / "f.h5", folder / "run"
    lite = ["--backbone", "efficientnet-lite0", "--image-size", SIDE]
    image = photos / "class0" / "00.png"
    return {
        "--help": ["--help"],
        "runs": ["runs", folder],
        "backbones": ["backbones"],
        "backbones NAME": ["backbones", "efficientnet-lite0"],
        "features FILE": ["features", file],
        "extract, nothing new": ["extract", photos, *lite, "--output", file],
        "extract": ["extract", photos, *lite, "--output", folder / "new.h5", "--no-reuse"],
        "fit-head": ["fit-head", file, "--output", folder / "none"],
        "fit-head --head dense": [
            *("fit-head", file, "--head", "dense", "--output", folder / "none"),
        ],
        "finetune": [
            *("finetune", run, "--output", folder / "none", "--no-trunk-cache", "--keep-size"),
        ],
        "evaluate": ["evaluate", run, photos],
        "predict": ["predict", run, image],
    }


def time_command(words: list) -> float:
    return run_process([sys.executable, "-c", UNTIL_FIRST_WORK, *words]).seconds


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, help="[default: 5; short: 1]")
    arguments = parser.parse_args()
    n_rounds = arguments.rounds or (1 if arguments.short else 5)
    machine = describe_machine()
    print_machine(machine)
    with tempfile.TemporaryDirectory(prefix="frostline-start-") as name:
        folder = Path(name)
        make_photos(folder / "photos")
        commands = list_commands(folder)
        cli = [sys.executable, ROOT / "cli.py"]
        run_process([*cli, *commands["extract, nothing new"], "--quiet"])
        run_process([*cli, "fit-head", folder / "f.h5", "--output", folder / "run", "--quiet"])
        seconds: dict[str, list[float]] = {command: [] for command in commands}
        for _ in range(n_rounds):
            for command, words in commands.items():
                seconds[command].append(time_command(words))
    rows = [
        {"command": command, "seconds": statistics.median(taken), "each": taken}
        for command, taken in seconds.items()
    ]
    print_table(["command", "seconds to first work"], [[r["command"], r["seconds"]] for r in rows])
    write_results(arguments.json, machine, rows)


if __name__ == "__main__":
    main()
