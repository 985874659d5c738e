"""What more images would bring to a run, as a plot of a report."""

from collections.abc import Sequence

from pipeline.errors import FeatureFileError, RunError, SplitError
from pipeline.heads.forecast.forecast import Accuracy
from pipeline.heads.forecast.of_run import forecast
from pipeline.report.contents import Curve, Plot
from pipeline.runs.run_folder import Run
from pipeline.system.printable import printable
from pipeline.system.progress import OnProgress

_DIGITS = 5


def plot_ahead(run: Run, on_progress: OnProgress) -> tuple[list[Plot], list[str]]:
    """Accuracy over the number of training images, and the forecast; or why there is none.

    A fine-tuned run has none, and nothing is said of that.
    """
    if run.manifest.is_finetuned:
        return [], []
    try:
        found = forecast(run, on_progress=on_progress)
    except (FeatureFileError, RunError, SplitError) as error:
        reason = printable(str(error).split("\n", 1)[0])
        return [], [f"{printable(run.name)}: nothing is forecast of more images. {reason}"]
    now = found.now
    plot = Plot(
        heading="Accuracy over the number of images",
        x_name="training images",
        y_name="Accuracy",
        curves=[
            _draw("measured on fewer", found.measured),
            _draw("forecast", [now, *found.ahead], is_dashed=True),
        ],
        is_log=True,
        mark=(float(now.n_images), "now"),
        note=" ".join(found.describe()),
    )
    return [plot], []


def _draw(name: str, values: Sequence[Accuracy], *, is_dashed: bool = False) -> Curve:
    def column(numbers: list[float]) -> list[float]:
        return [round(number, _DIGITS) for number in numbers]

    return Curve(
        name,
        [one.n_images for one in values],
        column([one.mean for one in values]),
        column([one.low for one in values]),
        column([one.high for one in values]),
        is_dashed=is_dashed,
    )
