"""What is said of a fine-tuning agrees with its numbers."""

import re
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.finetuning.verdict import describe_failure, judge
from pipeline.runs.significance import Comparison, describe_p_value, mcnemar_p_value

N_IMAGES = 200


@dataclass(frozen=True)
class Scores:
    accuracy: float
    log_loss: float


def judge_sides(became_right, became_wrong, *, n_images=N_IMAGES, is_optimistic=False, keep="last"):
    comparison = Comparison(
        split="test",
        n_samples=n_images,
        became_right=became_right,
        became_wrong=became_wrong,
        p_value=mcnemar_p_value(became_right, became_wrong),
        is_optimistic=is_optimistic,
    )
    before = Scores(0.8, 0.5)
    after = Scores(0.8 + (became_right - became_wrong) / n_images, 0.4)
    return judge(comparison, before, after, 0.45, keep)


# Two-sided, by hand: 2 * 0.5 ** 6 = 0.03; 2 * 0.5 ** 5 = 0.06.
@pytest.mark.parametrize(
    ("sides", "words", "points", "p"),
    [
        ((6, 0), "Fine-tuning helped: ", "+3.0 points", "significant (McNemar's exact test, p = 0"),
        ((0, 6), "Fine-tuning hurt: ", "-3.0 points", "significant (McNemar's exact test, p = 0"),
        ((5, 0), "Whether fine-tuning helped is not clear: ", "+2.5 points", "p = 0.062"),
        ((0, 1), "Whether fine-tuning hurt is not clear: ", "-0.5 points", "p = 1)"),
        ((3, 2), "Whether fine-tuning helped is not clear: ", "+0.5 points", "p = 1)"),
    ],
)
def test_only_what_is_no_chance_helped_or_hurt(sides, words, points, p):
    text = judge_sides(*sides)
    assert text.startswith(words)
    assert points in text
    assert p in text
    assert ("may be chance" in text) is ("not clear" in words)


def test_as_many_right_as_before_is_neither_gain_nor_chance():
    text = judge_sides(4, 4)
    assert text.startswith("Fine-tuning changed the accuracy by nothing (log-loss 0.5000 to 0.4000")
    assert "4 of 200 test images became right and 4 wrong" in text
    assert "chance" not in text
    assert "significant" not in text


def test_a_small_gain_on_many_images_is_not_said_to_be_none():
    assert "+0.01 points" in judge_sides(1, 0, n_images=10_000)


def test_a_split_that_chose_the_epoch_has_its_reservation_whatever_the_outcome():
    for sides in ((9, 0), (2, 1)):
        assert "validation also chose the epoch" in judge_sides(
            *sides, is_optimistic=True, keep="best"
        )
        assert "between this model and the head" in judge_sides(*sides, is_optimistic=True)
        assert "reservation" not in judge_sides(*sides)


@given(st.integers(0, 60), st.integers(0, 60), st.booleans())
@settings(max_examples=200, deadline=None)
def test_words_and_numbers_agree_whatever_came_out(became_right, became_wrong, is_optimistic):
    text = judge_sides(became_right, became_wrong, is_optimistic=is_optimistic)
    claims = [claim for claim in ("Fine-tuning helped", "Fine-tuning hurt") if claim in text]
    if became_right == became_wrong:
        assert claims == []
        assert "changed the accuracy by nothing" in text
        return
    p = mcnemar_p_value(became_right, became_wrong)
    if p < 0.05:
        assert claims == [f"Fine-tuning {'helped' if became_right > became_wrong else 'hurt'}"]
    else:
        assert claims == []
        assert "is not clear" in text
    assert ("is significant" in text, "may be chance" in text) == (p < 0.05, p >= 0.05)
    said = re.search(r"p (<|=) ([\d.e-]+)\)", text)
    is_said_to_be_below = said[1] == "<" or float(said[2]) < 0.05
    assert is_said_to_be_below is (p < 0.05)
    points = float(re.search(r"([+-][\d.]+) points", text)[1])
    assert points == pytest.approx(100 * (became_right - became_wrong) / N_IMAGES, abs=0.05)


@pytest.mark.parametrize(
    ("p", "said"),
    [
        *((0.0499, "p = 0.0499"), (0.0501, "p = 0.05"), (0.05, "p = 0.05")),
        *((0.04999999, "p = 0.04999999"), (0.012345, "p = 0.012"), (1.0, "p = 1")),
        (0.0009, "p < 0.001"),
    ],
)
def test_a_p_value_is_said_on_its_side_of_the_limit(p, said):
    assert describe_p_value(p) == said


def record(epoch, accuracy, loss, uncalibrated):
    return {
        "epoch": epoch,
        "val_accuracy": accuracy,
        "val_loss": loss,
        "val_loss_uncalibrated": uncalibrated,
    }


def test_an_epoch_that_was_right_more_often_and_lost_is_named_with_the_reason():
    history = [record(0, 0.9, 0.2, 0.3), record(1, 0.8, 0.1, 0.1), record(2, 0.95, 0.25, 0.4)]
    text = describe_failure(history)
    assert text.startswith("Fine-tuning did not help: ")
    assert "Epoch 2 was right more often on validation (accuracy 0.9500 against 0.9000)" in text
    assert "log-loss 0.2500 against 0.2000, both calibrated" in text
    assert "(uncalibrated 0.4000 against 0.3000)" in text


def test_where_no_epoch_was_right_more_often_the_one_with_the_lowest_loss_is_named():
    text = describe_failure([record(0, 0.9, 0.2, 0.3), record(1, 0.8, 0.1, 0.1)])
    assert "Epoch 1, the nearest on validation, has log-loss 0.1000 against 0.2000" in text
    assert "accuracy 0.8000 against 0.9000" in text


def test_a_fine_tuning_without_a_whole_epoch_says_so():
    assert "no epoch came to an end" in describe_failure([record(0, 0.9, 0.2, 0.3)])
