"""Rows/s at which the trunk cache is filled against images/s of `extract`, in turns, same images.

EfficientNet-Lite0, images augmented lightly. Both rates are those between the first and the last
report of progress: opening the network comes before. Each round computes all anew.

    python benchmarks/trunk_rate.py PHOTOS --lines block4a block6a --rounds 5
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)
from benchmarks.extract import make_photos

PACKAGES = ("openvino", "tensorflow", "keras", "numpy", "pillow")
PHOTO = (500, 375)
N_DRAWN = 240


class Rate:
    """Hears progress; how much of one stage was done a second."""

    def __init__(self, stage: str):
        self._stage = stage
        self._reports: list[tuple[float, int]] = []

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage == self._stage:
            self._reports.append((time.perf_counter(), done))

    def value(self) -> float:
        (first, n_before), (last, n_after) = self._reports[0], self._reports[-1]
        return (n_after - n_before) / (last - first)


def rate_extract(photos: Path, file: Path) -> float:
    from pipeline.features.extract import extract

    rate = Rate("Embedding")
    file.unlink(missing_ok=True)
    settings = {"backbone": "efficientnet-lite0", "reuse": False}
    extract(photos, output=file, on_progress=rate, **settings)
    return rate.value()


def rate_trunk(run: Path, photos: Path, line: str, views: int, seed: int) -> float:
    """The seed decides the views, so that another one is another cache."""
    from pipeline.classifier.build import load_classifier
    from pipeline.finetuning.options import FinetuneOptions
    from pipeline.finetuning.parent import open_parent
    from pipeline.finetuning.trunk.stage import TrunkStage
    from pipeline.runs.run_folder import open_run

    parent = open_parent(open_run(run), None, photos)
    options = FinetuneOptions(unfreeze=line, trunk_cache=True, views=views, seed=seed)
    rate = Rate("Trunk cache")
    stage = TrunkStage(parent, options, "cpu", load_classifier(parent.run), line)
    stage.open_inputs(True, rate, lambda note: None)
    return rate.value()


def measure(folder: Path, photos: Path | None, lines: list[str], views: int, rounds: int) -> dict:
    from pipeline.heads.fit_head import fit_head

    os.chdir(folder)
    if photos is None:
        photos = folder / "photos"
        make_photos(photos, PHOTO, N_DRAWN)
    rate_extract(photos, folder / "features.h5")
    run = fit_head(folder / "features.h5", output=folder / "head").folder
    rates: dict[str, list[float]] = {name: [] for name in ("extract", *lines)}
    for number in range(rounds):
        rates["extract"].append(rate_extract(photos, folder / f"{number}.h5"))
        for line in lines:
            rates[line].append(rate_trunk(run, photos, line, views, seed=number + 1))
    return rates


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("photos", type=Path, nargs="?", help="a data set [default: drawn]")
    parser.add_argument("--lines", nargs="+", default=["block4a", "block6a"])
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--rounds", type=int, help="[default: 5; short: 1]")
    arguments = parser.parse_args()
    target = arguments.json.absolute() if arguments.json else None
    photos = arguments.photos.absolute() if arguments.photos else None
    machine = describe_machine(PACKAGES)
    print_machine(machine)
    rounds = arguments.rounds or (1 if arguments.short else 5)
    with tempfile.TemporaryDirectory(prefix="frostline-trunk-") as folder:
        rates = measure(Path(folder), photos, arguments.lines, arguments.views, rounds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print_table(
        ["", "a second", "of extract's"],
        [[name, round(value, 1), value / medians["extract"]] for name, value in medians.items()],
    )
    write_results(target, machine, rates)


if __name__ == "__main__":
    main()
