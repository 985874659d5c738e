"""The search as a stage of fine-tuning, in place of one training."""

import time
from dataclasses import replace
from pathlib import Path

from pipeline.errors import FrostlineError
from pipeline.finetuning.choose_line import ChosenLine
from pipeline.finetuning.inputs import Inputs, TrunkInputs
from pipeline.finetuning.job import FinetuneJob
from pipeline.finetuning.options import BEST, LAST, FinetuneOptions
from pipeline.finetuning.parent import Parent, open_parent
from pipeline.finetuning.pixels import PixelStore
from pipeline.finetuning.replicas import Replicas
from pipeline.finetuning.search.journal import Journal
from pipeline.finetuning.search.luck import measure_luck
from pipeline.finetuning.search.options import SearchOptions
from pipeline.finetuning.search.record import describe_search
from pipeline.finetuning.search.search import Search
from pipeline.finetuning.sizes import enlarge, name_larger
from pipeline.finetuning.task import (
    Task,
    Trained,
    decode,
    in_precision,
    make_pixel_inputs,
    settle_flip,
    thaw_task,
)
from pipeline.finetuning.thawed import Thawed, thaw_classifier
from pipeline.finetuning.trunk.stage import TrunkStage
from pipeline.heads.registry import HEADS
from pipeline.runs.run_folder import open_run
from pipeline.system.printable import count


class SharedInputs:
    """The inputs of all trainings: one trunk cache, at the lowest line.

    Args:
        store: for where there can be no trunk cache.
        journal: what is resumed goes on as it began.
    """

    def __init__(
        self,
        task: Task,
        thawed: Thawed,
        store: PixelStore,
        replicas: Replicas,
        journal: Journal,
    ):
        self._task = task
        self._journal = journal
        self._replicas = replicas
        self._thawed = thawed
        self._store = store
        self._cached: TrunkInputs | None = None
        self._is_opened = False

    def open(
        self, lowest: str, options: FinetuneOptions, n_epochs: int
    ) -> tuple[Inputs, str | None]:
        """Inputs as options ask for them, and the line at which they come in."""
        if not self._is_opened:
            task = self._task
            stage = TrunkStage(
                task.parent,
                replace(options, epochs=n_epochs, seed=task.options.seed),
                task.device.asked_as,
                self._thawed.model,
                lowest,
                judges_training_images=True,
                is_one_cpu=self._replicas.is_one_cpu,
            )
            wanted = self._journal.used_trunk_cache
            if wanted is None:
                wanted = task.options.trunk_cache
            self._cached = stage.open_inputs(wanted, task.watch.on_progress, task.watch.on_note)
            self._journal.used_trunk_cache = self._cached is not None
            self._is_opened = True
        if self._cached is None:
            return make_pixel_inputs(self._task, self._store, options), None
        return self._cached, lowest


def run_search(
    task: Task, replicas: Replicas, job: FinetuneJob, wanted: SearchOptions, *, resume: bool
) -> Trained:
    """Searches and trains; the winner's weights are in the model then.

    Raises:
        ParameterError: the budget has no room for one epoch.
        RunError: trainings would be lost.
    """
    journal = job.open_journal(resume=resume, force=task.force, on_note=task.watch.on_note)
    if task.options.keep == BEST:
        task.watch.on_note("`keep='best'` changes nothing in a search: it keeps last epochs.")
        task = replace(task, options=replace(task.options, keep=LAST))
    try:
        task, thawed, store, search = _prepare(task, replicas, journal, wanted)
        with in_precision(task, thawed):
            found = search.run()
    except FrostlineError:
        if not journal.is_begun:
            journal.forget()
        raise
    luck = measure_luck(found.trials, search.units)
    why = f"as the search chose among {count(found.n_settings, 'setting')}"
    thawed = replace(
        thawed,
        line=ChosenLine(found.line, why),
        n_trainable=thaw_classifier(thawed.model, found.line),
    )
    part = describe_search(wanted, found.setting, found.trials, luck)
    task.stopwatch.lap("search")
    return Trained(replace(task, options=found.options), thawed, store, found.state, part)


def _prepare(
    task: Task, replicas: Replicas, journal: Journal, wanted: SearchOptions
) -> tuple[Task, Thawed, PixelStore, Search]:
    """All that a search needs, on images of the larger size where that is better and there is time
    for a whole training.
    """
    own = task.parent
    parent = _choose_parent(task, journal, wanted)
    while True:
        sized = replace(task, parent=parent)
        try:
            thawed = thaw_task(sized, replicas)
            sized = settle_flip(sized, thawed)
            store = decode(sized)
            inputs = SharedInputs(sized, thawed, store, replicas, journal)
            with in_precision(sized, thawed):
                search = Search(sized, thawed, wanted, replicas, journal, inputs.open)
            why = "" if search.is_whole else "there is no time for a whole training"
        except FrostlineError as error:
            if parent is own:
                raise
            why = str(error).split("\n")[0].rstrip(".")
        if parent is own or not why:
            journal.run = str(parent.run.folder.resolve())
            return sized, thawed, store, search
        size, before = parent.run.recipe.image_size, own.run.recipe.image_size
        task.watch.on_note(f"It stays at {before} pixels: at {size}, {why}.")
        parent = own


def _choose_parent(task: Task, journal: Journal, wanted: SearchOptions) -> Parent:
    """The run to train: the journal's, or the one at the better of two image sizes."""
    own = task.parent
    if journal.run:
        is_own = Path(journal.run) == own.run.folder.resolve()
        return own if is_own else open_parent(open_run(journal.run), own.weights, own.root)
    if wanted.keep_size or own.run.kind not in HEADS:
        return own
    folder = name_larger(own.run, task.output)
    larger = enlarge(own, folder, task.device.asked_as, task.watch, wanted.seconds)
    task.stopwatch.lap("image size")
    journal.run = str(larger.run.folder.resolve())
    journal.used_seconds = journal.used_before + time.perf_counter() - task.stopwatch.started
    journal.save()
    return larger
