"""How many images a class needs: the same head fitted on few of them, again and again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ParameterError, SplitError
from pipeline.features.feature_file import Contents
from pipeline.features.joined_features import JoinedFeatures, open_features_to_fit
from pipeline.features.sliced_rows import FeatureRows
from pipeline.features.split_rows import Division
from pipeline.heads.fit import fit
from pipeline.heads.fit_head import FeaturesToFit
from pipeline.heads.fit_options import FitOptions, check_fit_options
from pipeline.heads.rows.divided_file import divide_file
from pipeline.heads.rows.views_of_file import open_views
from pipeline.images.splits import NO_SPLIT, SPLITS, TEST, TRAIN, VAL
from pipeline.recipe import name_backbones
from pipeline.runs.run_folder import claim_output, new_run
from pipeline.system.atomic_files import write_json
from pipeline.system.csv_files import write_csv
from pipeline.system.memory import available_bytes
from pipeline.system.paths import as_path
from pipeline.system.progress import OnProgress

FEW_IMAGES_C = 0.01  # of a logistic head without `C`: nothing chooses it, few images cannot
CSV_NAME, JSON_NAME, PLOT_STEM = "shots.csv", "shots.json", "shots"


@dataclass(frozen=True)
class Shot:
    """One number of images a class, over all draws.

    Args:
        n_per_class: images of each class that trained; of smaller classes all.
        n_images: that makes in all.
        accuracies: of each draw.
    """

    n_per_class: int
    n_images: int
    accuracies: list[float]

    @property
    def mean(self) -> float:
        return float(np.mean(self.accuracies))

    @property
    def deviation(self) -> float:
        """Standard deviation over the draws; 0 of one."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else 0.0


@dataclass(frozen=True)
class Shots:
    """How accuracy grows with the images of each class.

    Args:
        folder: with `shots.csv` (a row for each draw), `shots.json`, `shots.png` and `shots.svg`.
        split: the images that were scored, the same for all.
        n_scored: how many these are.
        shots: for each number of images a class.
        notes: sentences for people.
    """

    folder: Path
    split: str
    n_scored: int
    shots: list[Shot]
    notes: list[str]

    def __fspath__(self) -> str:
        return str(self.folder)


