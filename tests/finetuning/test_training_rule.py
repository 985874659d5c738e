"""Which epoch wins, when training stops, and what is in the model then; images of 4 pixels."""

import threading

import keras
import numpy as np
import pytest
from keras import layers

from pipeline.backbones.networks.tuned import set_precision
from pipeline.finetuning.epoch_passes import EpochPasses
from pipeline.finetuning.interpolate import PARTS, describe_winner
from pipeline.finetuning.judge_epochs import Scores
from pipeline.finetuning.network import Network, _report_losses
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.training import Training
from pipeline.runs.predictions import Predictions
from pipeline.runs.scores import mean_log_loss

N_ROWS = 20


def make_classifier():
    image = keras.Input((2, 2, 3), name="image")
    preprocessing = layers.Rescaling(1 / 255, name="preprocessing")
    inner = keras.Input((2, 2, 3))
    pooled = layers.Dense(3, name="dense")(layers.GlobalAveragePooling2D()(inner))
    backbone = keras.Model(inner, pooled, name="backbone")
    head = layers.Dense(2, activation="softmax", name="head")
    model = keras.Model(image, head(backbone(preprocessing(image))))
    head.set_weights([np.zeros((3, 2)), np.zeros(2)])
    return model


class Plain:
    def __init__(self, images):
        self.images = images

    def train(self, rows, targets, epoch, batch):
        return self.images[rows], targets

    def plain(self, rows):
        return self.images[rows]


