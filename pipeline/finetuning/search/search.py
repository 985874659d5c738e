"""The search: rounds of trainings, of which the last trains the setting that won."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipeline.errors import FrostlineError
from pipeline.finetuning.blend import Blend
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
from pipeline.finetuning.search.planning import (
    describe_plan,
    make_estimate,
    make_plan,
)
from pipeline.finetuning.search.rounds import MOST_REPEATS, Round
from pipeline.finetuning.search.settings import LINE, find_space
from pipeline.finetuning.search.trials import (
    AS_IT_IS,
    Trial,
    find_lead,
    find_worth,
    find_worths,
    rank_settings,
)
from pipeline.finetuning.task import Task
from pipeline.finetuning.thawed import Thawed, thaw_classifier
from pipeline.finetuning.training import Training
from pipeline.finetuning.trunk.stage import find_obstacle
from pipeline.runs.searched_settings import Setting, describe_setting
from pipeline.system.printable import count

# Makes the inputs for options, and says at which line they come in; called with the lowest line
# that is trained from, and with the epochs of the whole search.
OpenInputs = Callable[[str, FinetuneOptions, int], tuple[Inputs, str | None]]


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
        self._clock = Clock(wanted.seconds, task.stopwatch.started, journal.used_before)
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
            self._save()
            self._task.watch.on_note(describe_plan(self._plan, self._clock))
            if self._divisions.note:
                self._task.watch.on_note(self._divisions.note)
        *rounds, last = self._plan.rounds
        if not self._plan.is_settled:
            for place, one in enumerate(rounds, start=1):
                self._run_round(place, one)
        place = len(rounds) + 1
        winner = self._choose(place, last)[0]
        if not self._plan.is_settled:
            self._tell_choice(place, winner)
        last = self._settle(winner)
        state = self._train_winner(place, winner, last)
        options, line = self._apply(winner, last.epochs)
        trials = self._journal.trials
        n_tried = len({trial.setting for trial in trials})
        return Found(self._settings[winner - 1], options, line, state, n_tried, trials)

    @property
    def _lowest(self) -> str:
        """The line below which nothing that is planned trains."""
        return self._space.lowest_of(self._plan.rounds[0].n_settings)

    @property
    def units(self) -> np.ndarray:
        """int (n_images of the run,), equal for images that belong together."""
        return self._divisions.units

    def _run_round(self, place: int, one: Round) -> None:
        division = self._divide(one)
        for setting in self._choose(place, one):
            if self._has_ended((place, setting, 1)):
                continue
            if not self._has_time(setting, one):
                self._task.watch.on_note("There is no time for more settings.")
                return
            self._train((place, setting, 1), one, division)

    def _train_winner(self, place: int, winner: int, last: Round) -> State:
        """The last round; its weights are in the model then, the mean of its trainings'."""
        division, training = self._divide(last), None
        n_ended = sum(trial.round == place for trial in self._journal.trials)
        is_running = self._journal.find_training((place, winner, n_ended + 1)) is not None
        first = n_ended + 1 if is_running else max(n_ended, 1)
        most = last.repeats if self._clock.budget is None else MOST_REPEATS
        for repeat in range(first, most + 1):
            if training is not None and not self._has_time_to_repeat(winner, last):
                break
            blend = None if training is None else training.blend()
            training = self._train((place, winner, repeat), last, division, blend)
        assert training is not None  # the first one is there in any case
        return replace(training.state, history=training.kept_history)

    def _settle(self, winner: int) -> Round:
        """The last round, with as many epochs as there is time for by what the others really took.
        It is decided once.
        """
        *rounds, last = self._plan.rounds
        if self._plan.is_settled:
            return last
        if self._clock.budget is not None:
            setting, pace = self._settings[winner - 1], self._pace * MARGIN
            left = self._clock.left - MARGIN * self._estimate.after()
            epochs = int((left - pace * self._costs.start) / (pace * self._estimate.epoch(setting)))
            last = replace(last, epochs=min(max(epochs, 1), last.epochs))
        self._plan = replace(self._plan, rounds=(*rounds, last), is_settled=True)
        self._journal.plan = self._plan
        self._save()
        return last

    def _save(self) -> None:
        self._journal.used_seconds = self._clock.used
        self._journal.save()

    @property
    def _pace(self) -> float:
        """What trainings have taken, by what they were estimated to take."""
        trials = self._journal.trials
        estimated = sum(
            self._estimate.training(self._settings[trial.setting - 1], trial.epochs)
            for trial in trials
        )
        return sum(trial.seconds for trial in trials) / estimated if trials else 1.0

    def _divide(self, one: Round) -> Division:
        try:
            return self._divisions.make(one.division, self._task.watch.on_progress)
        except FrostlineError as error:
            reason = str(error).split("\n")[0]
            self._task.watch.on_note(f"The validation images judge this round. {reason}")
            return self._divisions.make(0, self._task.watch.on_progress)

    def _choose(self, place: int, one: Round) -> list[int]:
        """Numbers of the settings of a round, from 1; by the rounds before, the best first."""
        before = [trial for trial in self._journal.trials if trial.round < place]
        ranked = rank_settings(before) if before else list(range(1, len(self._settings) + 1))
        return ranked[: one.n_settings]

    def _has_ended(self, numbers: tuple[int, int, int]) -> bool:
        trials = self._journal.trials
        return numbers in {(trial.round, trial.setting, trial.repeat) for trial in trials}

    def _has_time_to_repeat(self, winner: int, last: Round) -> bool:
        if self._clock.budget is None:
            return True
        training = self._estimate.training(self._settings[winner - 1], last.epochs)
        return self._pace * training + self._estimate.after() < self._clock.left

    def _has_time(self, setting: int, one: Round) -> bool:
        """Whether the last round can be had after this training."""
        last = self._plan.rounds[-1]
        values = self._settings[setting - 1]
        trainings = sum(
            self._estimate.training(values, epochs) for epochs in (one.epochs, last.epochs)
        )
        return self._pace * trainings + self._estimate.after() < self._clock.left

    def _train(
        self,
        numbers: tuple[int, int, int],
        one: Round,
        division: Division,
        blend: Blend | None = None,
    ) -> Training:
        """A training, or the rest of it; the model has its weights then.

        Args:
            numbers: of the round, of the setting and of the repeat.
            blend: of the trainings before it, with which its weights may be averaged.
        """
        place, setting, repeat = numbers
        options, line = self._apply(setting, one.epochs)
        options = replace(options, seed=(options.seed + repeat - 1) % 2**32)
        is_last = place == len(self._plan.rounds)
        has_ended = self._has_ended(numbers)
        if not has_ended:
            self._tell_begin(numbers, one)
        state = self._journal.find_training(numbers) or State()
        if blend is not None:
            state.blended, state.n_blended = blend.weights, blend.n_trainings
            state.blended_history, state.blended_said = blend.history, [blend.said]
        training = self._bench.train(
            *self._open(self._lowest, options, self._plan.n_epochs),
            division,
            line,
            options,
            state,
            lambda state: self._keep(state, numbers, is_last=is_last),
            self._task.callbacks if is_last and repeat == 1 else None,
            goes_part_way=is_last,
        )
        if not has_ended:
            trial = report_trial(division, training, numbers, self._settings[setting - 1])
            self._journal.used_seconds = self._clock.used
            self._journal.add(trial)
            self._tell_end(trial)
        return training

    def _keep(self, state: State, training: tuple[int, int, int], *, is_last: bool) -> None:
        """Keeps a state; the last training ends where another epoch would take too long."""
        epoch = self._pace * self._estimate.epoch(self._settings[training[1] - 1])
        is_unfinished = 0 < state.epoch < self._plan.rounds[-1].epochs and not state.is_over
        if is_last and is_unfinished and self._clock.left < self._estimate.after() + epoch:
            state.is_over = True
            self._task.watch.on_note(f"The budget ends training after epoch {state.epoch}.")
        self._journal.used_seconds = self._clock.used
        self._journal.save_training(state, training)

    def _apply(self, setting: int, epochs: int) -> tuple[FinetuneOptions, str]:
        """Options and line of a setting."""
        values = self._settings[setting - 1]
        line = values.get(LINE, self._line)
        return replace(self._task.options, **{**values, LINE: line}, epochs=epochs), line

    def _tell_begin(self, numbers: tuple[int, int, int], one: Round) -> None:
        place, setting, repeat = numbers
        n_rounds, words = len(self._plan.rounds), self._describe(setting)
        which = f", training {repeat}" if repeat > 1 else ""
        self._task.watch.on_note(
            f"Round {place} of {n_rounds}, setting {setting} ({words}){which}, "
            f"{count(one.epochs, 'epoch')}:"
        )

    def _tell_end(self, trial: Trial) -> None:
        best = self._choose(trial.round + 1, Round(1, 0, 0))[0]
        worth = find_worth([one for one in self._journal.trials if one.setting == best])
        losses = f"log-loss {trial.frozen_log_loss:.4f} to {trial.log_loss:.4f}"
        accuracies = f"accuracy {trial.frozen_accuracy:.4f} to {trial.accuracy:.4f}"
        leader = (
            f"Best so far: setting {best} ({self._describe(best)}), log-loss {-worth:+.4f}."
            if worth > 0
            else "None is better than the frozen head so far."
        )
        self._task.watch.on_note(
            f"Setting {trial.setting}: {losses}, {accuracies} on {trial.n_images:,} images. "
            f"{leader}"
        )

    def _tell_choice(self, place: int, winner: int) -> None:
        """Says why settings stay as they are where others gained more."""
        before = [trial for trial in self._journal.trials if trial.round < place]
        worths = find_worths(before) if winner == AS_IT_IS and before else {winner: 0.0}
        best = max(worths, key=worths.__getitem__)
        if best != winner:
            lead = find_lead(before, best, winner)
            self._task.watch.on_note(
                f"Setting {best} is ahead of the settings as they are by a log-loss of "
                f"{lead.gain:.4f} with a standard error of {lead.standard_error:.4f}: too little "
                "to change them."
            )

    def _describe(self, setting: int) -> str:
        return describe_setting(self._settings[setting - 1])
