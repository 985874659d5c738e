"""A search end to end: what it promises, and that a killed one goes on as if nothing had been."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_runs import fit_on_alike_classes, reports_without_what_takes_long

from pipeline.errors import ParameterError, RunError
from pipeline.finetuning.checkpoint import State
from pipeline.finetuning.finetune import finetune
from pipeline.finetuning.parent import open_parent
from pipeline.finetuning.search import planning, rounds
from pipeline.finetuning.search import search as search_module
from pipeline.finetuning.search import trials as trials_module
from pipeline.finetuning.search.clock import Clock
from pipeline.finetuning.search.costs import StepCosts
from pipeline.finetuning.search.divisions import find_divisions
from pipeline.finetuning.search.journal import Journal
from pipeline.finetuning.search.trials import Lead
from pipeline.finetuning.trunk.plan import TrunkPlan
from pipeline.images.splits import TRAIN, VAL
from pipeline.report.gathering.gather import gather_contents
from pipeline.runs.run_folder import open_run

# Small and quick; the top sees 1 x 1 maps, for which the default rate is too high.
QUICK = {
    "unfreeze": "fire9", "epochs": 4, "augment": "none", "learning_rate": 1e-4, "batch_size": 16,
    "device": "cpu", "keep_size": True, "trunk_cache": True,
}  # fmt: skip
N_A_CLASS = 40


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run on three classes, with some equal images."""
    return fit_on_alike_classes(tmp_path_factory.mktemp("small"), N_A_CLASS, "--C", 0.01)


@pytest.fixture(scope="module")
def reference(small, tmp_path_factory):
    """A search among four settings that nothing interrupts, and what it said."""
    output, notes = tmp_path_factory.mktemp("reference") / "run", []
    return finetune(small, output=output, trials=4, on_note=notes.append, **QUICK), notes


def read_trials(folder):
    """The table of trainings, but for what hangs on the clock."""
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"]
    return rows


class Killed(BaseException):
    pass


def kill_at(monkeypatch, n_saved):
    """A search ends when its journal was saved so many times."""
    save, count = Journal.save, [0]

    def save_or_die(self):
        save(self)
        count[0] += 1
        if count[0] == n_saved:
            raise Killed

    monkeypatch.setattr(Journal, "save", save_or_die)


def require_same_answers(one, other):
    first, second = (
        np.load(result.folder / "predictions.npz")["probabilities"] for result in (one, other)
    )
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_training_images_judge_in_turn_by_heads_that_never_saw_them(small):
    parent = open_parent(open_run(small), None, None)
    divisions = find_divisions(parent, seed=0)
    judged = np.zeros(len(parent.before.labels), int)
    for number in range(1, 5):
        division = divisions.make(number, lambda stage, done, total: None)
        splits = division.before.splits
        is_val = splits == VAL
        judged += is_val
        assert set(parent.before.splits[is_val]) == {TRAIN}
        # Equal images stay together, and none of the run's own validation images is used.
        assert not set(divisions.units[is_val]) & set(divisions.units[splits == TRAIN])
        assert (splits[parent.before.splits == VAL] == -1).all()

        # Fitted without those that judge: less sure of them than the run's head, which saw them.
        sure = [
            before.probabilities[is_val, before.labels[is_val]].mean()
            for before in (division.before, parent.before)
        ]
        assert sure[0] < sure[1]
    np.testing.assert_array_equal(judged == 1, parent.before.splits == TRAIN)
    own = divisions.make(0, lambda stage, done, total: None)
    assert own.before is parent.before and own.head is None


def test_a_search_says_its_plan_first_and_all_it_tried(reference):
    result, notes = reference
    words = (
        "Plan: 4 settings for 2 epochs, then 2 settings for 2 epochs, then the best for 4 epochs"
    )
    plan = next(place for place, note in enumerate(notes) if note.startswith(words))
    assert not any(note.startswith("Round") for note in notes[:plan])
    trials = read_trials(result.folder)
    assert [(t["round"], t["setting"]) for t in trials][:4] == [("1", str(n)) for n in range(1, 5)]
    assert [t["round"] for t in trials[4:]] == ["2", "2", "3"]
    # Each round is judged by other images.
    assert len({t["frozen_log_loss"] for t in trials}) == 3
    part = json.loads((result.folder / "manifest.json").read_text())["search"]
    assert part["n_settings"] == 4 and part["budget_seconds"] is None
    winner = part["trials"][-1]
    expected = {**QUICK, **winner["values"]}
    parameters = json.loads((result.folder / "manifest.json").read_text())["parameters"]
    assert {name: parameters[name] for name in winner["values"]} == winner["values"]
    assert parameters["epochs"] == expected["epochs"] == winner["epochs"]
    assert result.search.winner == part["winner"]


