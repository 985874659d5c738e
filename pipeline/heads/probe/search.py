"""The plan of a probe: many candidates on few images, then fewer candidates on more.

Each backbone is tried at its own size first. One that is certainly worse there than the best, and
by more than another size makes up for, is not tried further. The others are tried at all sizes that
there is time for; then the better half of them on more images, and so on ("successive halving",
Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
AISTATS 2016), until all that may be the best were tried on all images or time is up.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.heads.probe.costs import Costs
from pipeline.heads.probe.judge import Judge
from pipeline.heads.probe.measured import Measured
from pipeline.system.progress import OnProgress

FIRST_IMAGES = 100
_FIRST_PER_CLASS = 5
_SIZE_BRINGS = 0.06  # of accuracy: more than that no other image size was seen to bring
_WIDE_SHARE = 0.5  # of the time that is left: for all sizes; the rest is for the better ones
_LEAST_MORE = 16  # images: fewer more tell nothing
_FEW = 3  # candidates: among so many nothing is halved any more

# Has rows of the first so many images of a candidate, until a deadline.
Embed = Callable[[Measured, int, float], None]


@dataclass
class Search:
    """Measures candidates until a deadline.

    Args:
        contenders: all candidates.
        n_images: of the sample.
        n_classes: of the sample.
        embed: embeds; a candidate that cannot be used gets its `problem` from it.
        judge: says how good one is.
        deadline: of the clock.
        clock: gives seconds.
        on_progress: called with the stage, the candidates done and to do.
    """

    contenders: Sequence[Measured]
    n_images: int
    n_classes: int
    embed: Embed
    judge: Judge
    deadline: float
    clock: Callable[[], float] = time.monotonic
    on_progress: OnProgress = lambda stage, done, total: None

    def __post_init__(self) -> None:
        self._costs = Costs(self.contenders)
        self._n_first = min(self.n_images, max(FIRST_IMAGES, _FIRST_PER_CLASS * self.n_classes))

    def run(self) -> None:
        """Measures; what became of it stands in the contenders."""
        firsts = [one for one in self.contenders if one.candidate.is_first]
        firsts.sort(key=lambda one: one.candidate.multiply_adds or 0.0)
        self._visit(firsts, self._n_first, "Trying backbones")
        while self._widen() or self._halve():
            pass

    def _widen(self) -> bool:
        """Tries sizes that were not tried yet, of the backbones that are in question; whether it
        could.
        """
        measured = [one for one in self.contenders if self._is_measured(one)]
        firsts = self._rank([one for one in measured if one.candidate.is_first])
        if not firsts:
            return False
        best = firsts[0]
        in_question = [
            one.candidate.backbone
            for one in firsts
            if one is best or self.judge.compare(one, best).high >= -_SIZE_BRINGS
        ]
        some = [
            one
            for one in self.contenders
            if one.candidate.backbone in in_question and not one.n_tried and not one.problem
        ]
        some.sort(key=lambda one: self._urgency(one, firsts))
        n_images = self._choose_number(some, measured)
        self._visit(some, n_images, "Trying image sizes")
        return any(one.n_tried for one in some)

    def _choose_number(self, some: list[Measured], measured: list[Measured]) -> int:
        """How many images untried sizes are tried on; takes away those that there is no time for.

        All images, where there is time for that and for all images of those that were measured;
        else as many as take half the time. The other half is for the better ones.
        """
        if self._costs.count_images([*some, *measured], self._left, self.n_images) == self.n_images:
            return self.n_images
        n_images = self._costs.count_images(some, _WIDE_SHARE * self._left, self.n_images)
        if n_images >= self._n_first:
            return n_images
        for share in (_WIDE_SHARE, 1.0):
            n_fit, seconds = 0, share * self._left
            for one in some:
                seconds -= self._costs.cost(one, self._n_first)
                n_fit += seconds >= 0
            if n_fit:
                break
        del some[n_fit:]
        return self._n_first

    def _urgency(self, one: Measured, firsts: list[Measured]) -> tuple[int, int, int]:
        """What is tried first: sizes next to the backbone's own, the larger before the smaller."""
        place, first = next(
            (place, first)
            for place, first in enumerate(firsts)
            if first.candidate.backbone == one.candidate.backbone
        )
        sizes = sorted(
            o.candidate.image_size
            for o in self.contenders
            if o.candidate.backbone == one.candidate.backbone
        )
        steps = sizes.index(one.candidate.image_size) - sizes.index(first.candidate.image_size)
        return abs(steps), int(steps < 0), place

    def _halve(self) -> bool:
        """Tries the better half of what is in question on more images; whether it could."""
        ranked = self._rank([one for one in self.contenders if self._is_measured(one)])
        if not ranked or self._left <= 0:
            return False
        best = ranked[0]
        in_question = [
            one
            for one in ranked
            if one is best or not self.judge.compare(one, best).is_certainly_worse
        ]
        unfinished = [one for one in in_question if one.n_tried < self.n_images]
        if not unfinished:
            return False
        n_some = max(_FEW, (len(in_question) + 1) // 2)
        some = [one for one in in_question[:n_some] if one in unfinished] or unfinished[:_FEW]
        seconds = self._left if len(some) <= _FEW else _WIDE_SHARE * self._left
        while some:
            least = min(one.n_tried for one in some)
            n_images = self._costs.count_images(some, seconds, self.n_images)
            if n_images >= min(self.n_images, least + _LEAST_MORE):
                break
            seconds = self._left
            some.pop()
        else:
            return False
        before = sum(one.n_tried for one in some)
        self._visit(some, n_images, f"Trying {len(some)} on {n_images:,} images")
        return sum(one.n_tried for one in some) > before

    def _visit(self, some: Sequence[Measured], n_images: int, stage: str) -> None:
        """Has each of some candidates tried on so many images, while there is time."""
        for done, one in enumerate(some):
            self.on_progress(stage, done, len(some))
            is_needed = one.n_tried < n_images and not one.problem
            nothing_yet = not any(self._is_measured(o) for o in self.contenders)
            if is_needed and (nothing_yet or self._costs.open_seconds(one) < self._left):
                self.embed(one, n_images, self.deadline)
        self.on_progress(stage, len(some), len(some))

    def _rank(self, some: list[Measured]) -> list[Measured]:
        """The best first, each by the images that it was tried on."""
        return rank(some, self.judge)

    @property
    def _left(self) -> float:
        """Seconds."""
        return self.deadline - self.clock()

    def _is_measured(self, one: Measured) -> bool:
        return one.n_tried > 0 and not one.problem


def rank(some: Sequence[Measured], judge: Judge) -> list[Measured]:
    """The best first. Those that were tried on more images stand before those that were tried on
    fewer, unless these do better on the same images.
    """
    ranked: list[Measured] = []
    for one in sorted(some, key=lambda o: (-o.n_tried, -score(o, judge, o.n_tried))):
        place = len(ranked)
        while place and _is_better(one, ranked[place - 1], judge):
            place -= 1
        ranked.insert(place, one)
    return ranked


def _is_better(one: Measured, other: Measured, judge: Judge) -> bool:
    n_images = min(one.n_tried, other.n_tried)
    return score(one, judge, n_images) > score(other, judge, n_images)


def score(one: Measured, judge: Judge, n_images: int) -> float:
    """What candidates are ranked by, on so many images."""
    return judge(one, n_images).accuracy
