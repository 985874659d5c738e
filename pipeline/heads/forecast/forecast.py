"""What more training images would bring: accuracies with fewer, and with up to four times more."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.errors import ParameterError, SplitError
from pipeline.heads.class_weights import weigh_every_class
from pipeline.heads.few_images.shots import FEW_IMAGES_C
from pipeline.heads.forecast.band import CONFIDENCE, find_draw_variance, forecast_curve
from pipeline.heads.forecast.draws import require_enough
from pipeline.heads.forecast.learning_curve import CurveRows, LearningCurve, measure_curve
from pipeline.heads.head import FeatureArray
from pipeline.runs.scores import wilson_interval
from pipeline.system.printable import count
from pipeline.system.progress import OnProgress

MOST_TIMES = 4.0
TIMES = (1.5, 2.0, 3.0, 4.0)
_SAID = (2.0, 4.0)
_WORDS = {2.0: "Twice", 4.0: "Four times"}


@dataclass(frozen=True)
class Accuracy:
    """An accuracy at a number of training images; `low` and `high` hold 95% of what one head gets.

    Args:
        n_images: that train.
        mean: 0..1.
        low, high: 0..1. Of a size that was measured they are those of heads on other images of
            that number; of a forecast, those of a head on the present images and further ones.
            All are scored on the same images.
    """

    n_images: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """How accuracy grew with the number of training images, and how it would go on.

    Args:
        measured: from about five images a class to all, rising.
        ahead: further sizes, rising.
        n_scored: images that were scored; without a split of their own a fifth of the training
            images was, in turn.
        is_in_turn: whether that was so.
        C: inverse strength of the penalty of the logistic head that was fitted on each size.
        n_draws: heads at each size.
    """

    measured: list[Accuracy]
    ahead: list[Accuracy]
    n_scored: int
    is_in_turn: bool
    C: float
    n_draws: int

    @property
    def now(self) -> Accuracy:
        """With all images."""
        return self.measured[-1]

    def at(self, times: float) -> Accuracy | None:
        """With so many times the images; None where that was not forecast."""
        n_images = round(times * self.now.n_images)
        return next((one for one in self.ahead if one.n_images == n_images), None)

    def describe(self) -> list[str]:
        """Sentences for people."""
        now = self.now
        sentences = [
            f"With {count(now.n_images, 'training image')} a logistic head has {now.mean:.1%} of "
            f"{count(self.n_scored, 'image')} right."
        ]
        for times in _SAID:
            found = self.at(times)
            if found is not None:
                gains = f"{_sign(found.low - now.mean)} to {_sign(found.high - now.mean)} points"
                sentences.append(
                    f"{_WORDS[times]} the images ({found.n_images:,}): {gains}, {found.low:.1%} to "
                    f"{found.high:.1%} of the same images."
                )
        last = self.ahead[-1]
        if now.n_images < last.n_images < MOST_TIMES * now.n_images:
            times = last.n_images / now.n_images
            sentences.append(
                f"No more than {times:.2g} times the images is forecast: smaller numbers were "
                "measured over no wider a range."
            )
        low, high = wilson_interval(now.mean * self.n_scored, self.n_scored)
        sentences.append(
            f"On other images than these the accuracy now lies between {low:.1%} and {high:.1%}."
        )
        return sentences

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "confidence": CONFIDENCE, "sentences": self.describe()}


def forecast_accuracy(
    features: FeatureArray,
    labels: np.ndarray,
    is_train: np.ndarray,
    is_scored: np.ndarray | None = None,
    *,
    class_names: Sequence[str] | None = None,
    units: np.ndarray | None = None,
    C: float = FEW_IMAGES_C,
    class_weight: str | None = None,
    times: Sequence[float] = TIMES,
    seed: int = 0,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Forecast:
    """Measures accuracy with fewer training images and forecasts it with more.

    A logistic head is fitted on random parts of the training images, each about 0.7 times as many
    as the next (or half as many, where there are many), down to five a class, ten times over (or
    five), and scored on the same other images. A piecewise power law is fitted to the errors and
    carried on, to four times the images at most, and no further ahead than smaller numbers reach
    back.

    Args:
        features: float32 `(n_samples, n_features)`, finite: an array, or anything sliced like one.
        labels: int `(n_samples,)`, indices of classes.
        is_train: bool `(n_samples,)`, rows that train.
        is_scored: bool `(n_samples,)`, rows that judge and do not train; None = a fifth of the
            training rows in turn.
        class_names: for messages; None = numbers.
        units: int `(n_samples,)`, the same for rows that belong together, such as equal images;
            None = each is alone.
        C: inverse strength of the head's penalty, as scikit-learn has it.
        class_weight: as heads take it.
        times: how many times the images to forecast for, each above 1 and at most 4.
        seed: decides the draws.
        on_progress: called with a stage, the number of draws done and to do.

    Returns:
        The `Forecast`.

    Raises:
        ParameterError: `times` out of range, or a feature is not finite.
        SplitError: fewer than five training images of a class or ten a class on average, fewer
            than two classes, or no rows to score.
    """
    _require_near(times)
    train = np.flatnonzero(is_train)
    n_classes = len(class_names) if class_names is not None else int(labels[train].max()) + 1
    names = list(map(str, class_names if class_names is not None else range(n_classes)))
    if n_classes < 2:
        raise SplitError(f"Expected at least two classes to tell apart. Received: {n_classes}")
    require_enough(labels[train], names)
    scored = None if is_scored is None else np.flatnonzero(is_scored)
    if scored is not None and not len(scored):
        raise SplitError("There are no images to score. Expected some in `is_scored`. Received: 0")
    weights = weigh_every_class(class_weight, labels[train], names)
    alone = np.arange(len(labels)) if units is None else units
    rows = CurveRows(features, labels, train, scored, alone, weights, C)
    curve = measure_curve(rows, seed, on_progress)
    n_images, span = curve.sizes[-1], curve.sizes[-1] / curve.sizes[0]
    wanted = np.array([round(n_images * one) for one in sorted(times) if one <= span + 0.05])
    band = forecast_curve(curve, wanted, seed)
    ahead = zip(wanted.tolist(), band.mean, band.low, band.high, strict=True)
    return Forecast(
        measured=_describe_measured(curve),
        ahead=[Accuracy(n, float(mean), float(low), float(high)) for n, mean, low, high in ahead],
        n_scored=len(train) if scored is None else len(scored),
        is_in_turn=scored is None,
        C=float(C),
        n_draws=len(curve.accuracies),
    )


def _require_near(times: Sequence[float]) -> None:
    wrong = [one for one in times if not 1 < one <= MOST_TIMES]
    if wrong or not len(times):
        raise ParameterError(
            f"Expected `times` to be numbers above 1 and up to {MOST_TIMES:g}: further ahead "
            f"nobody can tell. Received: {list(times)}",
            "times",
        )


def _describe_measured(curve: LearningCurve) -> list[Accuracy]:
    from scipy.special import stdtrit

    factor = stdtrit(len(curve.accuracies) - 1, (1 + CONFIDENCE) / 2)
    means = curve.accuracies.mean(axis=0)
    differences = curve.accuracies - curve.accuracies[:, -1:]
    of_all = find_draw_variance(curve) / curve.sizes[-1]
    half = factor * np.sqrt(differences.var(axis=0, ddof=1) + of_all)
    return [
        Accuracy(n, float(mean), float(max(0, mean - far)), float(min(1, mean + far)))
        for n, mean, far in zip(curve.sizes, means, half, strict=True)
    ]


def _sign(share: float) -> str:
    """A difference of accuracies in points, with its sign."""
    points = round(100 * share, 1)
    return f"{points:+.1f}" if points else "0.0"
