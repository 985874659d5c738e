"""Whether a mirrored image is the same thing: what the frozen head says of the run's own images.

A mirrored flower is a flower, a mirrored b is a d, and some road signs point the other way. Where
nobody said whether to mirror images while training, this decides it.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.finetuning.epoch_passes import in_batches
from pipeline.finetuning.parent import Parent
from pipeline.finetuning.pixels import PixelStore
from pipeline.images.splits import TRAIN, VAL
from pipeline.system.keras_on_tensorflow import keras
from pipeline.system.parallel import map_batches
from pipeline.system.progress import OnProgress

# Of the images that the head has right, those that it has right mirrored: of all, of each class.
# Flowers 0.99 and 0.98, digits 0.96 and 0.87 (docs/fine-tuning.md).
LEAST_SHARE, LEAST_CLASS_SHARE = 0.8, 0.5
MOST_IMAGES, MOST_OF_CLASS = 150, 10  # so many in all, or of each class if that is more
FEWEST_OF_CLASS = 5  # a class of fewer says nothing
_BATCH = 32


@dataclass(frozen=True)
class Mirrored:
    """What is left of the right answers when the images are mirrored.

    Args:
        n_images: that the head has right.
        share: of them, right when mirrored, too, 0..1.
        worst: the class that loses most; empty where there are too few images to tell.
        worst_share: of its images, right when mirrored, too.
    """

    n_images: int
    share: float
    worst: str
    worst_share: float

    @property
    def are_same(self) -> bool:
        return self.share >= LEAST_SHARE and self.worst_share >= LEAST_CLASS_SHARE

    def describe(self) -> str:
        """What was seen and what follows from it, in a sentence."""
        if not self.worst:
            return (
                f"The head has {FEWEST_OF_CLASS} images of no class right, so whether mirrored "
                "ones are the same is not known, and none are mirrored."
            )
        what = (
            f"Of {self.n_images:,} images that the head has right it has {self.share:.0%} right "
            f"mirrored, of {self.worst} {self.worst_share:.0%}: "
        )
        return what + (
            "so training mirrors half of them." if self.are_same else "so none are mirrored."
        )


def try_mirrored(
    parent: Parent, model: keras.Model, seed: int, on_progress: OnProgress
) -> Mirrored:
    """Asks the frozen head about mirrored images, as many of each class.

    Args:
        model: the parent's, from pixels to probabilities, as nothing has trained it.
        seed: decides which images, where there are many.
    """
    before, class_names = parent.before, parent.run.class_names
    is_right = before.probabilities.argmax(axis=1) == before.labels
    rows = np.flatnonzero(is_right & np.isin(before.splits, (TRAIN, VAL)))
    n_images = max(MOST_IMAGES, MOST_OF_CLASS * len(class_names))
    rows = draw_evenly(rows, before.labels[rows], n_images, seed)
    store = PixelStore(parent.paths, parent.run.recipe, memory_bytes=0)
    answers: list[np.ndarray] = []
    for pixels in map_batches(store.read, in_batches(rows, _BATCH), 1):
        said = model(pixels[:, :, ::-1].astype(np.float32), training=False)
        answers.append(np.asarray(said).argmax(axis=1))
        on_progress("Mirrored images", sum(map(len, answers)), len(rows))
    said_of = np.concatenate(answers) if answers else np.empty(0, np.int64)
    return judge_mirrored(before.labels[rows], said_of, class_names)


def judge_mirrored(labels: np.ndarray, answers: np.ndarray, class_names: list[str]) -> Mirrored:
    """What the answers on mirrored images show.

    Args:
        labels: int (n,), which the head says of the images as they are.
        answers: int (n,), what it says of the mirrored ones.
    """
    is_same = answers == labels
    counts = np.bincount(labels, minlength=len(class_names))
    kept = np.bincount(labels[is_same], minlength=len(class_names))
    is_known = counts >= FEWEST_OF_CLASS
    shares = np.where(is_known, kept / np.maximum(counts, 1), np.inf)
    if not is_known.any():
        return Mirrored(len(labels), 0.0, "", 0.0)
    worst = int(shares.argmin())
    return Mirrored(len(labels), float(is_same.mean()), class_names[worst], float(shares[worst]))


def draw_evenly(rows: np.ndarray, labels: np.ndarray, n_images: int, seed: int) -> np.ndarray:
    """So many of the rows, in order, of each class as many as of the others where it has them.

    Args:
        labels: int, of each of the rows.
        seed: decides which.
    """
    rng = np.random.default_rng([seed, 3])
    order = rng.permutation(len(rows))
    turn = np.empty(len(rows), np.int64)  # when a row is drawn of its class
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        turn[of_class] = np.arange(len(of_class))
    return np.sort(rows[np.argsort(turn, kind="stable")[:n_images]])
