"""Which numbers of training images are tried, and which images each draw takes.

A draw is an order of all training images; its first so many are the draw of that size, so that a
larger one holds each smaller one.
"""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.errors import SplitError
from pipeline.system.printable import name_some

LEAST_PER_CLASS = 5  # images of a class on average; with fewer, curves follow no power law
LEAST_SIZES = 3
_WIDEST = 32.0  # times fewer images than there are: what is further off tells nothing of ahead


def list_sizes(n_images: int, n_classes: int, ratio: float) -> list[int]:
    """Numbers of training images, rising, the last `n_images`, each `ratio` times the one before.

    Raises:
        SplitError: there are too few images to see a curve.
    """
    least = LEAST_PER_CLASS * n_classes
    n_sizes = (
        1 + math.floor(math.log(min(_WIDEST, n_images / least), ratio) + 1e-9)
        if (n_images >= least)
        else 0
    )
    if n_sizes < LEAST_SIZES:
        needed = math.ceil(least * ratio ** (LEAST_SIZES - 1) / n_classes)
        raise SplitError(
            "There are too few training images to tell what more of them would bring. Expected "
            f"at least {needed} of each class on average, so that a head can be fitted on "
            f"{LEAST_PER_CLASS} of each, on all, and between. Received: {n_images:,} images of "
            f"{n_classes:,} classes"
        )
    return [round(n_images / ratio**step) for step in reversed(range(n_sizes))]


def require_enough(labels: np.ndarray, class_names: Sequence[str]) -> None:
    """Raises a SplitError where a class has fewer than five training images.

    Args:
        labels: int `(n_images,)`, of the training images.
        class_names: of all classes.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    small = [class_names[label] for label in np.flatnonzero(counts < LEAST_PER_CLASS).tolist()]
    if small:
        raise SplitError(
            f"A forecast needs {LEAST_PER_CLASS} training images of each class. Received: "
            f"{int(counts.min())} of {name_some(small)}\n"
            f"`frostline.fit_head(FEATURES, drop_small={LEAST_PER_CLASS})` leaves such classes out."
        )


def order_images(labels: np.ndarray, units: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A random order in which any first part has of each class its share, and one at least.

    Args:
        labels: int `(n_images,)`.
        units: int `(n_images,)`; images of one number stay together: equal ones, those of a group.

    Returns:
        int64 `(n_images,)`.
    """
    n_images = len(labels)
    shuffled = random.permutation(n_images)
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    ranks = np.arange(n_images) - (np.cumsum(counts) - counts)[labels[by_class]]
    places = np.empty(n_images)
    # The first of each class comes before all others; the rest are spread evenly, by chance.
    shares = (ranks + random.random(n_images)) / counts[labels[by_class]]
    places[by_class] = np.where(ranks == 0, 0.0, shares)
    _, number = np.unique(units, return_inverse=True)
    of_unit = np.full(number.max() + 1, np.inf)
    np.minimum.at(of_unit, number, places)
    return np.lexsort((number, of_unit[number]))
