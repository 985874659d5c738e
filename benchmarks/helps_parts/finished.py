"""What may be made of a finished fine-tuning without training more, each scored."""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.helps_parts.judges import Judges, Score, View, choose
from benchmarks.helps_parts.weights import Recorder, Weights, mix

ALPHAS = (0.2, 0.4, 0.6, 0.8)
LAST = (2, 4)
# A side relative to the one that was trained at.
LARGER = 8 / 7


class Finished:
    """One fine-tuning's weights before the judges; what was asked once is known.

    Args:
        line: the frost line that was trained from.
    """

    def __init__(self, judges: Judges, line: str, recorder: Recorder):
        self.judges = judges
        self.line = line
        self._recorder = recorder
        self._known: dict[tuple, np.ndarray] = {}

    def scores(self, *, are_all: bool) -> Iterator[tuple[str, Score]]:
        """(name, scores) of each way; of the usual one with an empty name.

        Args:
            are_all: of those that take longer, too.
        """
        ask = self.judges.score
        last = len(self._recorder.epochs) - 1
        yield "frozen", ask(lambda _: [self._epoch(0)])
        yield "", ask(lambda _: self._epochs)
        yield "last epoch, not chosen", ask(lambda _: [self._epoch(last)])
        for momentum in (0.9, 0.98):
            yield f"average {momentum}", ask(lambda _, m=momentum: self._averages(m))
        for momentum in self._recorder.averages:
            name = f"average {momentum}, last epoch, not chosen"
            yield name, ask(lambda _, m=momentum: [self._average(m, last)])
        for n in LAST:
            epochs = range(last + 1 - n, last + 1)
            yield f"mean of the last {n} epochs", ask(lambda _, e=epochs: [self._mean(e)])
            name = f"mean of the last {n} epochs, or the frozen head"
            yield name, ask(lambda _, e=epochs: [self._epoch(0), self._mean(e)])
        shares = (*ALPHAS, 1.0)
        name = f"WiSE-FT of the mean of the last {LAST[-1]} epochs"
        yield name, ask(lambda _: [self._epoch(0), *map(self._towards_mean, shares)])
        for alpha in (0.6, 0.8):
            name = f"WiSE-FT {alpha} of the mean of the last {LAST[-1]} epochs, not chosen"
            yield name, ask(lambda _, a=alpha: [self._towards_mean(a)])
        yield "WiSE-FT of the kept epoch", ask(lambda s: self._towards(self.kept(s)))
        yield "WiSE-FT of the last epoch", ask(lambda _: self._towards(last))
        for alpha in (0.5, 0.7):
            name = f"WiSE-FT {alpha} of the last epoch, not chosen"
            yield name, ask(lambda _, a=alpha: [self._between(last, a)])
        if are_all:
            yield "greedy mean of epochs", ask(self._greedy)
            yield from self._views()

    def kept(self, chooser: int) -> int:
        """The epoch that a split keeps."""
        return choose(self._epochs, self.judges.labels, self.judges.splits == chooser)

    def kept_weights(self, chooser: int) -> Weights:
        return self._recorder.epochs[self.kept(chooser)]

    def kept_answers(self, chooser: int) -> np.ndarray:
        return self._epochs[self.kept(chooser)]

    def keep(self, path: Path) -> None:
        """Writes all probabilities that were asked for, for other questions."""
        asked = {" ".join(map(str, key)): answers for key, answers in self._known.items()}
        np.savez(path, labels=self.judges.labels, splits=self.judges.splits, **asked)

    def _views(self) -> Iterator[tuple[str, Score]]:
        """The kept epoch before other views of the images."""
        own = self.judges.size
        large = round(own * LARGER / 16) * 16
        ways: dict[str, list[View]] = {
            "flips": [(own, False), (own, True)],
            "at 8/7 of the size": [(large, False)],
            "two sizes": [(own, False), (large, False)],
            "two sizes and flips": [(s, f) for s in (own, large) for f in (False, True)],
        }
        for name, views in ways.items():

            def average(chooser: int, views: list[View] = views) -> list[np.ndarray]:
                seen = [self._seen(self.kept(chooser), view) for view in views]
                return [np.mean(seen, axis=0)]

            yield name, self.judges.score(average)

    @cached_property
    def _epochs(self) -> list[np.ndarray]:
        return [self._epoch(number) for number in range(len(self._recorder.epochs))]

    def _epoch(self, number: int) -> np.ndarray:
        return self._ask(("epoch", number), lambda: self._recorder.epochs[number])

    def _average(self, momentum: float, epoch: int) -> np.ndarray:
        weights = self._recorder.averages[momentum]
        return self._ask(("average", momentum, epoch), lambda: weights[epoch])

    def _averages(self, momentum: float) -> list[np.ndarray]:
        numbers = range(1, len(self._recorder.epochs))
        return [self._epoch(0), *(self._average(momentum, number) for number in numbers)]

    def _mean(self, epochs: range | tuple[int, ...]) -> np.ndarray:
        several = [self._recorder.epochs[number] for number in epochs]
        return self._ask(("mean", tuple(epochs)), lambda: mix(several))

    def _between(self, epoch: int, alpha: float) -> np.ndarray:
        ends = [self._recorder.epochs[0], self._recorder.epochs[epoch]]
        return self._ask(("between", epoch, alpha), lambda: mix(ends, [1 - alpha, alpha]))

    def _towards(self, epoch: int) -> list[np.ndarray]:
        between = [self._between(epoch, alpha) for alpha in ALPHAS]
        return [self._epoch(0), *between, self._epoch(epoch)]

    def _towards_mean(self, alpha: float) -> np.ndarray:
        """Between the frozen head and the mean of the last epochs."""
        last = len(self._recorder.epochs)
        several = [self._recorder.epochs[n] for n in (0, *range(last - LAST[-1], last))]
        shares = [1 - alpha] + [alpha / LAST[-1]] * LAST[-1]
        return self._ask(("towards mean", alpha), lambda: mix(several, shares))

    def _greedy(self, chooser: int) -> list[np.ndarray]:
        """Means of more and more epochs: the best first, then each that lowers the loss."""
        rows = self.judges.splits == chooser
        labels = self.judges.labels
        left = set(range(1, len(self._recorder.epochs)))
        taken: tuple[int, ...] = ()
        best = self._epoch(0)
        order = sorted(left, key=lambda n: self.judges.loss(self._epoch(n), rows))
        for number in order:
            tried = self._mean((*taken, number))
            if choose([best, tried], labels, rows):
                taken, best = (*taken, number), tried
        return [best]

    def _seen(self, epoch: int, view: View) -> np.ndarray:
        weights = self._recorder.epochs[epoch]
        return self._ask(("epoch", epoch, view), lambda: weights, view)

    def _ask(self, key: tuple, make: Callable[[], Weights], view: View | None = None) -> np.ndarray:
        if key not in self._known:
            self._known[key] = self.judges.ask(self.line, make(), view)
        return self._known[key]


