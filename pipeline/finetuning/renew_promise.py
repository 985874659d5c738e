"""The promise of a run that is fine-tuned: another network, so another promise, or none."""

import numpy as np

from pipeline.errors import PromiseError
from pipeline.finetuning.parent import Parent
from pipeline.images.groups import find_groups, make_group_keys
from pipeline.runs.predictions import Predictions
from pipeline.runs.promise.guard import Guard
from pipeline.runs.promise.make_guard import make_guard
from pipeline.runs.promise.options import PromiseOptions


def renew_promise(parent: Parent, after: Predictions) -> tuple[Guard | None, list[str]]:
    """What the fine-tuned network promises, by the test images, which chose no epoch.

    It does not call anything unlike anything seen: the distances of the frozen features are not
    those of its own.

    Args:
        after: what the fine-tuned network says of each image.

    Returns:
        The guard, None where the parent promises nothing or its promise cannot be renewed; and what
        is to be said.
    """
    promise = parent.run.manifest.promise
    if promise is None:
        return None, []
    group_by, keys = parent.run.manifest.splits.group_by, parent.digests
    if group_by is not None:
        keys = make_group_keys(keys, find_groups(after.paths, group_by))
    units = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    options = PromiseOptions(promise=promise.share, unlike=0)
    try:
        guard = make_guard(None, after.labels, after.splits, after.probabilities, units, options)
    except PromiseError as error:
        return None, [
            f"The promise of {parent.run.folder} is not renewed, so the fine-tuned run answers "
            f"every image. {error}"
        ]
    lost = (
        ""
        if promise.greatest_distance is None
        else " It calls no picture unlike anything seen: that was told by the frozen features."
    )
    return guard, [f"{guard.facts.describe()}{lost}"]
