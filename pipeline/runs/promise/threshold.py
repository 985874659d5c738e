"""The least probability from which on a head keeps a promise, found without promising too much.

Two sets of images are needed. Those that *choose* (validation) say which probabilities are worth
trying, and in which order. Those that *prove* trained nothing and chose nothing, not even that
order: each threshold tried is a test of its own on them, exact and at the full level, and the first
that fails ends it. That is fixed-sequence testing: however many thresholds were tried, one that
does not keep the promise is let through in at most 5% of all cases.

Sources: A. N. Angelopoulos et al., "Learn then test: calibrating predictive algorithms to achieve
risk control", 2021 (fixed-sequence testing); Y. Geifman and R. El-Yaniv, "Selective classification
for deep neural networks", NeurIPS 2017 (the promise).
"""

from dataclasses import dataclass

import numpy as np

from pipeline.runs.promise.bounds import CONFIDENCE, count_needed, lower_bound, p_value

_N_STEPS = 50  # of coverage, from every image to one in fifty
_MOST_NEEDED = 10**7  # images; a head that needs more will not do


@dataclass(frozen=True)
class Answers:
    """What a head says of images, and whether it may answer them at all.

    Args:
        confidences: (n,), the probability of the most probable class.
        is_right: bool (n,).
        may_answer: bool (n,), False for pictures unlike anything seen.
    """

    confidences: np.ndarray
    is_right: np.ndarray
    may_answer: np.ndarray

    def __len__(self) -> int:
        return len(self.confidences)

    def count(self, threshold: float) -> tuple[int, int]:
        """How many are answered, and how many of these are right."""
        is_answered = self.may_answer & (self.confidences >= threshold)
        return int(is_answered.sum()), int((is_answered & self.is_right).sum())


@dataclass(frozen=True)
class Found:
    """A threshold that keeps the promise, and what shows it.

    Args:
        threshold: the least probability that is answered; 0 = all.
        n_images, n_answered, n_right: of the images that prove.
        bound: the share of right answers that is exceeded at 95% confidence.
        n_tested: thresholds that were tried on them.
    """

    threshold: float
    n_images: int
    n_answered: int
    n_right: int
    bound: float
    n_tested: int


@dataclass(frozen=True)
class NotFound:
    """Why there is none.

    Args:
        n_images, n_answered, n_right: of the images that prove, at the first threshold.
        bound: what could be promised of these answers.
        n_needed: images that prove it in all likelihood, if the head is as good as on those that
            choose; None where no number would do.
    """

    n_images: int
    n_answered: int
    n_right: int
    bound: float
    n_needed: int | None


def find_threshold(choosing: Answers, proving: Answers, share: float) -> Found | NotFound:
    """The loosest threshold of a fixed sequence at which at least `share` of answers is right.

    Args:
        choosing: say which thresholds are tried, in which order.
        proving: trained and chose nothing; one image for each independent one.
        share: between 0 and 1.
    """
    steps = _list_steps(choosing)
    expected = [_expect(choosing, step, len(proving), share) for step in steps]
    start = int(np.argmin(expected))
    found, counts = None, (0, 0)
    for n_tested, threshold in enumerate(steps[start:], start=1):
        n_answered, n_right = counts = proving.count(threshold)
        if p_value(n_right, n_answered, share) > 1 - CONFIDENCE:
            break
        bound = lower_bound(n_right, n_answered)
        found = Found(threshold, len(proving), n_answered, n_right, bound, n_tested)
    if found is not None:
        return found
    return NotFound(
        len(proving), *counts, lower_bound(counts[1], counts[0]), _count_images(choosing, share)
    )


def _list_steps(choosing: Answers) -> list[float]:
    """Thresholds from the strictest to none at all, evenly spaced in the images they answer."""
    confidences = np.sort(choosing.confidences[choosing.may_answer])[::-1]
    if not len(confidences):
        return [0.0]
    counts = np.unique(np.linspace(0, len(confidences), _N_STEPS + 1).astype(int)[1:-1])
    steps = dict.fromkeys(float(confidences[n - 1]) for n in counts.tolist() if n)
    return [*steps, 0.0]


def _expect(choosing: Answers, threshold: float, n_images: int, share: float) -> float:
    """The p-value to be expected of so many images, from those that choose."""
    n_answered, n_right = choosing.count(threshold)
    expected = n_images * n_answered / max(1, len(choosing))
    # As if half an image more had been wrong: none of ten does not mean never.
    return p_value(expected * n_right / (n_answered + 0.5), expected, share)


def _count_images(choosing: Answers, share: float) -> int | None:
    """The number from which on the best threshold is expected to pass."""
    steps = _list_steps(choosing)

    def do(n_images: int) -> bool:
        best = min(_expect(choosing, step, n_images, share) for step in steps)
        return best <= 1 - CONFIDENCE

    most = count_needed(share)
    while not do(most):
        if most > _MOST_NEEDED:
            return None
        most *= 2
    least = most // 2
    while most - least > max(1, most // 50):
        middle = (least + most) // 2
        least, most = (least, middle) if do(middle) else (middle, most)
    return most
