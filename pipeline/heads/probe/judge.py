"""Which candidate is better on the same images, and whether that is certain."""

from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from pipeline.heads.probe.left_out import LeftOut, leave_each_out
from pipeline.heads.probe.measured import Measured
from pipeline.heads.probe.sample import Sample

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """By how much one candidate's accuracy lies above another's on the same images.

    Args:
        mean: -1..1.
        low, high: of 95%.
    """

    mean: float
    low: float
    high: float

    @property
    def is_certainly_worse(self) -> bool:
        return self.high < 0


@dataclass
class Judge:
    """Scores candidates on the first images of a sample, each number of images once."""

    sample: Sample
    _found: dict[tuple[str, int], LeftOut] = field(default_factory=dict)

    def __call__(self, one: Measured, n_images: int) -> LeftOut:
        """What the first `n_images` images score with this candidate; those without a row are left
        out, which are the same ones for all candidates.
        """
        key = str(one.candidate), n_images
        if key not in self._found:
            has_row = one.has_row[:n_images]
            places = np.flatnonzero(has_row)
            self._found[key] = leave_each_out(
                one.features[: len(places)], self.sample.labels[places], self.sample.units[places]
            )
        return self._found[key]

    def compare(self, one: Measured, other: Measured) -> Difference:
        """On the images that both were tried on."""
        n_images = min(one.n_tried, other.n_tried)
        return compare(self(one, n_images), self(other, n_images))


def compare(one: LeftOut, other: LeftOut) -> Difference:
    """The difference of two accuracies on the same images.

    Source: D. G. Bonett and R. M. Price, "Adjusted Wald confidence interval for a difference of
    binomial proportions based on paired data", J. Educ. Behav. Stat. 37 (2012): two further images
    of which each candidate alone has one right. Images that were left out together count as one
    draw of a cluster.
    """
    gains = one.is_right.astype(float) - other.is_right
    n = len(gains) + 2
    mean = gains.sum() / n
    _, units = np.unique(one.units, return_inverse=True)
    apart = np.bincount(units, weights=gains - mean)
    deviation = np.sqrt((np.square(apart).sum() + (1 - mean) ** 2 + (1 + mean) ** 2) / n**2)
    reach = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * float(deviation)
    return Difference(float(gains.mean()), float(mean) - reach, float(mean) + reach)
