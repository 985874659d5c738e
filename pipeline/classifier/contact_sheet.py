"""What a run says of images as a folder to look at: a table, and a page of thumbnails by class."""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from pipeline.classifier.prediction import Prediction
from pipeline.errors import ParameterError
from pipeline.report.contact_sheet_page import (
    ContactSheet,
    SheetGroup,
    SheetImage,
    draw_contact_sheet,
)
from pipeline.report.gathering.image_pool import ImageFile
from pipeline.report.gathering.thumbnails import MOST_LARGE, Thumbnails, make_thumbnails
from pipeline.runs.outcome_folder import new_outcome
from pipeline.runs.predictions import (
    CSV_NAME,
    MOST_COLUMNS,
    describe_probabilities,
    name_probabilities,
)
from pipeline.runs.promise.guard import UNLIKE, UNSURE
from pipeline.runs.run_folder import Run
from pipeline.system.atomic_files import write_text
from pipeline.system.csv_files import write_csv
from pipeline.system.printable import count, printable, visible
from pipeline.system.progress import OnProgress

PAGE_NAME = "contact-sheet.html"
FILES = (CSV_NAME, PAGE_NAME)
MOST_BYTES = 9_900_000  # of the page: it goes by mail
_PLACE_BYTES = 40  # of a thumbnail: which sheet, and where in it
_LEAST_SIDE, _GREATEST_SIDE = 80, 168  # of a thumbnail on the page, CSS pixels
_NOTES = {
    UNSURE: "The run's promise covers no answer here; the class is its best guess.",
    UNLIKE: "Too far from all training images for an answer; the class is the nearest guess.",
}


def require_files(images: Sequence[Any]) -> None:
    """A contact sheet shows files.

    Raises:
        ParameterError: an image came without one.
    """
    n_others = sum(not isinstance(image, str | os.PathLike) for image in images)
    if n_others:
        raise ParameterError(
            "A contact sheet names files and leads to them. Expected `output` with paths of "
            f"images. Received: {count(n_others, 'image')} without a path",
            "output",
        )


