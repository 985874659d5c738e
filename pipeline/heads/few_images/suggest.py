"""Which images to label next: a list, and a page on which to label them by clicks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import DatasetError
from pipeline.features.ask_question import ask
from pipeline.features.choose_images import choose_doubtful, choose_typical
from pipeline.features.feature_file import Contents, FeatureFile
from pipeline.features.question import QuestionOptions
from pipeline.heads.few_images.options import DOUBTFUL, TYPICAL, SuggestOptions
from pipeline.heads.fit import fit
from pipeline.images.dataset import require_data_root
from pipeline.images.decoding.read_images import NO_LIMITS, read_image
from pipeline.images.splits import TRAIN, UNLABELLED
from pipeline.runs.run_folder import claim_output, new_run
from pipeline.system.atomic_files import write_text
from pipeline.system.csv_files import write_csv
from pipeline.system.options import check_options
from pipeline.system.paths import as_path
from pipeline.system.progress import OnProgress

LIST_NAME, PAGE_NAME = "suggested.csv", "label.html"
# From so many labels of each class on, a head knows enough for its doubts to tell something; below,
# typical images teach it more (Hacohen et al., 2022, find the turn between 10 and 100 on CIFAR-10).
LABELS_PER_CLASS = 20
STRENGTH = 0.01  # C of the head that doubts: few images, many features


@dataclass(frozen=True)
class Suggestion:
    """What to label next.

    Args:
        folder: with `suggested.csv`, the list, and `label.html`, the page.
        paths: of the images, the most useful first, as the feature file has them.
        by: `typical` or `doubtful`.
        n_labelled: images that have a label already.
        notes: sentences for people.
    """

    folder: Path
    paths: list[str]
    by: str
    n_labelled: int
    notes: list[str]

    def __fspath__(self) -> str:
        return str(self.folder)


def suggest(
    features: str | Path,
    n: int = SuggestOptions.n,
    *,
    labels: str | Path | None = None,
    by: str | None = None,
    seed: int = 0,
    data: str | Path | None = None,
    output: str | Path | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Suggestion:
    """Chooses images without a label and writes a list of them and a page on which to label them.

    Args:
        features: the feature file.
        n: how many to choose.
        labels: see `options.py`, as `by` and `seed`.
        data: where the images lie now, None for where they lay at extraction.
        output: a new folder, None for `runs/DATA-suggest-NUMBER`.
        on_progress: called with a stage, the number done and the number to do.

    Returns:
        The `Suggestion`.

    Raises:
        ParameterError: an option that makes no sense.
        FeatureFileError: no feature file, or a damaged one.
        DatasetError: too few images without a label, no labels to doubt by, or the images are not
            where they were.
        RunError: the output exists.
    """
    labels_file = None if labels is None else str(as_path(labels, "labels"))
    options = SuggestOptions(n, labels_file, by, seed)
    check_options(options, "suggest images")
    target = None if output is None else as_path(output, "output")
    with claim_output(target, force=False), FeatureFile(Path(features)) as file:
        contents, _, notes = ask(file.contents, QuestionOptions(labels=labels_file))
        require_data_root(Path(data or contents.data_root))
        rows, way = _choose(file.read_all(), contents, options)
        paths = [contents.images.paths[row] for row in rows.tolist()]
        pixels = _read_pixels(Path(data or contents.data_root), paths, contents, on_progress)
        folder = _write(contents, paths, pixels, target)
    n_labelled = int((contents.labels != UNLABELLED).sum())
    return Suggestion(folder, paths, way, n_labelled, notes)


def _choose(
    features: np.ndarray, contents: Contents, options: SuggestOptions
) -> tuple[np.ndarray, str]:
    """Row numbers, and by which way they were chosen. Of equal images one may be chosen."""
    _, first = np.unique(contents.images.digests, axis=0, return_index=True)
    is_labelled = contents.labels != UNLABELLED
    known = {digest.tobytes() for digest in contents.images.digests[is_labelled]}
    usable = np.array(
        [
            row
            for row in np.sort(first).tolist()
            if is_labelled[row] or contents.images.digests[row].tobytes() not in known
        ]
    )
    n_free = int((~is_labelled[usable]).sum())
    if n_free < options.n:
        raise DatasetError(
            "There are too few images without a label to choose from. Expected at least "
            f"{options.n:,} different ones. Received: {n_free:,}\n"
            + (
                "All images have labels, of their folders or a list. To begin anew, give those "
                "that you trust: `labels=FILE.csv`."
                if n_free == 0
                else f"Ask for fewer: `n={n_free}`."
            )
        )
    counts = np.bincount(contents.labels[is_labelled], minlength=len(contents.class_names))
    knows_enough = len(counts) >= 2 and bool((counts >= LABELS_PER_CLASS).all())
    way = options.by or (DOUBTFUL if knows_enough else TYPICAL)
    some, marked = features[usable], is_labelled[usable]
    if way == TYPICAL:
        return usable[choose_typical(some, options.n, marked, seed=options.seed)], way
    if int((counts > 0).sum()) < 2:
        raise DatasetError(
            "A head that doubts needs labels of two classes or more. Expected `by=typical`, or "
            f"`labels=FILE.csv` with some. Received: `by={way}` with labels of "
            f"{int((counts > 0).sum())}"
        )
    split = np.where(marked, TRAIN, -1)
    labels = np.where(marked, contents.labels[usable], UNLABELLED)
    fitted = fit(some, labels, split=split, C=STRENGTH, class_names=contents.class_names)
    chosen = choose_doubtful(some, fitted.probabilities, options.n, marked, seed=options.seed)
    return usable[chosen], way


def _read_pixels(
    root: Path, paths: list[str], contents: Contents, on_progress: Callable[[str, int, int], None]
) -> list[np.ndarray]:
    found = []
    for number, path in enumerate(paths, start=1):
        _, pixels = read_image(root / path, contents.recipe, NO_LIMITS)
        if isinstance(pixels, str):
            raise DatasetError(
                f"This image {pixels}. Received: {root / path}\nIf the data set was moved, say "
                "where it is with `data=FOLDER`; if it was changed, extract again."
            )
        found.append(pixels)
        on_progress("Reading", number, len(paths))
    return found


def _write(
    contents: Contents, paths: list[str], pixels: list[np.ndarray], output: Path | None
) -> Path:
    from pipeline.heads.few_images.labelling_page import PageImage, make_labelling_page

    labels = contents.labels.tolist()
    known = {
        path: contents.class_names[label]
        for path, label in zip(contents.images.paths, labels, strict=True)
        if label != UNLABELLED
    }
    images = [PageImage(path, one) for path, one in zip(paths, pixels, strict=True)]
    title = f"{contents.data_name}: {len(paths):,} images to label"
    with new_run(output, f"{contents.data_name}-suggest") as (folder, final):
        write_csv(folder / LIST_NAME, [["path", "label"], *([path, ""] for path in paths)])
        page = make_labelling_page(title, images, contents.class_names, known)
        write_text(folder / PAGE_NAME, page)
    return final