def fit_shots(
    features: FeaturesToFit,
    shots: Sequence[int] = (1, 2, 4, 8, 16),
    *,
    join: bool = False,
    seeds: int = 5,
    head: str = "logreg",
    output: str | Path | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
    **options: Any,
) -> Shots:
    """Fits a head on so many images of each class, drawn at random, and scores it on the others.

    A draw of four images holds its draw of two. The training images alone are drawn from; the
    scores are of the test split, or of validation where there is none. A logistic head has
    C = 0.01 unless it is given; a head that stops by validation does so here, too, on validation
    images that one would not have.

    Args:
        features: the feature file; with `join` two or more.
        shots: images a class, each at least 1.
        join: put the features of several files side by side, as `fit_head` does.
        seeds: draws of each.
        head: name of a head in the registry.
        output: a new folder, None for `runs/DATA-BACKBONE-HEAD-shots-NUMBER`.
        on_progress: called with a stage, the number done and the number to do.
        options: as of `fit_head`; none of a promise.

    Returns:
        The `Shots`.

    Raises:
        HeadError, ParameterError, FeatureFileError, DatasetError, SplitError, RunError: as
            `fit_head`.
    """
    numbers = _check(shots, seeds)
    checked = check_fit_options(head, options)
    _require_no_promise(checked)
    target = None if output is None else as_path(output, "output")
    with claim_output(target, force=False), open_features_to_fit(features, join=join) as file:
        divided = divide_file(file.contents, file.path, checked, options)
        contents = divided.contents
        joining = file.notes if isinstance(file, JoinedFeatures) else []
        notes = [*joining, *divided.notes]
        of_head = dict(checked.of_head)
        if head == "logreg" and of_head.get("C") is None:
            of_head["C"] = FEW_IMAGES_C
            notes.append(
                f"C = {FEW_IMAGES_C}, since few images cannot choose it: `C` sets another."
            )
        is_scored, split = _find_scored(contents, divided.division.splits)
        drawing = _Drawing(
            rows=FeatureRows(file, max(1, available_bytes() // 2)),
            views=open_views(file, max(1, available_bytes() // 2), checked.viewing),
            tta=checked.viewing.tta,
            contents=contents,
            division=divided.division,
            is_scored=is_scored,
            head=head,
            options=of_head,
        )
        found: list[Shot] = []
        for number in numbers:
            accuracies: list[float] = []
            for seed in range(seeds):
                n_images, accuracy = drawing.fit(number, seed)
                accuracies.append(accuracy)
                on_progress("Drawing", len(found) * seeds + seed + 1, len(numbers) * seeds)
            found.append(Shot(number, n_images, accuracies))
        del drawing
        recipes = file.recipes if isinstance(file, JoinedFeatures) else [contents.recipe]
        stem = f"{contents.data_name}-{name_backbones(recipes)}-{head}-shots"
        folder = _write(stem, split, int(is_scored.sum()), found, target)
    return Shots(folder, split, int(is_scored.sum()), found, notes)


@dataclass(frozen=True)
class _Drawing:
    """What all draws have in common: the rows, how they are divided, and the head.

    Args:
        rows, views: of the feature file.
        tta: whether answers are averaged over the views.
        contents: of the feature file.
        division: of its images.
        is_scored: bool `(n_samples,)`.
        head: its name.
        options: of the head.
    """

    rows: FeatureRows
    views: FeatureRows | None
    tta: bool
    contents: Contents
    division: Division
    is_scored: np.ndarray
    head: str
    options: dict[str, Any]

    def fit(self, n_per_class: int, seed: int) -> tuple[int, float]:
        """How many images of the training split were drawn, and the accuracy that they gave."""
        division = self.division
        drawn = _draw(self.contents, division.splits, division.units, n_per_class, seed)
        splits = np.where(self.is_scored, TEST, NO_SPLIT)
        if "C" not in self.options:
            splits[division.splits == VAL] = VAL
        splits[drawn] = TRAIN
        fitted = fit(
            self.rows,
            self.contents.labels,
            split=splits,
            head=self.head,
            class_names=self.contents.class_names,
            groups=division.units,
            views=self.views,
            tta=self.tta,
            seed=seed,
            **self.options,
        )
        scores = fitted.metrics["test" if "test" in fitted.metrics else "val"]
        return len(drawn), scores.accuracy


def _require_no_promise(options: FitOptions) -> None:
    if options.promising.promise is not None or options.promising.calibrate:
        raise ParameterError(
            "Few images can promise nothing. Expected `shots` without `promise` and `calibrate`. "
            "Received: both",
            "shots",
        )
    if options.folding.folds is not None:
        raise ParameterError(
            "Few images are drawn anew for each head already. Expected `shots` without `folds`. "
            "Received: both",
            "shots",
        )


def parse_shots(text: str) -> list[int]:
    """`1,2,4` -> [1, 2, 4].

    Raises:
        ParameterError: it is none.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise ParameterError(
            "Expected `shots` to be whole numbers of images a class, at least 1, such as 1,2,4. "
            f"Received: {text!r}",
            "shots",
        )
    return [int(part) for part in parts]


def _check(shots: Sequence[int], seeds: int) -> list[int]:
    numbers = sorted(set(shots)) if not isinstance(shots, str) else []
    if not numbers or not all(isinstance(n, int) and n >= 1 for n in numbers):
        raise ParameterError(
            "Expected `shots` to be whole numbers of images a class, at least 1, such as 1,2,4. "
            f"Received: {shots}",
            "shots",
        )
    if not isinstance(seeds, int) or seeds < 1:
        raise ParameterError(
            f"Expected `seeds` to be a whole number, at least 1. Received: {seeds}", "seeds"
        )
    return numbers


def _find_scored(contents: Contents, splits: np.ndarray) -> tuple[np.ndarray, str]:
    for split in (TEST, VAL):
        is_scored: np.ndarray = (splits == split) & (contents.labels >= 0)
        if is_scored.any():
            return is_scored, SPLITS[split]
    raise SplitError("There are no images to score. Expected a validation split. Received: none")


def _draw(
    contents: Contents, splits: np.ndarray, units: np.ndarray, n_per_class: int, seed: int
) -> np.ndarray:
    """Training rows, so many of each class, one of each unit where there are so many."""
    random = np.random.default_rng(seed)
    drawn: list[int] = []
    for label in range(len(contents.class_names)):
        rows = random.permutation(np.flatnonzero((splits == TRAIN) & (contents.labels == label)))
        _, first = np.unique(units[rows], return_index=True)
        drawn += rows[np.sort(first)][:n_per_class].tolist()
    return np.array(drawn, np.int64)


def _write(
    stem: str,
    split: str,
    n_scored: int,
    shots: list[Shot],
    output: Path | None,
) -> Path:
    from pipeline.runs.plots.shots_plot import plot_shots

    with new_run(output, stem) as (folder, final):
        write_csv(
            folder / CSV_NAME,
            [
                ["images_per_class", "images", "seed", "accuracy"],
                *(
                    [shot.n_per_class, shot.n_images, seed, accuracy]
                    for shot in shots
                    for seed, accuracy in enumerate(shot.accuracies)
                ),
            ],
        )
        write_json(
            folder / JSON_NAME,
            {"split": split, "n_scored": n_scored, "shots": [describe_shot(s) for s in shots]},
        )
        numbers = [shot.n_per_class for shot in shots]
        accuracies = [shot.accuracies for shot in shots]
        plot_shots(folder / PLOT_STEM, numbers, accuracies, title=f"{final.name}, {split} split")
    return final


def describe_shot(shot: Shot) -> dict[str, Any]:
    """Ready for JSON."""
    return {**vars(shot), "mean": shot.mean, "deviation": shot.deviation}
