"""How often a probe's choice is as good as the best by full extraction, and whether it keeps time.

Every backbone extracts every data set at every image size once; a logistic head is fitted on all of
that, in folds that keep equal images together, which tells how good each choice really is. Then the
probe runs on ten samples (seeds) with rows from those files and a clock that goes by the seconds
that the extraction took, so that ten samples take seconds and the plan is the real one.

    python benchmarks/probe.py photos more-photos --features build/probe   # extracts first
    python benchmarks/probe.py photos --features build/probe --seconds 60 --json out.json
    python benchmarks/probe.py photos --features build/probe --short       # 3 samples
"""

import json
import sys
import time
from collections.abc import Sequence
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
from pipeline.features.extract import extract
from pipeline.features.feature_file import FeatureFile
from pipeline.features.options import SplitOptions
from pipeline.heads.probe.candidates import Candidate, list_candidates
from pipeline.heads.probe.judge import Judge
from pipeline.heads.probe.measured import Measured
from pipeline.heads.probe.probed import Tried, describe_all, recommend
from pipeline.heads.probe.sample import Sample, draw_sample
from pipeline.heads.probe.search import Search
from pipeline.images.dataset import Dataset, scan_dataset
from pipeline.images.splits import TRAIN, VAL

BACKBONES = "efficientnet-lite0,efficientnet-lite1,efficientnet-lite2"
IMAGE_SIZES = (160, 192, 224, 256, 288, 320)
N_REPEATS, N_FOLDS, C = 4, 5, 0.003  # of standardised features
_BATCH = 8


@dataclass(frozen=True)
class Full:
    """One candidate's full extraction.

    Args:
        rows: by digest.
        seconds: to embed all images.
        open_seconds: what the extraction took besides.
        accuracy: in folds over all images, 0..1.
        val_accuracy: of a head on the given training images, on the given validation images; None
            where there are none.
    """

    rows: dict[bytes, np.ndarray]
    seconds: float
    open_seconds: float
    accuracy: float
    val_accuracy: float | None

    @property
    def rate(self) -> float:
        return len(self.rows) / self.seconds


