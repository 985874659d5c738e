"""The search as a stage of fine-tuning, in place of one training."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.finetuning.checkpoint import State
from pipeline.finetuning.choose_line import ChosenLine
from pipeline.finetuning.inputs import Inputs, TrunkInputs
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.search.journal import Journal
from pipeline.finetuning.search.luck import measure_luck
from pipeline.finetuning.search.record import describe_search
from pipeline.finetuning.search.search import Search, SearchTask
from pipeline.finetuning.thawed import Thawed, thaw_classifier
from pipeline.finetuning.trunk.stage import TrunkStage
from pipeline.runs.manifest import SearchPart
from pipeline.system.printable import count


@dataclass
class SharedInputs:
    """The inputs of all trainings: one trunk cache for each way to augment, at the lowest line.

    Args:
        device: as on the command line.
        make_pixel_inputs: for where there can be no trunk cache.
    """

    task: SearchTask
    device: str
    make_pixel_inputs: Callable[[FinetuneOptions], Inputs]

    def __post_init__(self) -> None:
        self._opened: dict[tuple[str, bool], TrunkInputs | None] = {}

    def open(
        self, lowest: str, options: FinetuneOptions, n_epochs: int
    ) -> tuple[Inputs, str | None]:
        """Inputs as options ask for them, and the line at which they come in."""
        key = (options.augment, options.flip)
        if key not in self._opened:
            watch = self.task.watch
            stage = TrunkStage(
                self.task.parent,
                replace(options, epochs=n_epochs),
                self.device,
                self.task.thawed.model,
                lowest,
                judges_training_images=True,
            )
            wanted = self.task.options.trunk_cache
            self._opened[key] = stage.open_inputs(wanted, watch.on_progress, watch.on_note)
        cached = self._opened[key]
        return (self.make_pixel_inputs(options), None) if cached is None else (cached, lowest)


@dataclass(frozen=True)
class Searched:
    """What a search came to; the winner's weights are in the model.

    Args:
        thawed: the model, from the winner's line up.
        options: with the setting that won.
        state: of its training, at its end.
        part: of the manifest.
    """

    thawed: Thawed
    options: FinetuneOptions
    state: State
    part: SearchPart


def run_search(task: SearchTask, journal: Journal, inputs: SharedInputs) -> Searched:
    """Searches, and says what came of it.

    Raises:
        ParameterError: the budget has no room for one epoch.
    """
    search = Search(task, journal, inputs.open)
    found = search.run()
    luck = measure_luck(found.trials, search.units)
    note = "" if luck is None else luck.describe()
    if note:
        task.watch.on_note(note)
    why = f"as the search chose among {count(found.n_settings, 'setting')}"
    thawed = replace(
        task.thawed,
        line=ChosenLine(found.line, why),
        n_trainable=thaw_classifier(task.thawed.model, found.line),
    )
    part = describe_search(task.wanted, found.setting, found.trials, luck)
    return Searched(thawed, found.options, found.state, part)
