"""Fine-tuning as in Keras's guide "Transfer learning & fine-tuning": a head on a frozen base, then
the top thawed at a low rate, BatchNormalization in inference mode.

Run by finetune_peers.py; reads a task, writes probabilities. https://keras.io/guides/transfer_learning
"""

import json
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

HEAD_SHARE = 0.4  # of the time
BATCH = 32


class TimeLimit(keras.callbacks.Callback):
    """Ends training when another epoch would end too late."""

    def __init__(self, ends: float):
        super().__init__()
        self._ends = ends

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter()
        if now + (now - self._began) > self._ends:
            self.model.stop_training = True


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    keras.utils.set_random_seed(task["seed"])
    base = keras.saving.load_model(task["keras_base"])
    data = {split: _load(task[split], task["image_size"]) for split in ("train", "val", "test")}
    started = time.perf_counter()
    model, first = _build(base, task), None
    for rate, share in ((1e-3, HEAD_SHARE), (1e-5, 1.0)):
        if rate == 1e-5:
            _thaw(base, task["line_layer"])
        model.compile(
            keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        history = model.fit(
            data["train"],
            validation_data=data["val"],
            epochs=1000,
            callbacks=[TimeLimit(started + share * task["seconds"])],
            verbose=2,
        )
        first = first or len(history.epoch)
    seconds = time.perf_counter() - started
    np.savez(
        sys.argv[2],
        probabilities=model.predict(data["test"], verbose=0),
        seconds=seconds,
        epochs=f"{first} frozen, {len(history.epoch)} thawed",
    )


def _load(rows: list, image_size: int) -> tf.data.Dataset:
    """Decoded once and kept in memory, which is kind."""

    def read(path, label):
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(image, (image_size, image_size), antialias=True), label

    paths, labels = zip(*rows, strict=True)
    images = tf.data.Dataset.from_tensor_slices((list(paths), list(labels)))
    images = images.map(read, num_parallel_calls=tf.data.AUTOTUNE).cache()
    for _ in images:  # now, not in the first epoch
        continue
    return images.batch(BATCH)


def _build(base: keras.Model, task: dict) -> keras.Model:
    base.trainable = False
    inputs = keras.Input((task["image_size"], task["image_size"], 3))
    layers = [keras.layers.RandomRotation(0.1)]
    if task["flip"]:
        layers.insert(0, keras.layers.RandomFlip("horizontal"))
    x = keras.Sequential(layers)(inputs)
    x = keras.layers.Dropout(0.2)(base(x, training=False))
    outputs = keras.layers.Dense(len(task["classes"]), activation="softmax")(x)
    return keras.Model(inputs, outputs)


def _thaw(base: keras.Model, from_layer: str) -> None:
    """All from a layer of the backbone to the top."""
    base.trainable = True
    backbone = base.get_layer("backbone")
    is_thawed = False
    for layer in backbone.layers:
        is_thawed = is_thawed or layer.name == from_layer
        layer.trainable = is_thawed


if __name__ == "__main__":
    main()
