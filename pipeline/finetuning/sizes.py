"""Whether the images are worth seeing larger: the frozen head tells, before anything is trained."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.backbones.registry import BACKBONES
from pipeline.errors import FrostlineError
from pipeline.finetuning.parent import Parent, open_parent
from pipeline.finetuning.watch import Watch
from pipeline.heads.probe.left_out import leave_each_out
from pipeline.heads.refit_at_size import (
    estimate_seconds,
    refit_at_size,
    require_same_but_for_size,
)
from pipeline.heads.rows.rows_of_run import open_rows_of_run
from pipeline.images.splits import TRAIN
from pipeline.runs.run_folder import RUNS_FOLDER, Run, open_run
from pipeline.system.paths import is_folder
from pipeline.system.printable import describe_duration

# 288 for 224. The step of the networks' own families is about that (EfficientNet-B0 to B2: 224 to
# 260); work grows with its square.
STEP = 9 / 7
MOST_OF_BUDGET = 0.25  # for the extraction
_MULTIPLE = 32  # what most networks divide their images by


@dataclass(frozen=True)
class Sureness:
    """How well features tell the classes apart: training images, each left out of the fit.

    Args:
        accuracy: share of right ones, 0..1.
        of_label: mean probability of the label, 0..1; it decides, being less of a lottery.
    """

    accuracy: float
    of_label: float


def next_size(image_size: int) -> int:
    """The next larger image size, pixels."""
    return max(round(image_size * STEP / _MULTIPLE) * _MULTIPLE, image_size + _MULTIPLE)


def has_usual_size(run: Run) -> bool:
    """Whether the images of a run are as large as its network's own, which nobody had to choose."""
    backbone = BACKBONES.get(run.recipe.backbone)
    return backbone is not None and run.recipe.image_size == backbone.image_size


def enlarge(
    parent: Parent, folder: Path, device: str, watch: Watch, budget: float | None = None
) -> Parent:
    """The run at the next image size, where its frozen head is surer of images that it never saw;
    else the run itself.

    Args:
        folder: of the run at the next size; one that is there is taken.
        device: as on the command line.
        budget: seconds of the whole search, None for no limit.
    """
    size = next_size(parent.run.recipe.image_size)
    before = parent.run.recipe.image_size
    try:
        larger = _refit(parent, size, folder, device, watch, budget)
        small, large = measure_sureness(parent.run), measure_sureness(larger)
    except FrostlineError as error:
        reason = str(error).split("\n")[0].rstrip(".") + "."
        watch.on_note(f"Images of {size} pixels in place of {before} are not tried: {reason}")
        return parent
    is_better = large.of_label > small.of_label
    watch.on_note(
        f"Images of {size} pixels in place of {before}: of training images, each left out in turn, "
        f"heads on frozen features get {large.accuracy:.1%} in place of {small.accuracy:.1%} right "
        f"and are {large.of_label:.3f} in place of {small.of_label:.3f} sure of the label. "
        + (f"So it goes on with {larger.folder}." if is_better else f"So it stays at {before}.")
    )
    return open_parent(larger, parent.weights, parent.root) if is_better else parent


def name_larger(run: Run, output: Path | None) -> Path:
    """The folder of a run at the next image size, beside the output."""
    folder = RUNS_FOLDER if output is None else output.parent
    return folder / f"{run.name}-{next_size(run.recipe.image_size)}px"


def measure_sureness(run: Run) -> Sureness:
    """How well the features of a run tell its training images apart.

    Raises:
        FrostlineError: they are gone.
    """
    with open_rows_of_run(run) as of_run:
        used = of_run.said.splits == TRAIN
        rows = of_run.rows[used]
        said = leave_each_out(of_run.features[rows], of_run.said.labels[used], of_run.units[rows])
    return Sureness(said.accuracy, said.sureness)


def _refit(
    parent: Parent, size: int, folder: Path, device: str, watch: Watch, budget: float | None
) -> Run:
    if is_folder(folder):
        there = open_run(folder)
        require_same_but_for_size(parent.run, there)
        return there
    if budget is not None:
        seconds = estimate_seconds(
            parent.run, size, len(parent.paths), weights=parent.weights, device=device
        )
        if seconds > MOST_OF_BUDGET * budget:
            raise FrostlineError(
                f"To extract them would take about {describe_duration(seconds)} of the "
                f"{describe_duration(budget)} that there are"
            )
    return refit_at_size(
        parent.run,
        size,
        root=parent.root,
        weights=parent.weights,
        device=device,
        output=folder,
        on_progress=watch.on_progress,
        on_note=lambda note: None if note.startswith("Computing on") else watch.on_note(note),
    )
