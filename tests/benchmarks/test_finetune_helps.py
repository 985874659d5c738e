"""The arithmetic of `benchmarks/finetune_helps.py`: pairing, averaging, and who chooses."""

import numpy as np
import pytest

from benchmarks.finetune_helps_table import gains_of_screen, gains_of_settings, gains_of_ways
from benchmarks.helps_parts.judges import choose
from benchmarks.helps_parts.weights import mix

LABELS = np.array([0, 1, 0, 1])


def row(what: str, acc: float, loss: float, *, way: str = "", seed: int = 0, setting=()) -> dict:
    return {
        "set": "flowers",
        "seed": seed,
        "what": f"{what}: {way}" if way else what,
        "way": way,
        "setting": dict(setting),
        "test_acc": acc,
        "test_logloss": loss,
    }


def test_a_way_is_compared_with_the_same_fine_tuning_as_it_is():
    rows = [
        row("base", 0.8, 0.5),
        row("base", 0.9, 0.4, way="flips"),
        row("flip", 0.7, 0.6),
        row("flip", 0.7, 0.4, way="flips"),
    ]

    assert gains_of_ways(rows)["flips"]["flowers", 0] == pytest.approx((0.05, -0.15))


def test_a_setting_is_compared_with_base_of_the_same_seed():
    rows = [
        row("base", 0.8, 0.5),
        row("block5a", 0.9, 0.45),
        row("base", 0.7, 0.7, seed=1),
        row("block5a", 0.7, 0.65, seed=1),
    ]

    gains = gains_of_settings(rows, "")["block5a"]
    assert gains["flowers", 0] == pytest.approx((0.1, -0.05))
    assert gains["flowers", 1] == pytest.approx((0.0, -0.05))


def test_half_of_a_screen_is_compared_with_the_other_half():
    rows = [
        row("{1", 0.80, 0.50, setting={"epochs": 6, "flip": False}),
        row("{2", 0.84, 0.46, setting={"epochs": 12, "flip": False}),
        row("{3", 0.80, 0.52, setting={"epochs": 6, "flip": True}),
        row("{4", 0.84, 0.48, setting={"epochs": 12, "flip": True}),
    ]

    gains = gains_of_screen(rows, "")
    assert gains["epochs 12 over 6"]["flowers", 0] == pytest.approx((0.04, -0.04))
    assert gains["flip true over false"]["flowers", 0] == pytest.approx((0.0, 0.02))


def test_weights_are_averaged_place_by_place():
    some = {3: np.float32([1, 2]), 7: np.float32([0])}
    others = {3: np.float32([3, 6]), 7: np.float32([8])}

    mixed = mix([some, others], [0.75, 0.25])

    np.testing.assert_allclose(mixed[3], [1.5, 3])
    np.testing.assert_allclose(mixed[7], [2])
    np.testing.assert_allclose(mix([some, others])[7], [4])


def test_an_epoch_that_is_right_less_often_than_the_frozen_head_is_not_chosen():
    frozen = np.array([[0.6, 0.4], [0.4, 0.6], [0.6, 0.4], [0.4, 0.6]])
    worse = np.array([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.6, 0.4]])
    surer = np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.49, 0.51]])
    every = np.ones(4, bool)

    assert choose([frozen, worse], LABELS, every) == 0
    assert choose([frozen, worse], LABELS, np.array([True, True, True, False])) == 1
    assert choose([surer], LABELS, every) == 0