def write_contact_sheet(
    output: Path,
    predictions: Sequence[Prediction],
    run: Run,
    *,
    force: bool,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> None:
    """Writes `predictions.csv` and `contact-sheet.html`, and gives the folder its name at the end.

    Args:
        output: the folder, claimed.
        predictions: of images that have a path.
        run: whose they are.
        force: an older contact sheet may be replaced.
        on_progress: called with a stage, the number done and the number to do.

    Raises:
        StorageError: it cannot be written.
    """
    with new_outcome(output, FILES, force=force) as folder:
        write_csv(folder / CSV_NAME, _tabulate(predictions, run))
        page = draw_contact_sheet(_lay_out(predictions, run, output, on_progress))
        write_text(folder / PAGE_NAME, page)


def _tabulate(predictions: Sequence[Prediction], run: Run) -> Iterator[list[str]]:
    """Rows of cells, the first of them the columns' names; no label is known here."""
    first = 1 if len(run.class_names) > MOST_COLUMNS else 0  # it would be the label's probability
    columns = name_probabilities(run.class_names)[first:]
    promises = run.manifest.promise is not None
    yield ["path", "predicted", *(["answer", "no_answer"] if promises else []), "skipped", *columns]
    for one in predictions:
        answer = [one.answer or "", one.no_answer or ""] if promises else []
        cells = [""] * len(columns)
        if one.probabilities is not None:
            cells = describe_probabilities(one.probabilities, -1, run.class_names)[first:]
        yield [str(one.path), one.label or "", *answer, one.reason or "", *cells]


@dataclass(frozen=True)
class _Group:
    """Rows of predictions; `reason` says why they have no answer, None in the group of a class."""

    heading: str
    reason: str | None
    rows: list[int]


def _group(predictions: Sequence[Prediction], run: Run) -> list[_Group]:
    """A group for each class, then those without an answer by its reason; the surest first."""
    usable = [row for row, one in enumerate(predictions) if one.probabilities is not None]
    usable.sort(key=lambda row: -_sureness(predictions[row]))  # a sort keeps the order of equals
    classes = [_Group(visible(name), None, []) for name in run.class_names]
    reasons = [_Group(reason, reason, []) for reason in _NOTES]
    of_class = dict(zip(run.class_names, classes, strict=True))
    of_reason = dict(zip(_NOTES, reasons, strict=True))
    for row in usable:
        one = predictions[row]
        group = of_reason[one.no_answer] if one.no_answer else of_class[str(one.label)]
        group.rows.append(row)
    return [group for group in (*classes, *reasons) if group.rows]


def _lay_out(
    predictions: Sequence[Prediction], run: Run, output: Path, on_progress: OnProgress
) -> ContactSheet:
    """The page, with as good thumbnails as it has room for."""
    groups = _group(predictions, run)
    places = _Places([_normalise(Path(str(one.path))) for one in predictions], output)
    order = [row for group in groups for row in group.rows]
    without = ContactSheet(
        title=f"{printable(run.name)}: {count(len(predictions), 'image')}",
        summary=_summarise(predictions, run, places),
        tile=_LEAST_SIDE,
        sheets=[],
        groups=[_describe_group(group, predictions, places) for group in groups],
        skipped=[
            (places.path(row), printable(one.reason))
            for row, one in enumerate(predictions)
            if one.reason is not None
        ],
    )
    n_around = len(draw_contact_sheet(without).encode()) + _PLACE_BYTES * len(order)
    files = [ImageFile(places.paths[row], predictions[row].digest.tobytes()) for row in order]
    numbers = list(range(len(files)))
    made = make_thumbnails(
        files,
        *(([], numbers) if len(files) > MOST_LARGE else (numbers, [])),
        replace(run.recipe, resize="crop"),
        max(0, MOST_BYTES - n_around),
        on_progress,
    )
    return _add_thumbnails(without, made)


def _add_thumbnails(sheet: ContactSheet, made: Thumbnails) -> ContactSheet:
    number, groups = itertools.count(), []
    for group in sheet.groups:
        images = [replace(one, thumbnail=made.places.get(next(number))) for one in group.images]
        groups.append(replace(group, images=images))
    largest = max((one.tile for one in made.sheets), default=0)
    return replace(
        sheet,
        tile=int(np.clip(1.2 * largest, _LEAST_SIDE, _GREATEST_SIDE)),
        sheets=made.sheets,
        groups=groups,
        notes=list(_list_missing(made)),
    )


def _list_missing(made: Thumbnails) -> Iterator[str]:
    """Why images have no picture, in sentences."""
    for numbers, what in (
        (made.gone, "cannot be read any more"),
        (made.changed, "changed while the images were looked at"),
    ):
        if numbers:
            yield f"Without a picture: {count(len(numbers), 'image')} that {what}."
    if made.n_without:
        yield (
            f"Without a picture: {count(made.n_without, 'image')}, or the page would be too large "
            "to send."
        )


@dataclass(frozen=True)
class _Places:
    """How files are called on the page, and where its links lead.

    Args:
        paths: absolute.
        output: the folder of the page.
    """

    paths: list[Path]
    output: Path

    @cached_property
    def root(self) -> Path:
        """The deepest folder that holds all files."""
        return Path(os.path.commonpath([path.parent for path in self.paths]))

    def path(self, row: int) -> str:
        """Below the root, printable."""
        return printable(str(self.paths[row].relative_to(self.root)))

    def name(self, row: int) -> str:
        return printable(self.paths[row].name)

    def link(self, row: int) -> str:
        """A relative URL; `:` is encoded, so that no folder's name can be a scheme."""
        relative = os.path.relpath(self.paths[row], _normalise(self.output))
        return quote(os.fsencode(Path(relative).as_posix()), safe="/")


def _normalise(path: Path) -> Path:
    """Absolute and without `..`, by names alone: links stay links."""
    return Path(os.path.normpath(path.absolute()))


def _describe_group(
    group: _Group, predictions: Sequence[Prediction], places: _Places
) -> SheetGroup:
    images = [
        SheetImage(
            places.name(row), places.path(row), places.link(row), _describe(predictions[row])
        )
        for row in group.rows
    ]
    return SheetGroup(group.heading, _NOTES.get(group.reason or "", ""), images)


def _describe(prediction: Prediction) -> str:
    """The probability; where the run gives no answer, its guess, too."""
    percent = 100 * _sureness(prediction)
    words = ">99.9%" if 99.95 <= percent < 100 else f"{percent:.1f}%"
    return words if prediction.no_answer is None else f"{visible(str(prediction.label))}? {words}"


def _sureness(prediction: Prediction) -> float:
    return 0.0 if prediction.probabilities is None else float(prediction.probabilities.max())


def _summarise(predictions: Sequence[Prediction], run: Run, places: _Places) -> list[str]:
    n_skipped = sum(one.reason is not None for one in predictions)
    sentences = [
        f"Images in {printable(str(places.root))}, by the class that the run {printable(run.name)} "
        "takes them for, the surest first."
    ]
    promise = run.manifest.promise
    if promise is None:
        sentences.append("Whatever an image shows, it is taken for one of the run's classes.")
    else:
        n_answered = sum(one.answer is not None for one in predictions)
        sentences.append(
            f"{n_answered:,} of {len(predictions) - n_skipped:,} are answered, of which at least "
            f"{100 * promise.share:.4g}% are right, at {promise.confidence:.0%} confidence, as "
            "long as new images are like those that it was shown on."
        )
    if n_skipped:
        sentences.append(f"{count(n_skipped, 'image')} cannot be used; they are listed at the end.")
    return sentences
