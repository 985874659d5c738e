"""Images of a page as columns: field names once, not ten thousand times."""

from collections.abc import Sequence
from typing import Any

from pipeline.report.contents import ReportImage

_DIGITS = 4  # of a probability; more would be bytes that nobody reads


def to_columns(images: Sequence[ReportImage]) -> dict[str, list[Any]]:
    """A list for each field of `ReportImage`, in the order of the images."""
    return {
        "path": [image.path for image in images],
        "label": [image.label for image in images],
        "split": [image.split for image in images],
        "called": [image.called for image in images],
        "probability": [
            [None if one is None else round(one, _DIGITS) for one in image.probability]
            for image in images
        ],
        "thumbnail": [image.thumbnail for image in images],
    }
