"""Which setting goes on, and how much of that is luck."""

import numpy as np
import pytest

from pipeline.finetuning.judge_epochs import score
from pipeline.finetuning.search.luck import measure_luck
from pipeline.finetuning.search.trials import (
    Judged,
    Trial,
    find_lead,
    find_worth,
    judge,
    rank_settings,
    read_trial,
    write_arrays,
)


def make_trial(number, setting, losses, frozen=None, is_right=None):
    losses = np.asarray(losses, float)
    frozen = np.ones(len(losses)) if frozen is None else np.asarray(frozen, float)
    is_right = losses < 0.7 if is_right is None else is_right
    tuned, before = Judged(losses, is_right), Judged(frozen, frozen < 0.7)
    return Trial(
        number, setting, {}, 2, len(losses), float(is_right.mean()), float(losses.mean()),
        float(before.is_right.mean()), float(frozen.mean()), 1.0, np.arange(len(losses)), tuned,
        before,
    )  # fmt: skip


def test_a_setting_is_worth_its_gain_over_all_images_that_judged_it():
    first = [make_trial(1, 3, [0.5, 0.5]), make_trial(1, 2, [0.4, 0.5])]
    assert rank_settings(first) == [2, 3]
    # Setting 3 is the better one on eight other images: 10 images say 0.5, against 0.59.
    second = [make_trial(2, 3, [0.5] * 8), make_trial(2, 2, [0.6] * 8 + [0.7] * 2)]
    assert rank_settings([*first, *second]) == [3, 2]
    assert find_worth([first[0], second[0]]) == pytest.approx(0.5)


def test_only_those_of_the_last_round_go_on():
    trials = [make_trial(1, 1, [0.1]), make_trial(1, 2, [0.5]), make_trial(2, 2, [0.9])]
    assert rank_settings(trials) == [2]


def test_the_settings_as_they_are_give_way_to_what_is_surely_better_alone():
    as_it_is = make_trial(1, 1, [0.5, 0.5, 0.5, 0.5])
    surely = make_trial(1, 2, [0.4, 0.3, 0.4, 0.3])
    perhaps = make_trial(1, 3, [0.1, 0.1, 0.6, 0.9])
    worse = make_trial(1, 4, [0.6, 0.6, 0.6, 0.6])
    assert rank_settings([as_it_is, surely, perhaps, worse]) == [2, 1, 3, 4]
    lead = find_lead([as_it_is, surely], 2, 1)
    assert lead.gain == pytest.approx(0.15)
    # The differences are 0.1, 0.2, 0.1 and 0.2: a standard deviation of sqrt(0.01 / 3).
    assert lead.standard_error == pytest.approx(np.sqrt(0.01 / 3) / 2)
    # Another round says the opposite.
    second = [make_trial(2, 1, [0.1, 0.1]), make_trial(2, 2, [0.8, 0.7])]
    assert find_lead([as_it_is, surely, *second], 2, 1).gain == pytest.approx((0.6 - 1.3) / 6)
    assert rank_settings([as_it_is, surely, *second]) == [1, 2]


def test_a_lead_is_of_the_images_that_judged_both():
    one, two = make_trial(1, 1, [0.5, 0.4, 0.2]), make_trial(1, 2, [0.1, 0.1])
    assert find_lead([one, two], 2, 1).gain == pytest.approx(0.35)
    never_met = find_lead([one, make_trial(2, 2, [0.1, 0.1])], 2, 1)
    assert not never_met.is_sure
    assert never_met.gain == 0


def test_of_equal_ones_the_first_goes_on():
    assert rank_settings([make_trial(1, number, [0.5, 0.6]) for number in (1, 2, 3)]) == [1, 2, 3]


def test_images_are_judged_by_calibrated_losses():
    labels = np.array([0, 1, 1, 0])
    said = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]], np.float32)
    scores = score(labels, said)
    found = judge(labels, scores)
    assert found.losses.mean() == pytest.approx(scores.calibrated_loss, abs=1e-6)
    assert found.is_right.tolist() == [True, True, False, True]


def test_a_trial_is_read_as_it_was_written(tmp_path):
    trial = make_trial(1, 3, [0.5, 0.9, 0.1])
    write_arrays(tmp_path / "trial.npz", trial)
    again = read_trial(tmp_path / "trial.npz", trial.facts())
    assert again.facts() == trial.facts()
    np.testing.assert_array_equal(again.tuned.losses, trial.tuned.losses)
    np.testing.assert_array_equal(again.frozen.is_right, trial.frozen.is_right)


def test_the_best_of_many_that_are_all_chance_gains_nothing_elsewhere():
    random = np.random.default_rng(0)
    n_images = 300
    frozen = -np.log1p(
        -(np.arange(n_images) + 0.5) / n_images
    )  # just what the others are drawn from
    trials = [
        make_trial(1, number, random.exponential(1.0, n_images), frozen) for number in range(1, 21)
    ]
    luck = measure_luck(trials, np.arange(n_images))
    assert luck.n_settings == 21
    assert luck.gain > 0.03  # for nothing
    assert luck.likely_gain < luck.gain / 2
    assert "luck of choosing among 21" in luck.describe()


def test_a_gain_that_all_images_show_is_not_luck():
    frozen = np.linspace(0.5, 1.5, 200)
    trials = [make_trial(1, 1, frozen, frozen), make_trial(1, 2, frozen - 0.4, frozen)]
    luck = measure_luck(trials, np.arange(200))
    assert luck.gain == pytest.approx(0.4, abs=0.02)
    assert luck.likely_gain == pytest.approx(luck.gain, abs=0.02)


def test_without_a_gain_no_luck_is_spoken_of():
    frozen = np.linspace(0.5, 1.5, 50)
    trials = [make_trial(1, number, frozen + 0.1 * number, frozen) for number in (1, 2)]
    assert measure_luck(trials, np.arange(50)).describe() == ""


def test_one_training_alone_has_chosen_nothing():
    assert measure_luck([make_trial(1, 1, [0.5] * 50)], np.arange(50)) is None
