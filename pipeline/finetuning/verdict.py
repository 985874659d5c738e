"""What fine-tuning came to, in words: did it help, is it significant, what to try next."""

from dataclasses import dataclass

from pipeline.finetuning.advice import Advice, Setting, advise_on_comparison, advise_on_curves
from pipeline.finetuning.checkpoint import State
from pipeline.finetuning.curves import read_curves
from pipeline.finetuning.judge_epochs import calibrated_losses
from pipeline.finetuning.options import BEST, FinetuneOptions
from pipeline.finetuning.outlook import advise_on_images
from pipeline.heads.forecast.forecast import Forecast
from pipeline.images.splits import SPLITS
from pipeline.runs.mistakes import Mistakes, find_mistakes
from pipeline.runs.predictions import Predictions
from pipeline.runs.scores import Metrics, score_splits
from pipeline.runs.significance import Comparison, compare_predictions, describe_p_value


@dataclass(frozen=True)
class Assessment:
    """Frozen against fine-tuned, in numbers and in words.

    Args:
        frozen, finetuned: scores by split.
        calibrated_losses: log-loss of the frozen head by split, with the temperature that suits
            validation.
        comparison: on the images of one split.
        mistakes: of the fine-tuned model on these.
        verdict: did it help, and is it significant.
        advice: what the curves and the forecast show, and what to try.
    """

    frozen: dict[str, Metrics]
    finetuned: dict[str, Metrics]
    calibrated_losses: dict[str, float]
    comparison: Comparison
    mistakes: Mistakes
    verdict: str
    advice: list[Advice]
    best_epoch: int

    @property
    def next_step(self) -> str:
        """What to try next, in words."""
        return describe_next_step(self.advice, self.best_epoch)


def assess(
    before: Predictions,
    after: Predictions,
    class_names: list[str],
    state: State,
    options: FinetuneOptions,
    lines: tuple[str | None, str | None],
    forecast: Forecast | None,
) -> Assessment:
    """Compares what the frozen head and the fine-tuned model say of the same images.

    Args:
        state: of the training, at its end.
        lines: the frost lines above and below the one that was used, None where there is none.
        forecast: of the frozen head, None where there is none.
    """
    frozen, finetuned = (
        score_splits(p.splits, p.labels, p.probabilities, class_names) for p in (before, after)
    )
    comparison, losses = compare_predictions(before, after), calibrated_losses(before)
    split = comparison.split
    if state.best_epoch == 0:
        verdict = describe_failure(state.history)
    else:
        verdict = judge(comparison, frozen[split], finetuned[split], losses[split], options.keep)
    curves = read_curves(before, after, state, options.learning_rate)
    advice = advise_on_curves(curves, Setting(options, *lines))
    advice += [*advise_on_comparison(comparison), *advise_on_images(forecast)]
    mistakes = find_mistakes(after, class_names, SPLITS.index(split), split)
    return Assessment(
        frozen, finetuned, losses, comparison, mistakes, verdict, advice, state.best_epoch
    )


def judge(
    comparison: Comparison,
    frozen: Metrics,
    finetuned: Metrics,
    calibrated_loss: float,
    keep: str,
) -> str:
    """Says whether fine-tuning helped, on the images of one split; only what is significant did.

    Args:
        frozen, finetuned: of the comparison's split.
        calibrated_loss: log-loss of the frozen head with the temperature that suits validation.
        keep: which epoch was to be kept.
    """
    change = 100 * (finetuned.accuracy - frozen.accuracy)
    chose = "chose the epoch" if keep == BEST else "chose between this model and the head"
    images = f"of {comparison.n_samples:,} {comparison.split} images"
    sides = (
        f"{comparison.became_right:,} {images} became right and {comparison.became_wrong:,} wrong"
    )
    loss = (
        f"log-loss {frozen.log_loss:.4f} to {finetuned.log_loss:.4f}, where calibration alone "
        f"gives {calibrated_loss:.4f}"
    )
    if change == 0:
        return f"Fine-tuning changed the accuracy by nothing ({loss}); {sides}."
    helped = "helped" if change > 0 else "hurt"
    if comparison.is_significant:
        what, sure = f"Fine-tuning {helped}", "is significant"
    else:
        what, sure = f"Whether fine-tuning {helped} is not clear", "may be chance"
    reservation = (
        f", with the reservation that validation also {chose} and its temperature, so both "
        "flatter; fit the head with `test_fraction` for a fair test"
        if comparison.is_optimistic
        else ""
    )
    return (
        f"{what}: {change:{'+.1f' if abs(change) >= 0.05 else '+.1g'}} points ({loss}); {sides}. "
        f"That {sure} (McNemar's exact test, {describe_p_value(comparison.p_value)}){reservation}."
    )


def describe_failure(history: list[dict]) -> str:
    """Says by what the frozen head won: what it has on validation, and what the best epoch has.

    Args:
        history: a record per epoch, as in `history.csv`; the first is of the frozen head.
    """
    frozen, *epochs = history
    kept = "so the result is the head as it was."
    if not epochs:
        return f"Fine-tuning did not help: no epoch came to an end, {kept}"
    best = min(epochs, key=lambda epoch: (-epoch["val_accuracy"], epoch["val_loss"]))
    if best["val_accuracy"] <= frozen["val_accuracy"]:
        best = min(epochs, key=lambda epoch: epoch["val_loss"])
    losses = (
        f"log-loss {best['val_loss']:.4f} against {frozen['val_loss']:.4f}, both calibrated "
        f"(uncalibrated {best['val_loss_uncalibrated']:.4f} against "
        f"{frozen['val_loss_uncalibrated']:.4f})"
    )
    accuracies = f"accuracy {best['val_accuracy']:.4f} against {frozen['val_accuracy']:.4f}"
    if best["val_loss"] >= frozen["val_loss"] and best["val_accuracy"] > frozen["val_accuracy"]:
        why = (
            f"Epoch {best['epoch']} was right more often on validation ({accuracies}), but what "
            f"it was less sure of cost more than that brought: {losses}"
        )
    else:
        why = f"Epoch {best['epoch']}, the nearest on validation, has {losses}, and {accuracies}"
    return f"Fine-tuning did not help: no epoch that is kept beat the frozen head, {kept} {why}."


def describe_next_step(advice: list[Advice], best_epoch: int) -> str:
    """What to try next: a sentence for each thing that was found."""
    if advice:
        return "Next: " + "\n".join(one.sentence for one in advice)
    if best_epoch == 0:
        return "Next: keep the frozen head; no curve shows a setting that would beat it."
    return "Next: keep this model; no curve shows a setting that would beat it."