def test_its_report_has_every_training(reference):
    run = open_run(reference[0].folder)
    with reports_without_what_takes_long():
        contents = gather_contents([run], [Path(run.manifest.data_root)], count_bytes=lambda _: 0)
    (search,) = (one for one in contents.runs[0].sections if one.heading == "Search")
    said = {fact.name: fact.value for fact in search.facts}
    assert said == {"settings tried": "4", "came first": reference[0].search.winner}
    trials = read_trials(run.folder)
    assert len(search.table) == 1 + len(trials)
    columns = ("accuracy", "frozen_accuracy", "log_loss", "frozen_log_loss")
    for number, (row, trial) in enumerate(zip(search.table[1:], trials, strict=True), 1):
        assert row[0] == str(number)
        assert row[1].startswith(f"{trial['setting']}: ")
        assert row[2:4] == [trial["round"], trial["epochs"]]
        assert row[5:] == [trial["n_images"], *(f"{float(trial[name]):.4f}" for name in columns)]


def test_the_settings_with_the_greatest_gains_go_on_and_those_as_they_are(reference):
    trials = read_trials(reference[0].folder)
    gains = {
        t["setting"]: float(t["frozen_log_loss"]) - float(t["log_loss"])
        for t in trials if t["round"] == "1"
    }  # fmt: skip
    best_two = sorted(gains, key=lambda setting: -gains[setting])[:2]
    went_on = {t["setting"] for t in trials if t["round"] == "2"}
    assert len(went_on) == 2
    assert went_on - {"1"} <= set(best_two)


def test_settings_stay_as_they_are_where_another_is_hardly_ahead_which_is_said(
    small, tmp_path, monkeypatch
):
    for module in (trials_module, search_module):
        monkeypatch.setattr(module, "find_lead", lambda *_: Lead(0.01, 0.02))
        monkeypatch.setattr(module, "find_worths", lambda _: {1: 0.0, 2: 0.01})
    notes: list[str] = []
    result = finetune(small, output=tmp_path / "run", trials=2, on_note=notes.append, **QUICK)
    assert result.search.winner == "as it is"
    assert (
        "Setting 2 is ahead of the settings as they are by a log-loss of 0.0100 with a standard "
        "error of 0.0200: too little to change them."
    ) in notes


def test_it_is_never_worse_than_the_head_on_validation(reference):
    assessment = reference[0].assessment
    frozen, tuned = assessment.frozen["val"], assessment.finetuned["val"]
    assert tuned.accuracy >= frozen.accuracy and tuned.log_loss <= frozen.log_loss + 1e-6


@pytest.mark.parametrize(
    "n_saved", [9, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 4, 12))]
)
def test_a_killed_search_goes_on_to_the_same_table(
    small, reference, tmp_path, monkeypatch, n_saved
):
    kill_at(monkeypatch, n_saved)
    with pytest.raises(Killed):
        finetune(small, output=tmp_path / "run", trials=4, **QUICK)
    monkeypatch.undo()
    if n_saved > 1:  # more than the plan
        with pytest.raises(RunError, match="`resume=True` to go on"):
            finetune(small, output=tmp_path / "run", trials=4, **QUICK)
    result = finetune(small, output=tmp_path / "run", trials=4, resume=True, **QUICK)
    assert read_trials(result.folder) == read_trials(reference[0].folder)
    require_same_answers(result, reference[0])
    assert not list(tmp_path.glob(".*search")) and not list(tmp_path.glob(".*checkpoint"))


@pytest.mark.parametrize("was_worth_it", [True, False])
def test_what_is_resumed_keeps_to_the_trunk_cache_or_goes_without(
    small, tmp_path, monkeypatch, was_worth_it
):
    """Whether it pays hangs on the clock."""
    how = {**QUICK, "output": tmp_path / "run", "trials": 1, "trunk_cache": None}
    with monkeypatch.context() as patch:
        patch.setattr(TrunkPlan, "is_worth_it", was_worth_it)
        kill_at(patch, 3)
        with pytest.raises(Killed):
            finetune(small, **how)
    monkeypatch.setattr(TrunkPlan, "is_worth_it", not was_worth_it)
    result = finetune(small, resume=True, **how)
    assert result.used_trunk_cache == was_worth_it


