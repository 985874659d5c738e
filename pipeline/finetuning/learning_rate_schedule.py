"""The learning rate over the steps of a fine-tuning: a linear warm-up, then a cosine."""

import math

FINAL_SHARE = 0.01


def learning_rate_at(step: int, n_steps: int, greatest: float, warmup: float) -> float:
    """The rate of a step: a linear warm-up and a cosine down to a hundredth.

    Source of the cosine: Loshchilov and Hutter, "SGDR", 2017, equation 5, without restarts.

    Args:
        step: 0..`n_steps` - 1.
        n_steps: of all epochs together.
        greatest: the rate at the end of the warm-up.
        warmup: share of the steps, 0..1.
    """
    n_warmup = max(1, round(warmup * n_steps))
    if step < n_warmup:
        return greatest * (step + 1) / n_warmup
    progress = (step - n_warmup + 1) / max(1, n_steps - n_warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return greatest * (FINAL_SHARE + (1 - FINAL_SHARE) * cosine)
