"""How far a forecast may be off: what chance did to the curve, and what it will do to the result.

Three things differ between a forecast and what a head on more images, these among them, will get on
the same scored images:

- the curve was measured with some draws of training images: drawn again, the law would be another;
- it was measured on some scored images, whose gain is not that of all images there are;
- the further images are drawn by chance, too.

The first two are found by the bootstrap, the third from how draws differ. Of a mean over a random
part `k` of `n` images the variance is `s (1/k - 1/n)`, and that of the difference between it and a
mean over `n' > n` images, these among them, is `s (1/n - 1/n')`; accuracies are taken to vary so.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.heads.forecast.learning_curve import LearningCurve
from pipeline.heads.forecast.power_law import carry_on

N_RESAMPLES = 400
CONFIDENCE = 0.95
# Of the variance of a head by its draw. The draws of a curve are parts of the last, so that most of
# what chance did to that was done to all of them.
_SHARE_OF_ONE_HEAD = 0.25


@dataclass(frozen=True)
class Band:
    """Accuracies at sizes that were not measured, 0..1, each `(n_wanted,)`."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def forecast_curve(curve: LearningCurve, wanted: np.ndarray, seed: int) -> Band:
    """Carries a curve on, with a band of 95% for one head scored on the same images.

    Args:
        wanted: `(n_wanted,)`, numbers of training images, above the curve's last.
    """
    from scipy.special import stdtrit

    n_draws = len(curve.is_scored)
    law = _Law.of(curve, wanted)
    followed = law.follow(law.errors[None])[0]
    by_images = law.follow(_draw_images_again(curve, seed))
    gains = by_images[:, 1:] - by_images[:, :1]
    by_draws = law.follow(_draw_draws_again(curve, law, seed))[:, 1:]
    new_images = find_draw_variance(curve) * (1 / curve.sizes[-1] - 1 / wanted)
    spread = np.sqrt(by_draws.var(axis=0) + gains.var(axis=0) + new_images)
    # An accuracy moves in steps of one image, a law does not.
    half = stdtrit(n_draws - 1, (1 + CONFIDENCE) / 2) * spread + 0.5 / law.n_judges
    # On the scale of square roots, on which shares vary alike, be they near 0 or not.
    root = np.sqrt(_raise(followed[1:], law.n_judges))
    far = half / (2 * root)
    most = _lower(np.square(root + far), law.n_judges)
    least = _lower(np.square(np.maximum(root - far, 0)), law.n_judges)
    return Band(1 - followed[1:], np.maximum(1 - most, 0), 1 - least)


@dataclass(frozen=True)
class _Law:
    """The law as it is fitted to a curve's errors, or to what they are when chance is drawn again.

    Args:
        sizes: float64 `(n_sizes,)`.
        errors: mean errors `(n_sizes,)`, 0..1.
        variances: of `errors` by the draw, above 0.
        n_judges: images that each head was scored on.
        ends: the last size and the wanted ones.
    """

    sizes: np.ndarray
    errors: np.ndarray
    variances: np.ndarray
    n_judges: int
    ends: np.ndarray

    @classmethod
    def of(cls, curve: LearningCurve, wanted: np.ndarray) -> "_Law":
        sizes = np.array(curve.sizes, np.float64)
        n_judges = int(curve.is_scored.sum(axis=1).min())
        ends = np.concatenate([sizes[-1:], wanted])
        return cls(sizes, 1 - curve.accuracies.mean(axis=0), _vary_of_means(curve), n_judges, ends)

    @property
    def spreads(self) -> np.ndarray:
        """Standard deviations of the logarithms of errors, `(n_sizes,)`."""
        spreads: np.ndarray = np.sqrt(self.variances) / _raise(self.errors, self.n_judges)
        return spreads

    def follow(self, errors: np.ndarray) -> np.ndarray:
        """Errors at the ends, `(n_curves, n_ends)`, of curves of errors `(n_curves, n_sizes)`."""
        logarithms = np.log(_raise(errors, self.n_judges))
        laws = carry_on(self.sizes, logarithms, np.square(self.spreads), self.ends)
        return _lower(np.exp(laws), self.n_judges)


def _draw_images_again(curve: LearningCurve, seed: int) -> np.ndarray:
    """Errors `(n_resamples, n_sizes)` on scored images that are drawn anew from those there are."""
    n_draws, n_sizes, n_scored = curve.is_right.shape
    random = np.random.default_rng((seed, 1))
    times = random.multinomial(n_scored, np.full(n_scored, 1 / n_scored), N_RESAMPLES)
    is_wrong = ~curve.is_right & curve.is_scored[:, None]
    wrong = times.astype(np.float32) @ is_wrong.reshape(-1, n_scored).T.astype(np.float32)
    judged = np.maximum(times @ curve.is_scored.T, 1)
    errors: np.ndarray = (wrong.reshape(-1, n_draws, n_sizes) / judged[:, :, None]).mean(axis=1)
    return errors


def _draw_draws_again(curve: LearningCurve, law: _Law, seed: int) -> np.ndarray:
    """Errors `(n_resamples, n_sizes)` of draws that are drawn anew from those there are.

    Where all draws meet in one head, that one is given the variance that it has.
    """
    n_draws = len(curve.is_right)
    random = np.random.default_rng((seed, 2))
    times = random.multinomial(n_draws, np.full(n_draws, 1 / n_draws), N_RESAMPLES)
    errors: np.ndarray = times @ (1 - curve.accuracies) / n_draws
    if curve.is_one_head:
        errors[:, -1] *= np.exp(random.normal(0, law.spreads[-1], N_RESAMPLES))
    return np.minimum(errors, 1)


def find_draw_variance(curve: LearningCurve) -> float:
    """`s` of this module's words, of accuracies; from the draws of a quarter of the images on."""
    sizes = np.array(curve.sizes, np.float64)
    near = np.flatnonzero(sizes[:-1] >= sizes[-1] / 4 - 1)
    shares = 1 / sizes[near] - 1 / sizes[-1]
    return float((_vary(curve)[near] / shares).mean())


def _vary(curve: LearningCurve) -> np.ndarray:
    """How draws differ at each size, `(n_sizes,)`: variance of their distance from the last.

    What was scored differs between draws where a fifth is scored in turn; the distance hides it.
    """
    spread: np.ndarray = (curve.accuracies - curve.accuracies[:, -1:]).var(axis=0, ddof=1)
    return spread


def _vary_of_means(curve: LearningCurve) -> np.ndarray:
    """Variances of the measured mean accuracies by the draw, `(n_sizes,)`, above 0."""
    n_draws = len(curve.accuracies)
    variances = _vary(curve) / n_draws
    last = find_draw_variance(curve) / curve.sizes[-1]
    variances[-1] = last * _SHARE_OF_ONE_HEAD if curve.is_one_head else last / n_draws
    # Nothing is known better than to a tenth of an image of those scored.
    least = np.square(0.1 / curve.is_scored.sum(axis=1).min())
    return np.maximum(variances, least)


def _raise(errors: np.ndarray, n: int) -> np.ndarray:
    """Half an image more than were wrong, so that none has a logarithm, too."""
    return (errors * n + 0.5) / (n + 1)


def _lower(errors: np.ndarray, n: int) -> np.ndarray:
    lowered: np.ndarray = np.maximum((errors * (n + 1) - 0.5) / n, 0.0)
    return lowered