def test_what_was_interrupted_with_other_options_is_named(small, reference, tmp_path):
    options = {"keep_size": True, "budget": None, "trials": 3, "epochs": 4}
    (tmp_path / ".logreg-finetuned-0123456789.search").mkdir()
    there = tmp_path / ".logreg-finetuned-0123456789.search/journal.json"
    there.write_text(json.dumps({"facts": options}))
    with pytest.raises(RunError, match="There is nothing to resume") as caught:
        finetune(small, output=tmp_path / "run", trials=4, resume=True, **QUICK)
    assert "0123456789.search: " in str(caught.value)
    assert "trials 3 there, 4 here" in str(caught.value)


def test_a_budget_without_room_for_an_epoch_says_how_much_it_takes(small, tmp_path):
    with pytest.raises(ParameterError, match="no room for one epoch") as caught:
        finetune(small, output=tmp_path / "run", budget="10s", **QUICK)
    assert "`budget=10s`" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_budget_is_kept_and_filled_by_a_search(small, tmp_path, monkeypatch):
    """With costs that are given, so that no clock decides what is tried."""
    monkeypatch.setattr(
        "pipeline.finetuning.search.search.time_steps",
        lambda *args: StepCosts(3.0, 1.0, 0.0, {"fire9": 0.9, "all": 0.0}, 16),
    )
    notes = []
    result = finetune(small, output=tmp_path / "run", budget=240, on_note=notes.append, **QUICK)
    assert result.search.budget_seconds == 240
    assert result.search.n_settings == 3
    assert result.seconds["total"] < 240
    assert any(note.startswith("Plan: ") and "of 4 min" in note for note in notes)


def twice(monkeypatch):
    """The winner of a search is trained twice."""

    def plan_for_trials(*args, **how):
        plan = rounds.plan_for_trials(*args, **how)
        *before, last = plan.rounds
        return replace(plan, rounds=(*before, replace(last, repeats=2)))

    monkeypatch.setattr(planning, "plan_for_trials", plan_for_trials)


def test_the_winner_is_trained_several_times_and_the_mean_judged(small, tmp_path, monkeypatch):
    twice(monkeypatch)
    notes = []
    result = finetune(small, output=tmp_path / "both", trials=1, on_note=notes.append, **QUICK)
    first, second = result.search.trials
    assert (first["repeat"], second["repeat"]) == (1, 2)
    assert second["log_loss"] <= first["log_loss"]
    assert "Round 1 of 1, setting 1 (as it is), training 2, 4 epochs:" in notes
    (said,) = [note for note in notes if note.startswith(("The mean of the", "The weights of one"))]
    assert ("is kept" in said) == (result.best_epoch == 4)
    # The table has the best so far: of the mean with the second, that without, and it alone.
    tried = re.findall(r"(?:log-loss |[(]|, )([0-9.]{6}) ", said)
    assert len(tried) == 3 and float(tried[0]) == min(map(float, tried))
    scores = f"accuracy {second['accuracy']:.4f}, log-loss {second['log_loss']:.4f} on validation"
    assert scores in said


@pytest.mark.parametrize("n_saved", [6, 9])  # in the first training, in the second
def test_a_killed_search_goes_on_to_the_same_mean(small, tmp_path, monkeypatch, n_saved):
    twice(monkeypatch)
    whole = finetune(small, output=tmp_path / "whole", trials=1, **QUICK)
    kill_at(monkeypatch, n_saved)
    with pytest.raises(Killed):
        finetune(small, output=tmp_path / "run", trials=1, **QUICK)
    monkeypatch.undo()
    twice(monkeypatch)
    result = finetune(small, output=tmp_path / "run", trials=1, resume=True, **QUICK)
    assert read_trials(result.folder) == read_trials(whole.folder)
    require_same_answers(result, whole)


def test_the_last_training_ends_with_an_epoch_when_the_budget_does(small, tmp_path, monkeypatch):
    seconds = iter([1000.0] * 3 + [0.0] * 100)
    monkeypatch.setattr(Clock, "left", property(lambda self: next(seconds)))
    notes = []
    result = finetune(
        small, output=tmp_path / "run", budget=300, trials=1, on_note=notes.append, **QUICK
    )
    assert result.last_epoch < 4
    assert f"The budget ends training after epoch {result.last_epoch}." in notes


def test_a_damaged_state_costs_its_own_training_alone(tmp_path):
    journal = Journal(tmp_path / "there", {})
    journal.save_training(State(history=[{"epoch": 0}], epoch=0), (1, 2, 1))
    assert journal.find_training((1, 2, 1)).epoch == 0
    assert journal.find_training((1, 2, 2)) is None
    path = tmp_path / "there/training.checkpoint"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(RunError, match=r"cannot be read[\s\S]*those that ended are kept"):
        journal.find_training((1, 2, 1))
