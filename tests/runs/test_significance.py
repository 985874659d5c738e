"""McNemar's exact test, and who changed sides."""

import csv
from math import comb

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.finetuning.verdict import judge
from pipeline.runs.predictions import Predictions
from pipeline.runs.scores import wilson_interval
from pipeline.runs.significance import (
    compare_predictions,
    mcnemar_p_value,
    paired_difference_interval,
    write_changed_sides,
)


@pytest.mark.parametrize(("right", "wrong"), [(0, 0), (1, 0), (9, 2), (5, 5), (30, 12), (2, 9)])
def test_p_value_is_the_two_tails_of_a_fair_coin(right, wrong):
    n = right + wrong
    tail = sum(comb(n, k) for k in range(min(right, wrong) + 1)) / 2**n
    assert mcnemar_p_value(right, wrong) == pytest.approx(min(1.0, 2 * tail))


def predictions(called, labels, splits):
    return Predictions(
        [f"{number}.png" for number in range(len(called))],
        np.array(splits, np.int8),
        np.array(labels, np.int32),
        np.eye(2, dtype=np.float32)[called],
    )


LABELS = [0, 0, 0, 1, 1, 1, 0, 1]
SPLITS = [0, 0, 2, 2, 2, 1, 1, 2]
BEFORE = predictions([0, 1, 1, 0, 1, 0, 0, 1], LABELS, SPLITS)
AFTER = predictions([1, 1, 0, 1, 0, 1, 0, 1], LABELS, SPLITS)


def test_comparison_is_on_the_test_split_where_there_is_one():
    comparison = compare_predictions(BEFORE, AFTER)
    assert (comparison.split, comparison.n_samples) == ("test", 4)
    assert (comparison.became_right, comparison.became_wrong) == (2, 1)
    assert comparison.p_value == pytest.approx(1.0)
    assert not comparison.is_optimistic


def test_comparison_on_validation_says_that_it_is_optimistic():
    splits = [1 if split == 2 else split for split in SPLITS]
    before, after = (
        predictions(p.probabilities.argmax(1), LABELS, splits) for p in (BEFORE, AFTER)
    )
    comparison = compare_predictions(before, after)
    assert (comparison.split, comparison.is_optimistic) == ("val", True)
    assert (comparison.became_right, comparison.became_wrong) == (3, 1)


def test_images_that_changed_sides_are_listed_training_images_last(tmp_path):
    write_changed_sides(tmp_path / "c.csv", BEFORE, AFTER, ["cat", "dog"])
    with (tmp_path / "c.csv").open() as file:
        rows = [(row["path"], row["change"], row["after"]) for row in csv.DictReader(file)]
    assert rows == [
        ("2.png", "became right", "cat"),
        ("3.png", "became right", "dog"),
        ("4.png", "became wrong", "cat"),
        ("5.png", "became right", "dog"),
        ("0.png", "became wrong", "dog"),
    ]


class Scores:
    def __init__(self, accuracy, log_loss):
        self.accuracy, self.log_loss = accuracy, log_loss


def test_verdict_says_how_much_how_sure_and_with_what_reservation():
    splits = [1] * 30
    labels = [0] * 30
    before = predictions([1] * 20 + [0] * 10, labels, splits)
    after = predictions([0] * 30, labels, splits)
    scores = Scores(1 / 3, 0.9), Scores(1.0, 0.1)
    text = judge(compare_predictions(before, after), *scores, 0.85, "best")
    assert "+66.7 points" in text
    assert "20 of 30 val images became right and 0 wrong" in text
    assert "significant" in text
    assert "p < 0.001" in text
    assert "log-loss 0.9000 to 0.1000, where calibration alone gives 0.8500" in text
    assert "validation also chose the epoch and its temperature" in text
    scores = Scores(0.5, 0.9), Scores(0.75, 0.8)
    text = judge(compare_predictions(BEFORE, AFTER), *scores, 0.9, "last")
    assert "may be chance (McNemar's exact test, p = 1)" in text


@pytest.mark.parametrize(
    ("right", "wrong", "n"), [(0, 0, 30), (9, 3, 100), (3, 9, 100), (0, 4, 20), (25, 20, 300)]
)
def test_ends_of_the_paired_interval_are_where_the_score_test_just_rejects(right, wrong, n):
    for end in paired_difference_interval(right, wrong, n):
        # The likelihood's own maximum at that difference, found by search instead of algebra.
        least, most = max(0.0, -end), (1 - end) / 2
        shares = np.linspace(least, most, 200_001)[1:-1]
        unchanged = n - right - wrong
        with np.errstate(divide="ignore", invalid="ignore"):
            likelihood = (
                right * np.log(shares + end)
                + wrong * np.log(shares)
                + unchanged * np.log(1 - 2 * shares - end)
            )
        likelihood = np.where(np.isnan(likelihood), -np.inf, likelihood)
        share = shares[likelihood.argmax()]
        deviation = (n * (2 * share + end - end**2)) ** 0.5
        assert abs(right - wrong - n * end) / deviation == pytest.approx(1.96, abs=0.01)


def test_paired_interval_without_changes_is_wilsons():
    low, high = paired_difference_interval(0, 0, 200)
    assert high == pytest.approx(wilson_interval(0, 200)[1], abs=1e-6)
    assert low == pytest.approx(-high)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 400))
def test_paired_interval_holds_what_was_seen_and_mirrors_when_models_change_places(
    right, wrong, same
):
    n = right + wrong + same
    assume(n > 0)
    low, high = paired_difference_interval(right, wrong, n)
    assert -1 <= low <= (right - wrong) / n <= high <= 1
    mirrored = paired_difference_interval(wrong, right, n)
    assert mirrored == pytest.approx((-high, -low), abs=1e-6)
