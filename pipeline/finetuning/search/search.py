"""The search: rounds of trainings, of which the last trains the setting that won."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipeline.finetuning.checkpoint import State
from pipeline.finetuning.inputs import Inputs
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.replicas import Replicas
from pipeline.finetuning.search.bench import Bench, report_trial
from pipeline.finetuning.search.clock import Clock
from pipeline.finetuning.search.costs import StepCosts, time_steps
from pipeline.finetuning.search.divisions import Division, find_divisions
from pipeline.finetuning.search.estimate import MARGIN
from pipeline.finetuning.search.journal import Journal
from pipeline.finetuning.search.options import SearchOptions
from pipeline.finetuning.search.planning import describe_plan, make_estimate, make_plan
from pipeline.finetuning.search.rounds import Round
from pipeline.finetuning.search.settings import LINE, find_space
from pipeline.finetuning.search.trials import Trial, find_worth, rank_settings
from pipeline.finetuning.search.words import Setting, describe_setting
from pipeline.finetuning.task import Task
from pipeline.finetuning.thawed import Thawed, thaw_classifier
from pipeline.finetuning.trunk.stage import find_obstacle
from pipeline.system.printable import count

# Makes the inputs for options, and says at which line they come in; called with the lowest line
# that is trained from, and with the epochs of the whole search.
OpenInputs = Callable[[str, FinetuneOptions, int], tuple[Inputs, str | None]]

MOST_TIMES = 3  # the epochs of the plan, where there is time


@dataclass(frozen=True)
class Found:
    """What a search came to; the winner's weights are in the model.

    Args:
        setting: that won.
        options: with it.
        line: the frost line it was trained from.
        state: of its training, at its end.
        n_settings: that were tried.
        trials: all trainings.
    """

    setting: Setting
    options: FinetuneOptions
    line: str
    state: State
    n_settings: int
    trials: list[Trial]


class Search:
    """Plans, and does what was planned; what has ended already is taken from the journal."""

    def __init__(
        self,
        task: Task,
        thawed: Thawed,
        wanted: SearchOptions,
        replicas: Replicas,
        journal: Journal,
        open_inputs: OpenInputs,
    ):
        self._task = task
        self._model = thawed.model
        self._wanted = wanted
        self._replicas = replicas
        self._journal = journal
        self._open = open_inputs
        self._clock = Clock(wanted.seconds, task.stopwatch.started, journal.used_seconds)
        self._line = thawed.line.name
        self._space = find_space(self._model.get_layer("backbone"), self._line, task.options)
        self._settings = self._space.settings
        self._divisions = find_divisions(task.parent, task.options.seed)
        self._bench = Bench(
            self._model, task.class_weights, replicas, task.watch, self._model.get_weights()
        )
        self._costs = journal.costs or self._time_steps()
        self._estimate = make_estimate(
            self._costs, self._space, task.options, task.parent, uses_cache=self._uses_cache
        )
        self._plan = journal.plan or make_plan(
            self._estimate, task.options, wanted, self._clock, divides=self._divisions.divides
        )

    @property
    def is_whole(self) -> bool:
        """Whether there is time for a training of all epochs that were asked for."""
        return not self._plan.is_cut

    @property
    def _uses_cache(self) -> bool:
        return self._costs.work_below > 0

    def _time_steps(self) -> StepCosts:
        """What a step costs, begun at the lowest line where there can be a trunk cache."""
        options, lowest = self._task.options, self._space.lowest
        obstacle = find_obstacle(self._model, lowest)
        begins_at = None if obstacle or options.trunk_cache is False else lowest
        thaw_classifier(self._model, lowest)
        n_classes = len(self._task.parent.run.class_names)
        return time_steps(self._model, lowest, begins_at, options, n_classes, self._replicas)

    def run(self) -> Found:
        """Searches, and trains the winner.

        Raises:
            ParameterError: the budget has no room for one epoch.
        """
        if self._journal.plan is None:
            self._journal.plan, self._journal.costs = self._plan, self._costs
            self._journal.save()
            self._task.watch.on_note(describe_plan(self._plan, self._clock))
            if self._divisions.note:
                self._task.watch.on_note(self._divisions.note)
        *rounds, last = self._plan.rounds
        for place, one in enumerate(rounds, start=1):
            self._run_round(place, one)
        place = len(rounds) + 1
        winner = self._choose(place, last)[0]
        last = self._settle(winner)
        state = self._train(place, winner, last, self._divide(last))
        options, line = self._apply(winner, last.epochs)
        trials = self._journal.trials
        n_tried = len({trial.setting for trial in trials})
        return Found(self._settings[winner - 1], options, line, state, n_tried, trials)

    @property
    def units(self) -> np.ndarray:
        """int (n_images of the run,), equal for images that belong together."""
        return self._divisions.units

    def _run_round(self, place: int, one: Round) -> None:
        division = self._divide(one)
        for setting in self._choose(place, one):
            if self._has_ended(place, setting):
                continue
            if not self._has_time(setting, one):
                self._task.watch.on_note("There is no time for more settings.")
                return
            self._train(place, setting, one, division)

    def _settle(self, winner: int) -> Round:
        """The last round, with as many epochs as there is time for, up to three times those of the
        plan; decided once, by what the rounds before really took.
        """
        *rounds, last = self._plan.rounds
        is_free = self._task.options.epochs == FinetuneOptions.epochs
        if self._clock.budget is not None and is_free and not self._plan.is_settled:
            trials, settings = self._journal.trials, self._settings
            planned = sum(
                self._estimate.training(settings[t.setting - 1], t.epochs) for t in trials
            )
            pace = sum(trial.seconds for trial in trials) / planned if trials else 1.0
            epoch = self._estimate.epoch(settings[winner - 1]) * pace
            left = self._clock.left - MARGIN * (self._estimate.after() + self._costs.start)
            epochs = min(MOST_TIMES * last.epochs, int(left / (MARGIN * epoch)))
            last = replace(last, epochs=max(last.epochs, epochs))
        self._plan = replace(self._plan, rounds=(*rounds, last), is_settled=True)
        self._journal.plan = self._plan
        self._journal.save()
        return last

    def _divide(self, one: Round) -> Division:
        return self._divisions.make(one.division, self._task.watch.on_progress)

    def _choose(self, place: int, one: Round) -> list[int]:
        """Numbers of the settings of a round, from 1; by the rounds before, the best first."""
        before = [trial for trial in self._journal.trials if trial.round < place]
        ranked = rank_settings(before) if before else list(range(1, len(self._settings) + 1))
        return ranked[: one.n_settings]

    def _has_ended(self, place: int, setting: int) -> bool:
        ended = {(trial.round, trial.setting) for trial in self._journal.trials}
        return (place, setting) in ended

    def _has_time(self, setting: int, one: Round) -> bool:
        """Whether the last round can be had after this training."""
        last = self._plan.rounds[-1]
        values = self._settings[setting - 1]
        needed = self._estimate.training(values, one.epochs) + self._estimate.after()
        return needed + self._estimate.training(values, last.epochs) < self._clock.left

    def _train(self, place: int, setting: int, one: Round, division: Division) -> State:
        """A training, or the rest of it; the model has its weights then."""
        options, line = self._apply(setting, one.epochs)
        is_last = place == len(self._plan.rounds)
        has_ended = self._has_ended(place, setting)
        if not has_ended:
            self._tell_begin(place, setting, one)
        inputs = self._open(self._space.lowest, options, self._plan.n_epochs)
        started = time.perf_counter()
        training = self._bench.train(
            *inputs,
            division,
            line,
            options,
            self._journal.find_training((place, setting)),
            lambda state: self._keep(state, (place, setting), is_last=is_last),
            self._task.callbacks if is_last else None,
        )
        if not has_ended:
            values = self._settings[setting - 1]
            numbers = (place, setting)
            trial = report_trial(division, training.state, numbers, values, started)
            self._journal.add(trial)
            self._tell_end(trial)
        return training.state

    def _keep(self, state: State, training: tuple[int, int], *, is_last: bool) -> None:
        """Keeps a state; the last training ends where another epoch would take too long."""
        values = self._settings[training[1] - 1]
        ahead = self._estimate.after() + (self._estimate.epoch(values) if is_last else 0.0)
        if state.epoch and is_last and not state.is_over and self._clock.left < ahead:
            state.is_over = True
            self._task.watch.on_note(f"The budget ends training after epoch {state.epoch}.")
        self._journal.used_seconds = self._clock.used
        self._journal.save_training(state, training)

    def _apply(self, setting: int, epochs: int) -> tuple[FinetuneOptions, str]:
        """Options and line of a setting."""
        values = self._settings[setting - 1]
        line = values.get(LINE, self._line)
        return replace(self._task.options, **{**values, LINE: line}, epochs=epochs), line

    def _tell_begin(self, place: int, setting: int, one: Round) -> None:
        n_rounds, words = len(self._plan.rounds), self._describe(setting)
        self._task.watch.on_note(
            f"Round {place} of {n_rounds}, setting {setting} ({words}), "
            f"{count(one.epochs, 'epoch')}:"
        )

    def _tell_end(self, trial: Trial) -> None:
        best = self._choose(trial.round + 1, Round(1, 0, 0))[0]
        tried = [one for one in self._journal.trials if one.setting == best]
        losses = f"log-loss {trial.frozen_log_loss:.4f} to {trial.log_loss:.4f}"
        accuracies = f"accuracy {trial.frozen_accuracy:.4f} to {trial.accuracy:.4f}"
        self._task.watch.on_note(
            f"Setting {trial.setting}: {losses}, {accuracies} on {trial.n_images:,} images. Best "
            f"so far: setting {best} ({self._describe(best)}), log-loss {-find_worth(tried):+.4f}."
        )

    def _describe(self, setting: int) -> str:
        return describe_setting(self._settings[setting - 1])
