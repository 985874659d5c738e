"""What would lie beyond fine-tuning: more images, or another backbone; by the forecast of the head.

The forecast is of the frozen head that was fine-tuned (`pipeline/heads/forecast/`): a fine-tuned
one has more to gain from images than that, as a rule, and costs minutes for each point of a curve.
"""

from pipeline.errors import FeatureFileError, RunError, SplitError
from pipeline.finetuning.advice import Advice
from pipeline.finetuning.parent import Parent
from pipeline.heads.forecast.forecast import Accuracy, Forecast
from pipeline.heads.forecast.of_run import forecast
from pipeline.system.progress import OnProgress

# Accuracies, 0..1. Less than a point is not worth labelling as many images again. Other features
# bring more than that: 288 pixels in place of 224 gave 1.1 and 1.3 points on two sets of photos.
WORTH_IMAGES = 0.01
NO_GAIN = 0.005
MOST_GAIN = 0.02
# Of the distance from the mean to an end of the band, which holds 95%, the part that holds 80%:
# nine in ten outcomes lie above its lower end (the normal quantiles 1.28 and 1.96).
NINE_IN_TEN = 0.65
ROOM = 0.05  # with fewer wrong than this there is little left for another backbone


def forecast_parent(parent: Parent, on_progress: OnProgress) -> tuple[Forecast | None, str]:
    """The forecast of the run that was fine-tuned; where there is none, why."""
    try:
        return forecast(parent.run, on_progress=on_progress), ""
    except (FeatureFileError, RunError, SplitError) as error:
        reason = str(error).split("\n")[0]
        return None, f"What more training images would bring is not forecast. {reason}"


def advise_on_images(found: Forecast | None) -> list[Advice]:
    """One advice where the forecast is clear, none where more images may help or not."""
    if found is None or not found.ahead:
        return []
    ahead = found.at(2.0) or found.ahead[-1]
    likely = ahead.mean - NINE_IN_TEN * (ahead.mean - ahead.low)
    if likely > found.now.mean and ahead.mean - found.now.mean >= WORTH_IMAGES:
        ways = ["`frostline.suggest(FEATURES, N)` for which to label first"]
        return [Advice("more training images would help", _describe(found, ahead), ways)]
    is_flat = ahead.mean - found.now.mean < NO_GAIN and ahead.high - found.now.mean < MOST_GAIN
    if is_flat and 1 - found.now.mean >= ROOM:
        ways = [
            "another `backbone`, or a larger `image_size`, in `frostline.extract(DATA)`",
        ]
        return [Advice("more training images would hardly help", _describe(found, ahead), ways)]
    return []


def _describe(found: Forecast, ahead: Accuracy) -> str:
    now = found.now
    gains = [100 * (share - now.mean) for share in (ahead.low, ahead.high)]
    return (
        f"forecast for the frozen head: with {ahead.n_images:,} in place of {now.n_images:,} "
        f"{gains[0]:+.1f} to {gains[1]:+.1f} points, from {now.mean:.1%}"
    )
