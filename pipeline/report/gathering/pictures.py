"""The pictures of a report: which images are shown, how large, and which cannot be."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.report.contents import Comparison, ReportContents
from pipeline.report.gathering.image_pool import ImagePool
from pipeline.report.gathering.thumbnails import Thumbnails, make_thumbnails
from pipeline.system.paths import is_folder
from pipeline.system.printable import count, printable
from pipeline.system.progress import OnProgress

MOST_BYTES = 4_950_000  # of the page: it goes by mail
_ANY_PLACE = (10, 1000)  # of a thumbnail, until it is known


def add_pictures(
    contents: ReportContents,
    pool: ImagePool,
    count_bytes: Callable[[ReportContents], int],
    on_progress: OnProgress,
) -> ReportContents:
    """In what room the rest of the page leaves."""
    absent = [root for root in pool.roots if not is_folder(root)]
    notes = [
        f"The images are not at {printable(str(root))} any more, so they are not shown. Say where "
        "they are with `data=FOLDER`."
        for root in dict.fromkeys(absent)
    ]
    numbers = [
        number
        for number, file in enumerate(pool.files)
        if not any(file.path.is_relative_to(root) for root in absent)
    ]
    wanted = set(numbers)
    large = [number for number in _list_looked_at(contents) if number in wanted]
    # At random, so that where not all have room, those that have are of all classes.
    others = np.random.default_rng(0).permutation(numbers).tolist()
    every = dict.fromkeys(range(len(pool)), _ANY_PLACE)
    n_bytes = MOST_BYTES - count_bytes(replace(contents, images=pool.describe(every)))
    recipe = pool.runs[0].run.recipe
    made = make_thumbnails(pool.files, large, others, recipe, max(0, n_bytes), on_progress)
    return replace(
        contents,
        images=pool.describe(made.places),
        sheets=made.sheets,
        notes=[*contents.notes, *notes, *_describe_missing(made, pool)],
    )


def _list_looked_at(contents: ReportContents) -> list[int]:
    """The images to be shown large, the most important first."""
    of_runs = contents.runs
    mistakes = [mistake for run in of_runs for mistake in run.mistakes]
    return list(
        dict.fromkeys(
            [
                *(mistake.image for mistake in mistakes),
                *(number for run in of_runs for number in run.uncertain),
                *(number for one in contents.comparisons for number in _list_disagreed(one)),
                *(number for finding in contents.findings or () for number in finding.images),
                *(number for mistake in mistakes for number in mistake.neighbours),
            ]
        )
    )


def _list_disagreed(comparison: Comparison) -> list[int]:
    return [*comparison.only_first, *comparison.only_second]


def _describe_missing(made: Thumbnails, pool: ImagePool) -> list[str]:
    notes = []
    for numbers, what in (
        (made.gone, "not where it was, or cannot be read"),
        (made.changed, "not the one that the run was made of: its bytes were changed"),
    ):
        if numbers:
            path = printable(str(pool.files[numbers[0]].path))
            some = (
                f"{count(len(numbers), 'image')}, the first {path}," if len(numbers) > 1 else path
            )
            verb = "are" if len(numbers) > 1 else "is"
            notes.append(f"Shown without a picture: {some} {verb} {what}.")
    if made.n_without:
        notes.append(
            f"{count(made.n_without, 'image')} of {len(pool.files):,} have no picture here, or the "
            "page would be too large to send."
        )
    return notes
