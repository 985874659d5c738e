"""By how much a choice among many settings flatters the one that was chosen.

The best of thirty on one validation set is partly the luckiest of thirty. The choice itself is
repeated on resampled images, and each time scored on the images that were left out: the mean of
that is what to expect on images that did not choose (bootstrap bias correction; Tsamardinos,
Greasidou and Borboudakis, "Bootstrapping the out-of-sample predictions for efficient and accurate
cross-validation", Machine Learning 107, 2018).
"""

from dataclasses import dataclass

import numpy as np

from pipeline.system.printable import count

N_RESAMPLES = 1000
_VALUES_AT_ONCE = 2**22
_LEAST_RESAMPLES = 100  # of those that leave an image out


@dataclass(frozen=True)
class SelectionBias:
    """A choice by the log-loss of one split, and what it says of other images.

    Args:
        n_settings: among so many.
        n_images: that chose.
        n_resamples: how often the choice was repeated.
        accuracy, log_loss: of what was chosen, on the images that chose it.
        likely_accuracy, likely_log_loss: to expect on images that did not choose.
        accuracy_interval, log_loss_interval: 95% of the resamples lie in it, (low, high).
    """

    n_settings: int
    n_images: int
    n_resamples: int
    accuracy: float
    log_loss: float
    likely_accuracy: float
    likely_log_loss: float
    accuracy_interval: tuple[float, float]
    log_loss_interval: tuple[float, float]

    def describe(self) -> str:
        """Two sentences for people."""
        low, high = self.accuracy_interval
        return (
            f"The best of {count(self.n_settings, 'setting')} flatters: accuracy "
            f"{self.accuracy:.4f} and log-loss {self.log_loss:.4f} on the "
            f"{count(self.n_images, 'validation image')} that chose it, about "
            f"{self.likely_accuracy:.4f} ({low:.4f}-{high:.4f}) and {self.likely_log_loss:.4f} on "
            f"others. (The choice was repeated on {self.n_resamples:,} resamples of these images, "
            "and scored on those left out.)"
        )


def measure_selection_bias(
    losses: np.ndarray,
    is_right: np.ndarray,
    units: np.ndarray,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> SelectionBias | None:
    """Repeats the choice of the lowest mean loss on resamples of the images.

    Args:
        losses: float64 `(n_settings, n_images)`.
        is_right: bool `(n_settings, n_images)`.
        units: int `(n_images,)`, equal for images that belong together (equal ones, those of a
            group): they are drawn and left out together.
        seed: of the resamples.

    Returns:
        The `SelectionBias`; None where there are too few different images to leave any out.
    """
    n_settings, n_images = losses.shape
    best = int(losses.mean(axis=1).argmin())
    place = np.unique(units, return_inverse=True)[1].ravel()
    n_units = int(place.max()) + 1
    random = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    step = max(1, _VALUES_AT_ONCE // max(n_images, n_settings))
    for start in range(0, n_resamples, step):
        n_now = min(step, n_resamples - start)
        drawn = random.multinomial(n_units, np.full(n_units, 1 / n_units), n_now)[:, place]
        is_out = drawn == 0
        usable = is_out.any(axis=1)
        drawn, is_out = drawn[usable].astype(np.float64), is_out[usable].astype(np.float64)
        chosen = (drawn @ losses.T).argmin(axis=1)
        n_out = is_out.sum(axis=1)
        rows = np.arange(len(chosen))
        found.append(
            np.stack(
                [
                    (is_out @ is_right.T.astype(np.float64))[rows, chosen] / n_out,
                    (is_out @ losses.T)[rows, chosen] / n_out,
                ]
            )
        )
    scores = np.concatenate(found, axis=1)
    if scores.shape[1] < min(_LEAST_RESAMPLES, n_resamples):
        return None
    low, high = np.percentile(scores, [2.5, 97.5], axis=1)
    return SelectionBias(
        n_settings=n_settings,
        n_images=n_images,
        n_resamples=scores.shape[1],
        accuracy=float(is_right[best].mean()),
        log_loss=float(losses[best].mean()),
        likely_accuracy=float(scores[0].mean()),
        likely_log_loss=float(scores[1].mean()),
        accuracy_interval=(float(low[0]), float(high[0])),
        log_loss_interval=(float(low[1]), float(high[1])),
    )