def start(model=None, labels=None, inputs=None, before=None, **options):
    """A training on noise; `before` is what the frozen head says, by default a toss-up."""
    model = model or make_classifier()
    labels = np.arange(N_ROWS) % 2 if labels is None else labels
    splits = np.repeat([0, 1], N_ROWS // 2).astype(np.int8)
    images = np.random.default_rng(0).uniform(0, 255, (N_ROWS, 2, 2, 3)).astype(np.float32)
    before = np.full((N_ROWS, 2), 0.5, np.float32) if before is None else before(model, images)
    predictions = Predictions([""] * N_ROWS, splits, labels, before)
    settings = FinetuneOptions(**{"batch_size": 5, **options})
    return model, Training(model, "all", inputs or Plain(images), predictions, settings)


@pytest.fixture
def scripted(monkeypatch):
    """Trains by setting all weights to the number of the epoch; validation says what is told.

    The frozen head has half right, a loss of ln 2, and no temperature makes that better.
    """

    def run(script, keep="best", **options):
        model, training = start(keep=keep, **options)
        original = [value.copy() for value in model.get_weights()]
        said = iter(script)

        def train_epoch(self, epoch, rate):
            for variable in model.trainable_variables:
                variable.assign(np.full(variable.shape, float(epoch)))
            return 1.0, 0.5, rate

        def evaluate(self):
            accuracy, loss, *temperature = next(said)
            return Scores(accuracy, loss, *(temperature or [1.0]), loss)

        with monkeypatch.context() as patched:
            patched.setattr(EpochPasses, "train", train_epoch)
            patched.setattr(EpochPasses, "evaluate", evaluate)
            training.run()
        return model, training, original

    return run


def test_a_lower_loss_with_fewer_right_does_not_win_and_the_head_stays_bit_for_bit(scripted):
    model, training, original = scripted([(0.45, 0.1), (0.4, 0.05)], epochs=2)
    assert training.best_epoch == 0
    for now, before in zip(model.get_weights(), original, strict=True):
        np.testing.assert_array_equal(now, before)


def test_the_lowest_loss_among_the_epochs_that_beat_the_frozen_head_wins(scripted):
    script = [(0.6, 0.60), (0.5, 0.50, 2.0), (0.9, 0.55), (0.4, 0.10)]
    model, training, _ = scripted(script, epochs=4)
    assert training.best_epoch == 2
    np.testing.assert_array_equal(model.get_layer("backbone").get_weights()[0], 2.0)
    # The head's scores are divided by the epoch's temperature of 2.
    np.testing.assert_array_equal(model.get_layer("head").get_weights()[0], 1.0)


def test_training_stops_after_so_many_epochs_without_a_new_best(scripted):
    script = [(0.6, 0.6), (0.6, 0.65), (0.6, 0.5), (0.6, 0.55), (0.6, 0.51), (0.6, 0.1)]
    _, training, _ = scripted(script, epochs=6, patience=2)
    assert (training.best_epoch, training.last_epoch) == (3, 5)


def test_the_last_epoch_is_kept_by_default_though_another_was_better(scripted):
    script = [(0.6, 0.60), (0.9, 0.20), (0.6, 0.50, 2.0)]
    model, training, _ = scripted(script, keep=FinetuneOptions.keep, epochs=3, patience=1)
    assert (training.best_epoch, training.last_epoch) == (3, 3)
    np.testing.assert_array_equal(model.get_layer("backbone").get_weights()[0], 3.0)
    np.testing.assert_array_equal(model.get_layer("head").get_weights()[0], 1.5)


def test_of_a_last_epoch_that_does_not_beat_the_head_a_part_is_taken_that_does(scripted):
    script = [(0.9, 0.2), (0.4, 0.1), (0.45, 0.1), (0.6, 0.3, 2.0)]  # two epochs, 75%, 50%
    model, training, original = scripted(script, keep="last", epochs=2)
    assert (training.best_epoch, training.state.part) == (2, 0.5)
    assert "50% of the way" in training.state.notes[-1]
    assert describe_winner(2, 2, training.state.part) == "50% of the way to epoch 2 of 2"
    expected = 0.5 * original[0] + 0.5 * 2.0  # the scripted weights are the epoch's number
    np.testing.assert_allclose(model.get_weights()[0], expected, atol=1e-6)


def test_a_last_epoch_of_which_no_part_beats_the_head_leaves_it_bit_for_bit(scripted):
    script = [(0.9, 0.2, 2.0), (0.4, 0.1), *[(0.45, 0.1)] * len(PARTS)]
    model, training, original = scripted(script, keep="last", epochs=2)
    assert training.best_epoch == 0
    for now, before in zip(model.get_weights(), original, strict=True):
        np.testing.assert_array_equal(now, before)


def test_history_says_what_was_compared(scripted):
    _, training, _ = scripted([(0.6, 0.6, 1.5)], epochs=1)
    frozen, first = training.history
    assert frozen["val_loss"] == pytest.approx(np.log(2))
    assert frozen["val_loss_uncalibrated"] == pytest.approx(np.log(2))
    assert (first["val_loss"], first["temperature"]) == (0.6, 1.5)


def test_what_calibration_alone_brings_is_no_gain_of_fine_tuning():
    """7 of 10 are right, and the head is twice as sure of all as it should be; nothing is learned.

    One temperature lowers its loss to the entropy of 0.7.
    """

    def predict_too_sure(model, images):
        bias = np.array([2 * np.log(7 / 3), 0.0])
        model.get_layer("head").set_weights([np.zeros((3, 2)), bias])
        return np.asarray(model(images))

    labels = np.tile(np.repeat([0, 1], [7, 3]), 2)
    model, training = start(labels=labels, before=predict_too_sure, learning_rate=1e-12, epochs=2)
    original = [value.copy() for value in model.get_weights()]
    training.run()
    frozen = training.history[0]
    assert frozen["temperature"] == pytest.approx(2.0, rel=1e-3)
    assert frozen["val_loss"] == pytest.approx(-0.7 * np.log(0.7) - 0.3 * np.log(0.3))
    assert frozen["val_loss"] < frozen["val_loss_uncalibrated"] - 0.05
    assert training.best_epoch == 0
    for now, before in zip(model.get_weights(), original, strict=True):
        np.testing.assert_array_equal(now, before)


@pytest.mark.parametrize(("smoothing", "expected"), [(0.4, 0.8), (0.1, 0.95)])
def test_label_smoothing_ends_at_the_share_it_leaves_the_right_class(smoothing, expected):
    """Of two classes the right one keeps 1 - smoothing / 2."""
    _, training = start(
        labels=np.zeros(N_ROWS, np.int64),
        label_smoothing=smoothing,
        learning_rate=0.05,
        weight_decay=0.0,
        epochs=40,
        patience=40,
    )
    training.run()
    last = training.history[-1]
    assert last["val_loss_uncalibrated"] == pytest.approx(-np.log(expected), abs=0.03)
    # What is recorded of training is the loss without smoothing, so that the two compare.
    assert last["train_loss"] == pytest.approx(-np.log(expected), abs=0.03)


@pytest.mark.parametrize(
    ("precision", "is_scaled"),
    [("float32", False), ("mixed_bfloat16", False), ("mixed_float16", True)],
)
def test_the_loss_is_scaled_where_gradients_could_vanish_in_float16(precision, is_scaled):
    """Whatever the options say: what counts is what the layers compute in."""
    model = make_classifier()
    set_precision(model.get_layer("backbone"), precision)
    network = Network(model, "all", FinetuneOptions())
    assert (float(network.optimizer.scale_loss(1.0)) > 1) is is_scaled
    _, training = start(model, epochs=1)
    training.run()
    assert np.isfinite([record["train_loss"] for record in training.history]).all()


def test_the_next_validation_batch_is_made_while_one_is_predicted(monkeypatch):
    second = threading.Event()

    class Slow(Plain):
        def plain(self, rows):
            if rows[0] != N_ROWS // 2:
                second.set()
            return self.images[rows]

    predict = Network.predict

    def waiting(self, batch):
        assert second.wait(20), "the second batch is not made before the first is predicted"
        return predict(self, batch)

    monkeypatch.setattr(Network, "predict", waiting)
    _, training = start(inputs=Slow(np.zeros((N_ROWS, 2, 2, 3), np.float32)), epochs=1)
    training.run()
    assert 0 <= training.history[1]["val_accuracy"] <= 1


def test_losses_of_training_are_clipped_by_the_rule_of_all_others_and_nan_stays():
    labels = np.arange(4)
    probabilities = np.full((4, 4), 0.25, np.float32)
    probabilities[1] = [1, 0, 0, 0]
    probabilities[2] = [0.5, 0.5, 1e-10, 0]
    losses = _report_losses(np.eye(4, dtype=np.float32), probabilities).numpy()
    for label, loss in zip(labels, losses, strict=True):
        expected = mean_log_loss(labels[label : label + 1], probabilities[label : label + 1])
        assert loss == pytest.approx(expected, rel=1e-6)
    # Half of one class and half of another, as mixed images are.
    mixed = np.float32([[0.5, 0.5, 0, 0]])
    (loss,) = _report_losses(mixed, probabilities[1:2]).numpy()
    assert loss == pytest.approx(losses[1] / 2)
    assert np.isnan(_report_losses(mixed, np.full((1, 4), np.nan, np.float32)).numpy()).all()
