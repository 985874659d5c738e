"""What is known to help fine-tuning, measured: settings, and what may be made of a finished run.

For each data set and seed: a head on EfficientNet-Lite0's features, then a fine-tuning for each
setting. Of each fine-tuning the weights after every epoch (and their moving averages after every
step) are kept by a Keras callback, so that averages of epochs, steps towards the frozen head
(WiSE-FT, arXiv 2109.01903), answers averaged over flips and sizes, and larger images at test
(arXiv 1906.06423) cost no further training.

Each fine-tuning trains all its epochs, on the training images alone; those of validation and test
decide nothing while it lasts. Afterwards validation chooses (epoch, part, temperature) by the rule
of `finetune`, test scores; then both change places, and the two scores are averaged. So each image
scores once what it had no part in choosing. Lines of JSON; `finetune_helps_table.py` compares.

    python benchmarks/finetune_helps.py flowers digits:96 --seeds 0 1 --settings base flip
    python benchmarks/finetune_helps.py flowers --seeds 0 1 --screen --log results.jsonl

`--screen` trains 8 combinations of 6 settings with two values each, so that every setting is tried
4 times either way (a 2^(6-3) design; odd seeds take the opposite values, which together keeps main
effects clear of pairs of settings).
"""

import itertools
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import frostline
from benchmarks.common import describe_machine, make_parser, print_machine
from benchmarks.divided_heads import fit_head
from benchmarks.helps_parts.finished import Finished, score_together
from benchmarks.helps_parts.judges import Judges
from benchmarks.helps_parts.weights import Recorder
from pipeline.finetuning.options import FinetuneOptions

# What each setting changes: averages are taken by the recorder.
BASE = {"flip": False, "average_weights": 0.0}
SETTINGS = {
    "base": {},
    "flip": {"flip": True},
    "label smoothing 0": {"label_smoothing": 0.0},
    "augment none": {"augment": "none"},
    "augment strong, 16 epochs": {"augment": "strong", "epochs": 16},
    "block5a": {"unfreeze": "block5a"},
    "block4a": {"unfreeze": "block4a"},
    "16 epochs": {"epochs": 16},
    "24 epochs": {"epochs": 24},
    "layer decay 0.8": {"layer_decay": 0.8},
    "rate 1e-4": {"learning_rate": 1e-4},
    "rate 1e-3": {"learning_rate": 1e-3},
    "288 pixels": {"image_size": 288},
}
# Each with its usual and its other value; the last three are set by products of the first three.
SCREENED = (
    ("unfreeze", "block6a", "block5a"),
    ("learning_rate", 3e-4, 1e-3),
    ("epochs", 6, 12),
    ("flip", False, True),
    ("label_smoothing", 0.1, 0.0),
    ("layer_decay", 1.0, 0.75),
)


def make_screen(seed: int) -> dict[str, dict]:
    """Eight settings by their names."""
    sign = -1 if seed % 2 else 1
    made = {}
    for a, b, c in itertools.product((-1, 1), repeat=3):
        signs = [sign * one for one in (a, b, c, a * b, a * c, b * c)]
        values = {
            name: values[one > 0] for (name, *values), one in zip(SCREENED, signs, strict=True)
        }
        made[json.dumps(values)] = values
    return made


def finetune(run: Path, setting: dict, seed: int) -> tuple[str, Recorder, float]:
    """The line that a fine-tuning trained from, the weights it went through, and its seconds."""
    recorder = Recorder()
    wanted = {**BASE, "epochs": FinetuneOptions.epochs, **setting}
    result = frostline.finetune(
        run,
        device="cpu",
        output=run.with_name(f"{run.name}-tuned"),
        force=True,
        callbacks=[recorder],
        seed=seed,
        patience=wanted["epochs"],
        keep_size=True,
        **wanted,
    )
    return result.unfreeze, recorder, result.seconds["total"]


class Log:
    """Prints a line of JSON for each score, and appends it to a file."""

    def __init__(self, path: Path | None):
        self._path = path

    def __call__(self, **values) -> None:
        line = json.dumps(values)
        print(line, flush=True)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(line + "\n")


def measure(data: str, seed: int, settings: dict[str, dict], work: Path, log: Log) -> None:
    """All settings of one data set and seed, and their models together."""
    same = {"set": Path(data.partition(":")[0]).name, "seed": seed}
    opened: dict[int | None, tuple[Path, Judges]] = {}
    together = []
    for name, setting in settings.items():
        others = dict(setting)
        size = others.pop("image_size", None)
        if size not in opened:
            run = fit_head(data, seed, work, image_size=size)
            opened[size] = run, Judges(run)
        run, judges = opened[size]
        line, recorder, seconds = finetune(run, others, seed)
        finished = Finished(judges, line, recorder)
        for way, score in finished.scores(are_all=name in SETTINGS):
            what = f"{name}: {way}" if way else name
            log(**same, what=what, setting=setting, way=way, **asdict(score), seconds=seconds)
        finished.keep(work / f"{run.name}-{len(together)}-{name[:20].replace('/', '-')}.npz")
        together += [finished] if size is None else []
    if len(together) > 1:
        for way, score in score_together(together):
            what = f"{len(together)} runs: {way}"
            log(**same, what=what, setting=None, way=way, **asdict(score), seconds=None)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("data", nargs="+", help="FOLDER or FOLDER:IMAGE_SIZE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=["base"])
    parser.add_argument("--screen", action="store_true", help="in place of --settings")
    parser.add_argument("--work", type=Path, default=Path("runs/helps"), help="for what is made")
    parser.add_argument("--log", type=Path, help="append the lines to this file, too")
    arguments = parser.parse_args()
    print_machine(describe_machine())
    arguments.work.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for data in arguments.data:
            chosen = {name: SETTINGS[name] for name in arguments.settings}
            settings = make_screen(seed) if arguments.screen else chosen
            measure(data, seed, settings, arguments.work, Log(arguments.log))


if __name__ == "__main__":
    main()
