"""What to try after a fine-tuning: a sentence for each thing that the curves show, with its reason.

Each rule has a threshold that chance does not reach (`docs/fine-tuning.md` lists them all) and is
silent below it. Of the rules on training the first that applies speaks: a rate that is too high
makes curves that look like the others', too. What more images would bring is in `outlook.py`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from pipeline.finetuning.curves import Curves, binomial_error
from pipeline.finetuning.options import BEST, FinetuneOptions
from pipeline.runs.significance import Comparison, describe_p_value

# Accuracies that differ by so many standard errors differ: by chance once in 700 comparisons where
# images are drawn anew, and more seldom where they are the same ones.
SURE = 3.0
LIKELY = 2.0  # for what has to be beyond a threshold that is rare in itself
# A fall of training accuracy is looked for between all epochs, so more is asked of it.
SURE_OF_MANY = 4.0
# Points by which training images may go better than validation's: fitting them by heart costs no
# more than that.
USUAL_GAP = 0.05
# Share of a loss by which it has to move before that is called a movement: the losses of two
# fine-tunings that differ in nothing but their seed differ by less.
MOVEMENT = 0.1
# Share of a validation loss. A training that is near its end (all but a fiftieth of its way) loses
# less than half of that in its last third.
STEEP = 0.2
# A network that has so many of its training images wrong has more to learn from them.
UNLEARNED = 0.1
# A standard deviation of 1.5 points between epochs hides gains below 3, which is what fine-tuning
# brings on typical sets (docs/fine-tuning.md, "What it brought").
UNSTEADY = 0.015
STEADY = 0.01  # and with this one a gain of 2 points shows
LEAST_EPOCHS_TO_JUMP = 5


@dataclass(frozen=True)
class Advice:
    """Something that was found, and what to try.

    Args:
        finding: the rule's name.
        shown: by which numbers.
        ways: what to try, the likeliest first: parameters, calls, or plain words.
    """

    finding: str
    shown: str
    ways: list[str]

    @property
    def sentence(self) -> str:
        *others, last = self.ways
        ways = f"{', '.join(others)} or {last}" if others else last
        return f"{self.finding[0].upper()}{self.finding[1:]} ({self.shown}): try {ways}."

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "sentence": self.sentence}


@dataclass(frozen=True)
class Setting:
    """What was tried already.

    Args:
        above, below: the frost lines above and below the one that was used, None where there is
            none.
    """

    options: FinetuneOptions
    above: str | None
    below: str | None


def advise_on_curves(curves: Curves, setting: Setting) -> list[Advice]:
    """What the curves show, of training first and then of validation."""
    of_training = (rule(curves, setting) for rule in _RULES_ON_TRAINING)
    found = [next((one for one in of_training if one is not None), None)]
    found.append(_find_small_validation(curves, setting))
    return [one for one in found if one is not None]


def advise_on_comparison(comparison: Comparison) -> list[Advice]:
    """Where the images of the test split are worse off, which no epoch was chosen by."""
    lost = comparison.became_wrong - comparison.became_right
    if comparison.is_optimistic or not comparison.is_significant or lost <= 0:
        return []
    shown = (
        f"{comparison.became_wrong:,} of {comparison.n_samples:,} {comparison.split} images became "
        f"wrong and {comparison.became_right:,} right, {describe_p_value(comparison.p_value)}"
    )
    ways = ["keeping the frozen head", "a larger `val_fraction` in `frostline.fit_head(FEATURES)`"]
    return [Advice("validation chose an epoch that is worse elsewhere", shown, ways)]


def _find_high_rate(curves: Curves, setting: Setting) -> Advice | None:
    """Training was set back, forgot what it had learned, or shook validation."""
    shown = (
        _describe_divergence(curves)
        or _describe_fall(curves)
        or _describe_damage(curves)
        or _describe_shaking(curves)
    )
    if not shown:
        return None
    options = setting.options
    lower = f"`learning_rate={curves.learning_rate / 3:.1g}`"
    ways = [
        f"{lower} without `find_learning_rate=True`" if options.find_learning_rate else lower,
        "" if options.find_learning_rate else "`find_learning_rate=True`",
    ]
    return _make("the learning rate is too high", shown, ways)


def _describe_divergence(curves: Curves) -> str:
    if not curves.n_divergences:
        return ""
    times = "once" if curves.n_divergences == 1 else f"{curves.n_divergences} times"
    return f"training diverged {times}"


def _describe_fall(curves: Curves) -> str:
    """A rate that only falls lets training images go better and better, if it is one."""
    for one, other in pairwise(curves.epochs):
        before, after = one["train_accuracy"], other["train_accuracy"]
        error = 2**0.5 * binomial_error((before + after) / 2, curves.n_train)
        if before - after > SURE_OF_MANY * error:
            return (
                f"training accuracy fell from {before:.1%} to {after:.1%} in epoch "
                f"{other['epoch']:g}"
            )
    return ""


def _describe_damage(curves: Curves) -> str:
    """The first epochs lost what the frozen head had, on training images too, for good."""
    frozen = curves.frozen
    for epoch in curves.epochs[:2] if curves.best_epoch == 0 else ():
        is_lost = all(
            frozen[name] - epoch[name] > SURE * 2**0.5 * binomial_error(frozen[name], n_images)
            for name, n_images in (
                ("val_accuracy", curves.n_val),
                ("train_accuracy", curves.n_train),
            )
        )
        if is_lost:
            return (
                f"epoch {epoch['epoch']:g} lost what the frozen head knew (validation "
                f"{frozen['val_accuracy']:.1%} to {epoch['val_accuracy']:.1%}) and no later one "
                "was better than that head"
            )
    return ""


def _describe_shaking(curves: Curves) -> str:
    if len(curves.epochs) < LEAST_EPOCHS_TO_JUMP:
        return ""
    jitter, chance = curves.jitter(), curves.chance()
    if jitter < UNSTEADY or jitter <= SURE * chance:
        return ""
    return (
        f"validation accuracy jumps by {100 * jitter:.1f} points from epoch to epoch, where chance "
        f"gives {100 * chance:.1f} at most"
    )


def _find_overfitting(curves: Curves, setting: Setting) -> Advice | None:
    """Validation gets worse while training gets better, or is far behind."""
    shown = _describe_turn(curves) or _describe_gap(curves)
    if not shown:
        return None
    options = setting.options
    fewer = f"`unfreeze={setting.above!r}`" if setting.above else ""
    milder = [
        "`augment='strong'`" if options.augment != "strong" else "",
        "`average_weights=0.95`" if options.average_weights == 0 else "",
    ]
    ways = [*milder, fewer] if curves.best_epoch else [fewer, *milder]
    return _make("it overfits", shown, [*ways, "more training images"])


def _describe_turn(curves: Curves) -> str:
    """The validation loss had its least in some epoch and rose to the end."""
    if len(curves.epochs) < 3:
        return ""
    least = min(curves.epochs, key=lambda epoch: epoch["val_loss"])
    since = [epoch for epoch in curves.epochs if epoch["epoch"] > least["epoch"]]
    if not since:
        return ""
    rise = max(MOVEMENT * least["val_loss"], curves.val_loss_error)
    is_risen = all(one["val_loss"] > least["val_loss"] + rise for one in curves.last_third[1:])
    is_learned = curves.last["train_loss"] < (1 - MOVEMENT) * least["train_loss"]
    if not (is_risen and is_learned):
        return ""
    return (
        f"since epoch {least['epoch']:g} training loss fell from {least['train_loss']:.3f} to "
        f"{curves.last['train_loss']:.3f} and validation loss rose from {least['val_loss']:.3f} to "
        f"{curves.last['val_loss']:.3f}"
    )


def _describe_gap(curves: Curves) -> str:
    gap, error = curves.gap()
    if gap - LIKELY * error <= USUAL_GAP:
        return ""
    return (
        f"{curves.learned_accuracy:.1%} of training images are right, and {100 * gap:.1f} points "
        "fewer of validation's"
    )


def _find_low_rate(curves: Curves, setting: Setting) -> Advice | None:
    """There is much to learn, there are blocks that could, and nothing moves."""
    is_moving = _share_of_fall(curves.epochs) > MOVEMENT or any(
        abs(epoch["val_loss"] - curves.frozen["val_loss"]) > MOVEMENT * curves.frozen["val_loss"]
        for epoch in curves.epochs
    )
    if not _is_unlearned(curves) or is_moving or setting.above is None:
        return None
    shown = (
        f"{curves.learned_accuracy:.1%} of training images are right, and in "
        f"{len(curves.epochs)} epochs neither training nor validation loss moved by a tenth"
    )
    options = setting.options
    ways = [
        f"`learning_rate={3 * curves.learning_rate:.1g}`",
        "" if options.find_learning_rate else "`find_learning_rate=True`",
        f"`epochs={2 * options.epochs}`",
    ]
    return _make("the learning rate is too low", shown, ways)


def _find_early_end(curves: Curves, setting: Setting) -> Advice | None:
    """The last epoch won, and those before it brought more and more."""
    third = curves.last_third
    losses = [epoch["val_loss"] for epoch in third]
    is_falling = all(one > other for one, other in pairwise(losses))
    is_last = curves.best_epoch == curves.last["epoch"] == setting.options.epochs
    if not (is_last and is_falling and len(curves.epochs) >= 3):
        return None
    if losses[-1] > (1 - STEEP) * losses[0] or _share_of_fall(third) < MOVEMENT:
        return None
    shown = (
        f"the last epoch won, and since epoch {third[0]['epoch']:g} validation loss fell from "
        f"{losses[0]:.3f} to {losses[-1]:.3f} without a break"
    )
    ways = [
        f"`epochs={2 * setting.options.epochs}`",
        f"`learning_rate={3 * curves.learning_rate:.1g}`",
    ]
    return _make("it ended before it was done", shown, ways)


def _find_underfitting(curves: Curves, setting: Setting) -> Advice | None:
    """There is much to learn, and it moved, and it is no better on training images."""
    gap, error = curves.gap()
    if not _is_unlearned(curves) or gap - LIKELY * error > USUAL_GAP:
        return None
    shown = (
        f"only {curves.learned_accuracy:.1%} of training images are right, hardly more than of "
        "validation's"
    )
    options = setting.options
    ways = [
        f"`unfreeze={setting.below!r}`" if setting.below else "",
        "`augment='light'`" if options.augment == "strong" else "",
        f"`epochs={2 * options.epochs}`",
        "" if setting.below else "a larger backbone",
    ]
    return _make("it underfits", shown, ways)


def _is_unlearned(curves: Curves) -> bool:
    """Whether many training images are wrong, beyond chance."""
    error = binomial_error(curves.learned_accuracy, curves.n_train)
    return bool(curves.epochs) and curves.learned_accuracy + SURE * error < 1 - UNLEARNED


def _share_of_fall(epochs: list[dict[str, float]]) -> float:
    """By which share the training loss fell from the first of these to the last."""
    return 1 - epochs[-1]["train_loss"] / max(epochs[0]["train_loss"], 1e-12)


def _find_small_validation(curves: Curves, setting: Setting) -> Advice | None:
    """Epochs differ on validation by what chance gives, and by too much to tell them apart."""
    if len(curves.epochs) < LEAST_EPOCHS_TO_JUMP:
        return None
    jitter, chance = curves.jitter(), curves.chance()
    if jitter < UNSTEADY or jitter > SURE * chance:
        return None
    enough = curves.n_val * (jitter / STEADY) ** 2
    luck = "which epoch wins" if setting.options.keep == BEST else "a gain of so few"
    shown = (
        f"its accuracy jumps by {100 * jitter:.1f} points from epoch to epoch, as chance does with "
        f"{curves.n_val:,} images, so {luck} is half luck; with about "
        f"{float(f'{enough:.2g}'):,.0f} it would be one point"
    )
    ways = [
        "a larger `val_fraction` in `frostline.fit_head(FEATURES)`",
        "`average_weights=0.95`" if setting.options.average_weights == 0 else "",
    ]
    return _make("validation is too small", shown, ways)


def _make(finding: str, shown: str, ways: list[str]) -> Advice:
    return Advice(finding, shown, [way for way in ways if way])


_RULES_ON_TRAINING: tuple[Callable[[Curves, Setting], Advice | None], ...] = (
    _find_high_rate,
    _find_overfitting,
    _find_low_rate,
    _find_early_end,
    _find_underfitting,
)
