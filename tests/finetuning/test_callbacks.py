"""Keras callbacks of people's own: what they hear, that they may stop, that they change nothing."""

import csv

import keras
import numpy as np
import pytest

from pipeline.errors import ParameterError
from pipeline.finetuning.callbacks import Callbacks, require_callbacks
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.training import Training
from pipeline.runs.predictions import Predictions

LABELS = np.arange(24) % 3
BEFORE = Predictions(
    [""] * 24,
    np.repeat([0, 1], 12).astype(np.int8),
    LABELS,
    np.full((24, 3), 1 / 3, np.float32),
)


class Bright:
    """Inputs whose class is their brightness."""

    images = (LABELS[:, None, None, None] + np.zeros((24, 4, 4, 3))).astype(np.float32)

    def train(self, rows, targets, epoch, batch):
        return self.images[rows], targets

    def plain(self, rows):
        return self.images[rows]


def build():
    image = keras.Input((4, 4, 3), name="image")
    pixels = keras.layers.Rescaling(1.0, name="preprocessing")(image)
    layers = [keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()]
    backbone = keras.Sequential(layers, name="backbone")
    model = keras.Model(image, keras.layers.Dense(3, "softmax", name="head")(backbone(pixels)))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.5, value.shape) for value in model.get_weights()])
    return model


def prepare(*callbacks, state=None, on_state=lambda state: None, **options):
    settings = FinetuneOptions(**{"epochs": 3, "batch_size": 4, "learning_rate": 0.01, **options})
    return Training(
        *(build(), "all", Bright(), BEFORE, settings),
        state=state,
        on_state=on_state,
        callbacks=Callbacks(callbacks),
    )


def train(*callbacks, **options):
    training = prepare(*callbacks, **options)
    training.run()
    return training


class Diary(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.heard, self.logs = [], []

    def on_train_begin(self, logs=None):
        self.heard.append("train")

    def on_epoch_begin(self, epoch, logs=None):
        self.heard.append(f"epoch {epoch}")

    def on_train_batch_begin(self, batch, logs=None):
        self.heard.append(f"batch {batch}")

    def on_train_batch_end(self, batch, logs=None):
        self.heard.append(f"{sorted(logs)} {batch}")

    def on_epoch_end(self, epoch, logs=None):
        self.heard.append(f"epoch {epoch} ends")
        self.logs.append(dict(logs))

    def on_train_end(self, logs=None):
        self.heard.append("ends")


def test_a_callback_hears_what_fit_would_tell_it_in_keras_words():
    diary = Diary()
    training = train(diary, epochs=2)
    batches = [word for b in range(3) for word in (f"batch {b}", f"['accuracy', 'loss'] {b}")]
    epochs = [[f"epoch {e}", *batches, f"epoch {e} ends"] for e in range(2)]
    assert diary.heard == ["train", *epochs[0], *epochs[1], "ends"]
    assert diary.params == {"epochs": 2, "steps": 3, "verbose": 0}
    for logs, record in zip(diary.logs, training.history[1:], strict=True):
        assert logs["loss"] == record["train_loss"]
        assert logs["accuracy"] == record["train_accuracy"]
        for name in ("val_loss", "val_accuracy", "learning_rate"):
            assert logs[name] == record[name]


def test_usual_callbacks_of_keras_work(tmp_path):
    kept, history = tmp_path / "{epoch}.weights.h5", keras.callbacks.History()
    training = train(
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.ModelCheckpoint(kept, save_weights_only=True),
        history,
        average_weights=0.9,
    )
    assert sorted(path.name for path in tmp_path.glob("*.h5")) == [
        f"{epoch}.weights.h5" for epoch in (1, 2, 3)
    ]
    with (tmp_path / "log.csv").open() as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert losses == pytest.approx([one["val_loss"] for one in training.history[1:]])
    assert history.history["val_loss"] == pytest.approx(losses)
    # What is kept of an epoch are the weights that its validation was scored with.
    model = build()
    model.load_weights(tmp_path / "3.weights.h5")
    probabilities = model.predict(Bright.images[12:], verbose=0)
    accuracy = (probabilities.argmax(axis=1) == LABELS[12:]).mean()
    loss = -np.log(probabilities[range(12), LABELS[12:]]).mean()
    assert accuracy == pytest.approx(training.history[3]["val_accuracy"])
    assert loss == pytest.approx(training.history[3]["val_loss_uncalibrated"], rel=1e-4)


def test_a_callback_ends_training_with_an_epoch_and_that_is_said_and_kept():
    states = []
    stop = keras.callbacks.EarlyStopping(monitor="val_loss", min_delta=10.0, patience=1)
    training = train(stop, epochs=5, on_state=lambda state: states.append(state.is_over))
    assert training.last_epoch == 2
    assert training.state.notes == ["A callback ended training after epoch 2."]
    assert states[-1]


class Spoiler(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.model.set_weights([0 * value for value in self.model.get_weights()])

    on_train_end = on_train_begin

    def on_epoch_end(self, epoch, logs=None):
        self.on_train_begin()

    def on_epoch_begin(self, epoch, logs=None):
        self.on_train_begin()


@pytest.mark.parametrize("average_weights", [0.0, 0.9])
def test_what_callbacks_do_to_the_weights_between_epochs_is_undone(average_weights):
    plain = train(average_weights=average_weights)
    spoiled = train(Spoiler(), Diary(), average_weights=average_weights)
    for one, other in zip(plain.history, spoiled.history, strict=True):
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-5)
    for one, other in zip(plain.state.best_weights, spoiled.state.best_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


class Bomb(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise ZeroDivisionError("mine")


def test_an_error_of_a_callback_is_the_users_and_loses_no_epoch():
    kept = []

    def keep(state):
        kept[:] = [vars(state).copy()]

    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        train(Bomb(), on_state=keep)
    assert caught.traceback[-1].name == "on_epoch_end"
    assert kept[0]["epoch"] == 2
    diary = Diary()
    training = prepare(diary)
    vars(training.state).update(kept[0], history=list(kept[0]["history"]))
    training.run()
    assert [word for word in diary.heard if "ends" in word] == ["epoch 2 ends", "ends"]
    assert [one["val_loss"] for one in training.history] == pytest.approx(
        [one["val_loss"] for one in train().history], rel=1e-4
    )


def test_what_is_no_callback_or_sets_the_rate_is_refused_by_name():
    assert require_callbacks(None) == []
    diary = Diary()
    assert require_callbacks(diary) == [diary]
    with pytest.raises(ParameterError, match=r"This is not a callback.*Received: 'stop'"):
        require_callbacks(["stop"])
    for one in (
        keras.callbacks.ReduceLROnPlateau(),
        keras.callbacks.LearningRateScheduler(lambda epoch: 1e-3),
    ):
        with pytest.raises(ParameterError, match=f"schedule.*Received: {type(one).__name__}"):
            require_callbacks([one])
