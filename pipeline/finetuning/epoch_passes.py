"""What an epoch of fine-tuning goes through: the training images once, then those of validation."""

from collections.abc import Callable, Iterator

import numpy as np

from pipeline.finetuning.callbacks import NO_CALLBACKS, Callbacks
from pipeline.finetuning.inputs import Inputs
from pipeline.finetuning.judge_epochs import Scores, require_bounded, score
from pipeline.finetuning.learning_rate_schedule import learning_rate_at
from pipeline.finetuning.learning_rate_sweep import sweep_rates
from pipeline.finetuning.network import Network
from pipeline.finetuning.options import FinetuneOptions
from pipeline.images.splits import TRAIN, VAL
from pipeline.runs.predictions import Predictions
from pipeline.system.parallel import map_batches

# Inputs, targets, and weights of the images of one step.
Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


class EpochPasses:
    """Feeds a network; what an epoch sees depends on the seed and its number alone.

    Args:
        before: labels and splits of all images.
        class_weights: float (n_classes,); None for 1 each.
    """

    def __init__(
        self,
        network: Network,
        inputs: Inputs,
        before: Predictions,
        options: FinetuneOptions,
        class_weights: np.ndarray | None,
        on_progress: Callable[[str, int, int], None],
        callbacks: Callbacks = NO_CALLBACKS,
    ):
        self.n_classes = before.probabilities.shape[1]
        self._network = network
        self._inputs = inputs
        self._options = options
        self._on_progress = on_progress
        self._callbacks = callbacks
        self._labels = before.labels
        self._train_rows = np.flatnonzero(before.splits == TRAIN)
        self._val_rows = np.flatnonzero(before.splits == VAL)
        weights = np.ones(self.n_classes) if class_weights is None else class_weights
        self._weight_of_class = weights.astype(np.float32)

    def train(self, epoch: int, greatest_rate: float) -> tuple[float, float, float]:
        """One pass over the training images.

        Returns:
            Mean loss and accuracy, augmented as the images are, and the last learning rate.

        Raises:
            DivergedError: the loss is not finite or beyond chance.
            DeviceError: the device's memory is too small for the batch size.
        """
        self._network.seed_dropout(self._options.seed, epoch)
        n_rows, n_per_epoch = len(self._train_rows), self.n_batches
        sums, done, rate = np.zeros(2), 0, 0.0
        losses: list[float] = []
        for number, batch in enumerate(self._batches(epoch)):
            rate = learning_rate_at(
                (epoch - 1) * n_per_epoch + number,
                self._options.epochs * n_per_epoch,
                greatest_rate,
                self._options.warmup,
            )
            self._callbacks.begin_batch(number)
            loss, accuracy = self._network.step(*batch, rate)
            self._callbacks.end_batch(number, loss, accuracy)
            losses.append(loss)
            require_bounded(losses, self.n_classes)
            n_images = len(batch[0])
            sums += np.array([loss, accuracy]) * n_images
            done += n_images
            self._on_progress(f"Epoch {epoch}", done, n_rows)
        mean_loss, mean_accuracy = sums / n_rows
        return float(mean_loss), float(mean_accuracy), rate

    def evaluate(self) -> Scores:
        """Scores the validation images; the next batch is made ready while one is predicted."""
        rows = row_batches(self._val_rows, self._options.batch_size)
        batches = map_batches(self._inputs.plain, rows, 1)
        probabilities = np.concatenate([self._network.predict(batch) for batch in batches])
        return score(self._labels[self._val_rows], probabilities)

    def sweep_rates(self) -> list[list[float]]:
        """[rate, smoothed loss] of each step of a sweep; the network is another one afterwards."""

        def step(batch: Batch, rate: float) -> tuple[float, float]:
            return self._network.step(*batch, rate)

        self._network.seed_dropout(self._options.seed, 0)
        return sweep_rates(self._endless_batches(), step, self._on_progress)

    @property
    def n_batches(self) -> int:
        """Of an epoch."""
        return -(-len(self._train_rows) // self._options.batch_size)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """Those of one epoch, made ahead in a thread."""
        order = np.random.default_rng([self._options.seed, epoch]).permutation(self._train_rows)
        one_hot = np.eye(self.n_classes, dtype=np.float32)

        def make(task: tuple[int, np.ndarray]) -> Batch:
            number, rows = task
            labels = self._labels[rows]
            x, y = self._inputs.train(rows, one_hot[labels], epoch, number)
            return x, y, self._weight_of_class[labels]

        return map_batches(make, enumerate(row_batches(order, self._options.batch_size)), 1)

    def _endless_batches(self) -> Iterator[Batch]:
        """Batches of further and further epochs that are not trained on."""
        epoch = self._options.epochs
        while True:
            epoch += 1
            yield from self._batches(epoch)


def row_batches(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Row numbers, so many at a time."""
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
