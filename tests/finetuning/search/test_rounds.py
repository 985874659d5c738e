"""How a budget is divided into rounds, and how lengths of time are read."""

import pytest

from pipeline.errors import ParameterError
from pipeline.finetuning.search.options import (
    make_search_options,
    read_duration,
)
from pipeline.finetuning.search.rounds import (
    Round,
    plan_for_seconds,
    plan_for_trials,
    plan_rounds,
)
from pipeline.system.printable import describe_duration


def test_many_start_few_go_on_and_one_is_trained_in_full():
    assert plan_rounds(6, 8, divides=True) == (Round(6, 4, 1), Round(2, 4, 2), Round(1, 8, 0))
    assert plan_rounds(2, 8, divides=True) == (Round(2, 4, 1), Round(1, 8, 0))
    assert plan_rounds(1, 8, divides=True) == (Round(1, 8, 0),)


def test_where_nothing_can_be_held_out_all_rounds_are_judged_alike():
    assert {one.division for one in plan_rounds(6, 8, divides=False)} == {0}


def test_what_chooses_is_trained_for_half_of_the_epochs():
    assert [one.epochs for one in plan_rounds(9, 5, divides=True)] == [3, 3, 5]
    assert [one.epochs for one in plan_rounds(9, 1, divides=True)] == [1, 1, 1]


def cost(rounds):
    """A second an epoch, ten for all else."""
    return 10.0 + sum(one.n_settings * one.repeats * one.epochs for one in rounds)


def test_a_budget_is_filled_and_never_exceeded():
    sizes = []
    for seconds in range(18, 1000, 7):
        plan = plan_for_seconds(seconds, 96, 8, cost, divides=True)
        assert plan.seconds == cost(plan.rounds) <= seconds
        assert not plan.is_cut
        sizes.append(plan.n_epochs)
    assert sizes == sorted(sizes) and sizes[0] == 8 and sizes[-1] > 300


def test_the_first_that_more_time_brings_are_more_trainings_of_one_setting():
    rounds = [plan_for_seconds(s, 96, 8, cost, divides=True).rounds for s in (20, 30, 40, 42, 60)]
    assert rounds[:3] == [(Round(1, 8, 0, repeats),) for repeats in (1, 2, 3)]
    assert rounds[3] == (Round(2, 4, 1), Round(1, 8, 0, 3))
    assert rounds[4] == (Round(4, 4, 1), Round(2, 4, 2), Round(1, 8, 0, 3))
    assert plan_for_trials(4, 8, cost, divides=True).rounds[-1].repeats == 1


def test_a_small_budget_has_fewer_epochs_and_the_smallest_none():
    plan = plan_for_seconds(15, 96, 8, cost, divides=True)
    assert plan.is_cut and plan.rounds == (Round(1, 5, 0),)
    assert plan_for_seconds(10.5, 96, 8, cost, divides=True) is None


def test_epochs_that_were_given_are_not_exceeded():
    plan = plan_for_seconds(1e6, 96, 8, cost, divides=True, may_lengthen=False)
    assert max(one.epochs for one in plan.rounds) == 8
    assert plan.rounds[0].n_settings == 48


def test_there_are_no_more_settings_than_exist():
    plan = plan_for_seconds(1e6, 5, 8, cost, divides=True)
    assert plan.rounds[0].n_settings == 5
    assert plan_for_trials(3, 8, cost, divides=True).rounds == plan_rounds(3, 8, divides=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("600", 600), ("2m5s", 125)],
)
def test_lengths_of_time_are_read(text, seconds):
    assert read_duration(text) == seconds


def test_a_number_is_seconds():
    assert make_search_options(600, None).seconds == 600
    assert make_search_options(90.5, None).seconds == 90.5


@pytest.mark.parametrize(
    "text", ["", "9", "5s", "ten", "10 m", "m", "-10m", "10m1h", "nan", "1e9m"]
)
def test_what_is_no_length_of_time_is_refused(text):
    with pytest.raises(ParameterError, match="10m, 90s or 1h30m, 10s at least") as caught:
        make_search_options(text, None)
    assert f"`budget={text}`" in str(caught.value) or not text


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1, 0, True])
def test_what_is_no_number_of_seconds_is_refused(number):
    with pytest.raises(ParameterError, match="length of time"):
        make_search_options(number, None)


def test_lengths_of_time_are_written():
    assert [describe_duration(s) for s in (45.2, 60, 570, 5400, 7200)] == [
        "45 s", "1 min", "9 min 30 s", "1 h 30 min", "2 h",
    ]  # fmt: skip
