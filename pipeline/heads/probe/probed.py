"""What a probe found: a line for each candidate, and which one it recommends, and why."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.heads.probe.costs import Costs
from pipeline.heads.probe.judge import CONFIDENCE, Difference, Judge
from pipeline.heads.probe.measured import Measured
from pipeline.heads.probe.search import rank
from pipeline.runs.scores import wilson_interval
from pipeline.system.printable import count

# Of accuracy: a candidate that is no further below the best may be recommended for its speed.
TOLERANCE = 0.005
_ENOUGH = 0.8  # of the images that the best was tried on: so many must speak for another


@dataclass(frozen=True)
class Tried:
    """A backbone at an image size, as far as it was tried.

    Args:
        backbone: its name.
        weights: `imagenet`, or the path of a file.
        image_size: pixels.
        n_images: of the sample that were scored; 0 where it was not tried.
        accuracy: of ridge heads, each image scored by the one fitted without it, 0..1; None where
            it was not tried, as in the next two.
        interval: 95% of it, on other images than these.
        difference: from the best on the same images.
        rate: images a second, from file to features; measured, or foretold by what was.
        minutes: that the whole data set takes.
        extract_minutes: that `extract` will take: it finds what the probe embedded.
        problem: why it cannot be used or was not tried; empty where it was.
    """

    backbone: str
    weights: str
    image_size: int
    n_images: int
    accuracy: float | None
    interval: tuple[float, float] | None
    difference: Difference | None
    rate: float
    minutes: float
    extract_minutes: float
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.backbone} at {self.image_size} pixels"

    @property
    def is_certainly_worse(self) -> bool:
        return self.difference is not None and self.difference.is_certainly_worse


@dataclass(frozen=True)
class Probe:
    """What `frostline.probe` found.

    Args:
        tried: the best first, then those that were not tried.
        recommended: one of them.
        reason: why that one, in a sentence or two.
        data: as it was named.
        extract_options: with which `frostline.extract` takes it; what is as by default is left out.
        n_images: of the sample.
        n_classes: of the sample.
        n_total: images of the data set.
        seconds: that it took.
        notes: sentences for people.
    """

    tried: list[Tried]
    recommended: Tried
    reason: str
    data: str
    extract_options: dict[str, Any]
    n_images: int
    n_classes: int
    n_total: int
    seconds: float
    notes: list[str]

    @property
    def best(self) -> Tried:
        """The one with the highest accuracy."""
        return self.tried[0]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "tried": [asdict(one) for one in self.tried],
            "recommended": {
                "backbone": self.recommended.backbone,
                "weights": self.recommended.weights,
                "image_size": self.recommended.image_size,
            },
            "reason": self.reason,
            "confidence": CONFIDENCE,
            "n_images": self.n_images,
            "n_classes": self.n_classes,
            "n_total": self.n_total,
            "seconds": self.seconds,
            "notes": self.notes,
        }


def describe_all(contenders: Sequence[Measured], judge: Judge, n_total: int) -> list[Tried]:
    """A line for each candidate: the best first, then those that were not tried.

    Args:
        n_total: images of the data set.
    """
    costs = Costs(contenders)
    ranked = rank([one for one in contenders if one.n_tried and not one.problem], judge)
    others = [one for one in contenders if one not in ranked]
    found = []
    for one in [*ranked, *others]:
        rate = costs.rate(one)
        n_left = max(0, n_total - one.n_kept)
        seconds = n_left / rate + (costs.open_seconds(one) if n_left else 0)
        accuracy = interval = difference = None
        n_images = 0
        if one in ranked:
            left_out = judge(one, one.n_tried)
            accuracy, n_images = left_out.accuracy, len(left_out.is_right)
            interval = wilson_interval(int(left_out.is_right.sum()), n_images)
            difference = judge.compare(one, ranked[0])
        found.append(
            Tried(
                one.candidate.recipe.backbone,
                one.candidate.weights_name,
                one.candidate.image_size,
                n_images,
                accuracy,
                interval,
                difference,
                rate,
                n_total / rate / 60,
                seconds / 60,
                one.problem or ("" if one in ranked else "there was no time to try it"),
            )
        )
    return found


def recommend(tried: Sequence[Tried]) -> tuple[Tried, str]:
    """The quickest of those whose accuracy is as good as the best, and why.

    As good is what lies no more than half a point below the best on the same images, and was
    tried on nearly as many. What is less certain than that is not traded for time.
    """
    best = tried[0]
    as_good = [
        one
        for one in tried
        if one.difference is not None
        and one.n_images >= _ENOUGH * best.n_images
        and one.difference.mean >= -TOLERANCE
        and not one.is_certainly_worse
    ]
    chosen = max(as_good, key=lambda one: one.rate)
    n_rivals = sum(
        one.difference is not None and one is not best and not one.is_certainly_worse
        for one in tried
    )
    if chosen is best:
        words = f"{best} has the most images right"
    else:
        assert chosen.difference is not None
        words = (
            f"{chosen} is the quickest of those no more than {100 * TOLERANCE:g} points below the "
            f"best ({best}): {100 * chosen.difference.mean:+.1f} points, "
            f"{chosen.rate / best.rate:.1f} times as fast"
        )
    certainty = (
        f"; {count(n_rivals, 'other')} may be as good, for all that these images tell"
        if n_rivals
        else "; all others are certainly worse"
    )
    return chosen, f"{words}{certainty if len(tried) > 1 else ''}."