def score_together(finished: list[Finished]) -> Iterator[tuple[str, Score]]:
    """Several fine-tunings from one head: their weights averaged, and their answers."""
    judges = finished[0].judges
    lowest = max(finished, key=lambda one: len(one.kept_weights(1))).line

    def soup(chooser: int, several: list[Finished]) -> np.ndarray:
        places = {place for one in several for place in one.kept_weights(chooser)}
        whole = [judges.fill(one.kept_weights(chooser), places) for one in several]
        return judges.ask(lowest, mix(whole))

    def greedy(chooser: int) -> list[np.ndarray]:
        rows = judges.splits == chooser
        alone = {one: one.kept_answers(chooser) for one in finished}
        order = sorted(finished, key=lambda one: judges.loss(alone[one], rows))
        taken, best = order[:1], alone[order[0]]
        for one in order[1:]:
            tried = soup(chooser, [*taken, one])
            if judges.loss(tried, rows) < judges.loss(best, rows):
                taken, best = [*taken, one], tried
        return [best]

    def answers(chooser: int) -> list[np.ndarray]:
        return [np.mean([one.kept_answers(chooser) for one in finished], axis=0)]

    def best_one(chooser: int) -> list[np.ndarray]:
        rows = judges.splits == chooser
        alone = [one.kept_answers(chooser) for one in finished]
        return [min(alone, key=lambda probabilities: judges.loss(probabilities, rows))]

    yield "the best of all", judges.score(best_one)
    yield "uniform soup of all", judges.score(lambda chooser: [soup(chooser, finished)])
    yield "greedy soup of all", judges.score(greedy)
    yield "mean answer of all", judges.score(answers)
