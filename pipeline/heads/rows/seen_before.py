"""Images that score a head while a fine-tuned network behind its features was trained on them.

The splits of a head and of the run before it are the same as long as seed and shares are. Where
they are not, scores flatter, and no figure shows it.
"""

from collections.abc import Iterator

import numpy as np

from pipeline.backbones.tuned_runs import TUNED_PREFIX, find_tuned
from pipeline.errors import RunError, WeightsError
from pipeline.features.feature_file import Contents
from pipeline.heads.fit import Fit
from pipeline.heads.rows.fitted_files import FurtherFile
from pipeline.images.splits import SPLITS, TEST, TRAIN, VAL
from pipeline.recipe import Recipe
from pipeline.runs.predictions import read_predictions
from pipeline.runs.records import read_digests
from pipeline.runs.run_folder import Run, open_run
from pipeline.runs.scores import FOLDS
from pipeline.system.printable import count, printable


def describe_seen_images(fitted: Fit, contents: Contents, further: list[FurtherFile]) -> list[str]:
    """Says of the images that score a head how many trained a network behind its features.

    Args:
        contents: of the feature file, of several that are joined of the first.
        further: the others.
    """
    used = [
        (contents.recipe, contents.weights_source),
        *((one.backbone.recipe, one.backbone.weights_source) for one in further),
    ]
    notes = []
    try:
        for recipe, source in used:
            for run in _list_tuned_runs(recipe, source):
                notes += _describe(fitted, contents.images.digests, run)
    except (RunError, WeightsError) as error:
        reason = str(error).splitlines()[0]
        notes.append(
            "Whether images that score this head trained the network behind its features cannot "
            f"be told, and where they did, scores flatter: {printable(reason)}"
        )
    return notes


def _list_tuned_runs(recipe: Recipe, source: str) -> Iterator[Run]:
    """The run whose network made the features, and those that its own features came from."""
    while recipe.backbone.startswith(TUNED_PREFIX):
        run = open_run(find_tuned(recipe, source).parent)
        yield run
        recipe, source = run.recipe, run.manifest.weights_source


def _describe(fitted: Fit, digests: np.ndarray, run: Run) -> list[str]:
    before = read_predictions(run)
    known = read_digests(run, len(before.paths))
    if known is None:
        return []
    trained = {digest.tobytes() for digest in known[before.splits == TRAIN]}
    is_seen = np.array([digest.tobytes() in trained for digest in digests], bool)
    scored = {SPLITS[split]: fitted.splits == split for split in (VAL, TEST)}
    if fitted.out_of_fold is not None:
        scored[FOLDS] = np.isin(np.arange(len(digests)), fitted.out_of_fold.rows)
    return [
        f"{int((is_seen & rows).sum()):,} of {count(int(rows.sum()), 'image')} of {name} trained "
        f"the network behind these features ({printable(str(run.folder))}), so the scores of "
        f"{name} flatter. Divide the images as that run did: the same `seed`, the same shares."
        for name, rows in scored.items()
        if (is_seen & rows).any()
    ]
