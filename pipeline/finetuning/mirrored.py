"""Whether a mirrored image is the same thing: what the frozen head says of the run's own images.

A mirrored flower is a flower, a mirrored b is a d, and some road signs point the other way. Where
nobody said whether to mirror images while training, this decides it.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pipeline.finetuning.epoch_passes import row_batches
from pipeline.finetuning.parent import Parent
from pipeline.finetuning.pixels import PixelStore
from pipeline.images.splits import TRAIN, VAL
from pipeline.runs.scores import mean_log_loss
from pipeline.system.keras_on_tensorflow import keras
from pipeline.system.parallel import map_batches
from pipeline.system.progress import OnProgress

# Of the images that the head has right: how many times its log-loss may be when they are mirrored,
# and nats more, since where it is all but 0 any change is many times as much. Flowers had 1.2 to
# 1.5 times, digits 5 to 15 times, animals less than 0.002 nats more (docs/fine-tuning.md).
MOST_TIMES, MOST_NATS = 2.0, 0.02
LEAST_CLASS_SHARE = 0.5  # of each class, right when mirrored, too
MOST_IMAGES, MOST_OF_CLASS = 300, 10  # so many in all, or of each class if that is more
FEWEST_OF_CLASS = 5  # a class of fewer says nothing
_BATCH = 32


@dataclass(frozen=True)
class Mirrored:
    """What is left of the right answers when the images are mirrored.

    Args:
        n_images: that the head has right.
        share: of them, right when mirrored, too, 0..1.
        losses: mean log-loss of them as they are, and mirrored.
        worst: the class that loses most; empty where there are too few images to tell.
        worst_share: of its images, right when mirrored, too.
    """

    n_images: int
    share: float
    losses: tuple[float, float]
    worst: str
    worst_share: float

    @property
    def are_same(self) -> bool:
        before, mirrored = self.losses
        is_as_sure = mirrored <= MOST_TIMES * before + MOST_NATS
        return bool(self.worst) and is_as_sure and self.worst_share >= LEAST_CLASS_SHARE

    def describe(self) -> str:
        """What was seen and what follows from it, in a sentence."""
        if not self.worst:
            return (
                f"The head has {FEWEST_OF_CLASS} images of no class right, so whether mirrored "
                "ones are the same is not known, and none are mirrored."
            )
        what = (
            f"Of {self.n_images:,} images that the head has right it has {self.share:.0%} right "
            f"mirrored, of class {self.worst} {self.worst_share:.0%}, and their log-loss goes "
            f"from {self.losses[0]:.3f} to {self.losses[1]:.3f}: "
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
    size = parent.run.recipe.image_size
    answers: list[np.ndarray] = []

    @tf.function(input_signature=[tf.TensorSpec((None, size, size, 3))])
    def predict(pixels: tf.Tensor) -> tf.Tensor:  # in a graph: three times as fast on a CPU
        return model(pixels, training=False)

    for pixels in map_batches(store.read, row_batches(rows, _BATCH), 1):
        answers.append(predict(pixels[:, :, ::-1].astype(np.float32)).numpy())
        on_progress("Mirrored images", sum(map(len, answers)), len(rows))
    said_of = np.concatenate(answers) if answers else np.empty((0, len(class_names)))
    return judge_mirrored(before.labels[rows], before.probabilities[rows], said_of, class_names)


def judge_mirrored(
    labels: np.ndarray, before: np.ndarray, mirrored: np.ndarray, class_names: list[str]
) -> Mirrored:
    """What the answers on mirrored images show.

    Args:
        labels: int (n,), of images that the head has right as they are.
        before, mirrored: (n, n_classes), its probabilities for them as they are, and mirrored.
    """
    is_same = mirrored.argmax(axis=1) == labels
    counts = np.bincount(labels, minlength=len(class_names))
    kept = np.bincount(labels[is_same], minlength=len(class_names))
    is_known = counts >= FEWEST_OF_CLASS
    shares = np.where(is_known, kept / np.maximum(counts, 1), np.inf)
    if not is_known.any():
        return Mirrored(len(labels), 0.0, (0.0, 0.0), "", 0.0)
    worst = int(shares.argmin())
    losses = mean_log_loss(labels, before), mean_log_loss(labels, mirrored)
    share, worst_share = float(is_same.mean()), float(shares[worst])
    return Mirrored(len(labels), share, losses, class_names[worst], worst_share)


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
