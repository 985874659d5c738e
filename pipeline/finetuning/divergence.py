"""When training has gone astray: a loss that is not finite or grew beyond chance, lost accuracy."""

import numpy as np

MAX_DIVERGENCES = 3
RATE_AFTER_DIVERGENCE = 0.3
_LAST_STEPS = 10


class DivergedError(Exception):
    """The loss is not finite or grew beyond chance; the message says which."""


def require_bounded(losses: list[float], n_classes: int) -> None:
    """Raises a DivergedError if the last steps' losses are beyond what chance would give."""
    last = losses[-_LAST_STEPS:]
    chance = np.log(n_classes)
    if not np.isfinite(last[-1]):
        raise DivergedError(f"the loss became {last[-1]}")
    if len(last) == _LAST_STEPS and np.mean(last) > 2 * chance + 1:
        raise DivergedError(
            f"the loss of the last {_LAST_STEPS} steps rose to {np.mean(last):.1f}, chance is "
            f"{chance:.1f}"
        )


def require_sense(loss: float, accuracy: float, frozen_accuracy: float, n_classes: int) -> None:
    """Raises a DivergedError if validation lost half of what the frozen head has above chance.

    That is a step too far, not a detour.
    """
    chance = 1 / n_classes
    if not np.isfinite(loss):
        raise DivergedError(f"the validation loss became {loss}")
    if frozen_accuracy > chance + 0.1 and accuracy < (frozen_accuracy + chance) / 2:
        raise DivergedError(
            f"validation accuracy fell from {frozen_accuracy:.3f} to {accuracy:.3f}, chance is "
            f"{chance:.3f}"
        )