def extract_all(
    data: Path, candidates: Sequence[Candidate], folder: Path
) -> dict[str, tuple[Path, float, float]]:
    """Extracts with each candidate what is not there yet: file, seconds to embed, other seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for one in candidates:
        path = folder / f"{data.resolve().name}-{one.recipe.backbone}-{one.image_size}.h5"
        taken = path.with_suffix(".json")
        if not taken.exists():
            made = extract(
                data,
                backbone=one.recipe.backbone,
                weights=one.weights_name,
                image_size=one.image_size,
                output=path,
            )
            summary = made.summary
            rest = summary.seconds - summary.compute_seconds
            taken.write_text(json.dumps([summary.compute_seconds, rest]))
        seconds, rest = json.loads(taken.read_text())
        found[str(one)] = path, seconds, rest
    return found


def measure(path: Path, seconds: float, rest: float) -> Full:
    """Reads one full extraction and fits heads on it."""
    with FeatureFile(path) as file:
        contents, features = file.contents, file.read_all()
    digests = [digest.tobytes() for digest in contents.images.digests]
    units = np.unique(contents.images.digests, axis=0, return_inverse=True)[1].ravel()
    labels, splits = contents.labels, contents.splits
    val = None
    if np.any(splits == VAL):
        train, scored = splits == TRAIN, splits == VAL
        val = float(
            (_fit(features[train], labels[train])(features[scored]) == labels[scored]).mean()
        )
    return Full(
        dict(zip(digests, features, strict=True)),
        seconds,
        rest,
        score_in_folds(features, labels, units),
        val,
    )


def score_in_folds(features: np.ndarray, labels: np.ndarray, units: np.ndarray) -> float:
    """Accuracy of logistic heads on images that they never saw, equal ones kept together."""
    from sklearn.model_selection import StratifiedGroupKFold

    hits = []
    for seed in range(N_REPEATS):
        folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed)
        for train, scored in folds.split(features, labels, units):
            predict = _fit(features[train], labels[train])
            hits.append(predict(features[scored]) == labels[scored])
    return float(np.concatenate(hits).mean())


def _fit(features: np.ndarray, labels: np.ndarray):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=500))
    return model.fit(features, labels).predict


class Replay:
    """Embeds from full extractions, by a clock that goes as they went.

    Args:
        sample: of a probe.
        full: by the candidate's name.
    """

    def __init__(self, sample: Sample, full: dict[str, Full]):
        self.now = 0.0
        self._digests = [digest.tobytes() for digest in sample.digests]
        self._full = full

    def __call__(self, one: Measured, n_images: int, deadline: float) -> None:
        full = self._full[str(one.candidate)]
        again = 1.0 if one.open_seconds is None else 0.4  # the converted network was kept
        one.open_seconds, one.rate = again * full.open_seconds, full.rate
        self.now += one.open_seconds
        n = one.n_tried
        while n < n_images and (n == one.n_tried or self.now < deadline):
            step = min(_BATCH, n_images - n)
            n, self.now = n + step, self.now + step / full.rate
        rows = [full.rows.get(digest) for digest in self._digests[:n]]
        one.has_row = np.array([row is not None for row in rows])
        one.features = np.stack([row for row in rows if row is not None])
        one.n_tried = one.n_kept = n


def replay(
    dataset: Dataset,
    candidates: Sequence[Candidate],
    full: dict[str, Full],
    seconds: float,
    seed: int,
) -> tuple[Tried, list[Tried], float]:
    """One probe on a sample: the choice, all that was tried, the seconds by the clock."""
    how = SplitOptions(seed=seed)
    sample = draw_sample(dataset, 1000, how, Path("none"), lambda *_: None, lambda note: None)
    contenders = [Measured(one, Path(str(one))) for one in candidates]
    embed, judge = Replay(sample, full), Judge(sample)
    Search(
        contenders,
        len(sample),
        len(sample.class_names),
        embed,
        judge,
        0.97 * seconds,
        clock=lambda: embed.now,
    ).run()
    tried = describe_all(contenders, judge, len(dataset))
    return recommend(tried)[0], tried, embed.now


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--features", type=Path, required=True, help="keeps full extractions here")
    parser.add_argument("--backbones", default=BACKBONES)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--samples", type=int, default=10)
    wanted = parser.parse_args()
    machine = describe_machine(("numpy", "scikit-learn", "openvino"))
    print_machine(machine)
    candidates = list_candidates(wanted.backbones.split(","), IMAGE_SIZES, {}, print)
    results = {}
    for data in wanted.data:
        files = extract_all(data, candidates, wanted.features)
        full = {name: measure(*found) for name, found in files.items()}
        best = max(full, key=lambda name: full[name].accuracy)
        print(f"\n{data.name}: accuracy by full extraction; the best is {best}\n")
        print_table(
            ["candidate", "accuracy", "given val", "images/s"],
            [
                [name, one.accuracy, "" if one.val_accuracy is None else one.val_accuracy, one.rate]
                for name, one in full.items()
            ],
        )
        dataset, lines = scan_dataset(data), []
        for seed in range(3 if wanted.short else wanted.samples):
            started = time.perf_counter()
            chosen, tried, taken = replay(dataset, candidates, full, wanted.seconds, seed)
            lost = full[best].accuracy - full[_name(chosen)].accuracy
            n_tried = sum(one.accuracy is not None for one in tried)
            lines.append(
                [seed, _name(chosen), chosen.n_images, n_tried, 100 * lost, taken,
                 time.perf_counter() - started]
            )  # fmt: skip
        print()
        print_table(
            ["seed", "chosen", "images", "tried", "points lost", "clock", "seconds here"], lines
        )
        n_good = sum(line[4] <= 1.0 for line in lines)
        print(f"\nWithin one point of the best: {n_good} of {len(lines)} samples.")
        results[data.name] = {
            "full": {
                name: [one.accuracy, one.val_accuracy, one.rate] for name, one in full.items()
            },
            "samples": lines,
            "n_within_a_point": n_good,
        }
    write_results(wanted.json, machine, results)


def _name(one: Tried) -> str:
    file = "" if one.weights == "imagenet" else f"={one.weights}"
    return f"{one.backbone}{file} at {one.image_size} pixels"


if __name__ == "__main__":
    main()
