"""By how much a choice flatters: against truth that is known, and against the rule step by step."""

import numpy as np
import pytest

from pipeline.runs.selection_bias import measure_selection_bias


def make_settings(random, accuracies, n_images):
    """Right or wrong by chance; the loss of an image that is wrong is ten times that of a right."""
    is_right = random.random((len(accuracies), n_images)) < np.array(accuracies)[:, None]
    return np.where(is_right, 0.2, 2.0), is_right


def test_the_best_of_thirty_equals_is_told_to_be_no_better_than_they_are():
    random = np.random.default_rng(0)
    seen, likely = [], []
    for _ in range(40):
        losses, is_right = make_settings(random, [0.8] * 30, 200)
        bias = measure_selection_bias(losses, is_right, np.arange(200), n_resamples=100)
        seen.append(bias.accuracy)
        likely.append(bias.likely_accuracy)
    assert np.mean(seen) > 0.84  # the luckiest of thirty
    assert np.mean(likely) == pytest.approx(0.8, abs=0.007)


def test_a_single_setting_and_a_clear_winner_flatter_nobody():
    random = np.random.default_rng(1)
    for accuracies in ([0.8], [0.95, 0.5, 0.4]):
        losses, is_right = make_settings(random, accuracies, 400)
        bias = measure_selection_bias(losses, is_right, np.arange(400))
        assert bias.likely_accuracy == pytest.approx(bias.accuracy, abs=0.004)
        assert bias.likely_log_loss == pytest.approx(bias.log_loss, abs=0.01)
        low, high = bias.accuracy_interval
        assert low < bias.accuracy < high
        # Images left out are about 1/e of all: the interval is wider than that of all of them.
        assert high - low > 2 * 1.96 * np.sqrt(accuracies[0] * (1 - accuracies[0]) / 400)


def test_the_numbers_are_those_of_the_rule_taken_step_by_step():
    random = np.random.default_rng(2)
    losses, is_right = make_settings(random, [0.7, 0.72, 0.75], 60)
    units = np.arange(60) // 3
    bias = measure_selection_bias(losses, is_right, units, n_resamples=2000)
    expected = []
    for _ in range(2000):
        drawn = random.integers(0, 20, 20)
        rows = np.concatenate([np.flatnonzero(units == unit) for unit in drawn])
        out = np.flatnonzero(~np.isin(units, drawn))
        chosen = losses[:, rows].mean(axis=1).argmin()
        expected.append((is_right[chosen, out].mean(), losses[chosen, out].mean()))
    accuracy, loss = np.mean(expected, axis=0)
    assert bias.likely_accuracy == pytest.approx(accuracy, abs=0.01)
    assert bias.likely_log_loss == pytest.approx(loss, abs=0.02)
    assert bias.accuracy_interval == pytest.approx(
        np.percentile(expected, [2.5, 97.5], axis=0)[:, 0], abs=0.03
    )


def test_images_that_belong_together_are_left_out_together():
    """Copies say nothing new: the interval is that of the different images."""
    random = np.random.default_rng(3)
    losses, is_right = make_settings(random, [0.8, 0.8, 0.8], 100)
    losses += random.random(losses.shape) / 10  # no two settings are equal
    once = measure_selection_bias(losses, is_right, np.arange(100))
    copies = np.repeat(np.arange(100), 5)
    often = measure_selection_bias(losses[:, copies], is_right[:, copies], copies)
    assert often.likely_accuracy == pytest.approx(once.likely_accuracy, abs=1e-9)
    assert often.accuracy_interval == pytest.approx(once.accuracy_interval, abs=1e-9)


def test_where_nothing_can_be_left_out_nothing_is_claimed():
    losses, is_right = make_settings(np.random.default_rng(4), [0.8, 0.7], 10)
    assert measure_selection_bias(losses, is_right, np.zeros(10, int)) is None
