"""The rule by which an epoch wins, in numbers that can be worked out by hand."""

import numpy as np
import pytest

from pipeline.finetuning.judge_epochs import (
    Scores,
    beats,
    calibrated_losses,
    score,
    score_validation,
)
from pipeline.runs.predictions import Predictions

FROZEN = Scores(accuracy=0.8, loss=0.6, temperature=2.0, calibrated_loss=0.5)


@pytest.mark.parametrize(
    ("accuracy", "loss", "wins"),
    [
        (0.8, 0.49, True),
        (0.9, 0.49, True),
        (0.79, 0.1, False),  # a lower loss, fewer right
        (0.9, 0.55, False),  # below the frozen loss as it is, but calibration does better
        (0.9, 0.49995, False),  # within the rounding
    ],
)
def test_an_epoch_needs_a_lower_calibrated_loss_and_no_less_accuracy(accuracy, loss, wins):
    assert beats(accuracy, loss, FROZEN) is wins


def too_sure(n_right):
    """Sure by 0.9 (odds of 9), of two classes."""
    labels = np.repeat([0, 1], [n_right, 100 - n_right]).astype(np.int32)
    return labels, np.tile(np.array([0.9, 0.1], np.float32), (100, 1))


def test_scores_are_as_the_network_is_and_calibrated():
    scores = score(*too_sure(75))
    assert scores.accuracy == 0.75
    assert scores.loss == pytest.approx(-0.75 * np.log(0.9) - 0.25 * np.log(0.1))
    assert scores.temperature == pytest.approx(np.log(9) / np.log(3), rel=1e-3)
    assert scores.calibrated_loss == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))


def test_validation_calibrates_the_other_splits_too():
    labels, probabilities = too_sure(75)
    others = np.zeros(50, np.int32)
    splits = np.repeat([1, 2], [100, 50]).astype(np.int8)
    predictions = Predictions(
        [""] * 150,
        splits,
        np.concatenate([labels, others]),
        np.concatenate([probabilities, probabilities[:50]]),
    )
    assert score_validation(predictions).accuracy == 0.75
    losses = calibrated_losses(predictions)
    assert list(losses) == ["val", "test"]
    assert losses["test"] == pytest.approx(-np.log(0.75), rel=1e-3)


def test_a_loss_of_nothing_has_no_sign():
    scores = score(np.zeros(4, np.int32), np.tile([1.0, 0.0], (4, 1)))
    assert f"{scores.loss:.4f} {scores.calibrated_loss:.4f}" == "0.0000 0.0000"


def test_an_epoch_that_is_right_throughout_beats_a_head_that_is_not_however_unsure_it_is():
    """As after label smoothing: 0.9 for each label, of 48 images; the head has one wrong of 48."""
    labels = np.zeros(48, np.int32)
    smoothed = np.tile(np.array([0.9, 0.1], np.float32), (48, 1))
    head = np.tile(np.array([0.997, 0.003], np.float32), (48, 1))
    head[0] = 0.3, 0.7
    frozen, epoch = score(labels, head), score(labels, smoothed)
    assert epoch.loss > frozen.loss
    # Sure by 49 parts in 50.
    assert epoch.calibrated_loss == pytest.approx(-np.log(49 / 50), rel=1e-3)
    assert beats(epoch.accuracy, epoch.calibrated_loss, frozen)
