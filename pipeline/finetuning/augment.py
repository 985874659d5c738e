"""Augmentation with Keras's layers, drawn from (seed, epoch, image) and never from hidden state."""

import threading

import numpy as np
import tensorflow as tf

from pipeline.backbones.keras_settings import keras_settings
from pipeline.system.keras_on_tensorflow import keras

MIX_UP_ALPHA = 0.2
# To be raised by hand whenever equal arguments would give other images than before.
AUGMENTATION_VERSION = 1


def number_images(digests: np.ndarray) -> np.ndarray:
    """What tells one image from another by its digest, wherever it lies: uint64 (n,).

    Args:
        digests: uint8 (n, 32).
    """
    return digests[:, :8].copy().view("<u8")[:, 0]


def find_random_states(layer: keras.Layer) -> list[keras.Variable]:
    """What decides the random numbers that a layer and those inside it draw: two integers each."""
    weights = {id(weight) for weight in layer.weights}
    return [variable for variable in layer.variables if id(variable) not in weights]


class Augmentation:
    """Augments batches of images; safe to call from several threads.

    Args:
        preset: `none`; `light`: shifts of up to 8%, zooms of up to 10%, rotations of up to 7
            degrees, brightness and contrast by up to 10%; or `strong`: the same shifts, zooms and
            rotations, two operations of RandAugment, and MixUp or CutMix of each batch.
        flip: mirror half of the images left to right. Never on by itself: a mirrored digit or
            letter is another one.
        seed: with epoch and image it decides everything.
    """

    @keras_settings()
    def __init__(self, preset: str, *, flip: bool, seed: int):
        self.kind = f"{preset}{' flip' if flip else ''}"
        self.name = f"{self.kind} seed {seed}"
        # What decides the images, for those who keep them: the layers are Keras's own.
        self.id = f"{self.name} version {AUGMENTATION_VERSION} keras {keras.__version__}"
        self._seed = seed
        self._layers = _make_layers(preset, flip)
        self._mixers = _make_mixers() if preset == "strong" else []
        self._states = [state for layer in self._layers for state in find_random_states(layer)]
        self._lock = threading.Lock()  # the layers' states belong to one call at a time
        self._run = tf.function(self._augment_all, reduce_retracing=True)

    def __call__(self, images: np.ndarray, ids: np.ndarray, epoch: int) -> np.ndarray:
        """Augments each image by itself.

        Args:
            images: RGB 0..255 (n, height, width, 3).
            ids: int (n,), what tells one image from another.
            epoch: of training, or the number of a view.

        Returns:
            float32 of the same shape, 0..255; equal arguments give equal images.
        """
        images = np.asarray(images, np.float32)
        if not self._layers:
            return images
        states = np.stack([self._draw_states(epoch, int(number)) for number in ids])
        with self._lock:
            return self._run(tf.constant(images), tf.constant(states)).numpy()

    def mix(
        self, images: np.ndarray, targets: np.ndarray, epoch: int, batch: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mixes the images of a batch, and their targets (n, n_classes) alike, if the preset does.

        MixUp and CutMix take turns at random.
        """
        if not self._mixers or len(images) < 2:
            return images, targets
        draw = np.random.SeedSequence([self._seed, epoch, batch]).generate_state(3)
        layer = self._mixers[int(draw[2]) % len(self._mixers)]
        with self._lock:
            layer.generator.state.assign(draw[:2])
            mixed = layer({"images": images, "labels": targets}, training=True)
        return np.asarray(mixed["images"]), np.asarray(mixed["labels"])

    def _draw_states(self, epoch: int, image: int) -> np.ndarray:
        """uint32 (n_states, 2)."""
        sequence = np.random.SeedSequence([self._seed, epoch, image])
        return sequence.generate_state(2 * len(self._states)).reshape(-1, 2)

    def _augment_all(self, images: tf.Tensor, states: tf.Tensor) -> tf.Tensor:
        with keras_settings():
            return tf.map_fn(
                self._augment_one,
                (images, states),
                fn_output_signature=tf.float32,
                parallel_iterations=1,  # one image's states at a time
            )

    def _augment_one(self, image_and_states: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, states = image_and_states
        for number, state in enumerate(self._states):
            state.assign(states[number])
        images = image[None]
        for layer in self._layers:
            images = layer(images, training=True)
        return tf.clip_by_value(tf.reshape(images, tf.shape(image)), 0.0, 255.0)


def _make_layers(preset: str, flip: bool) -> list[keras.Layer]:
    layers: list[keras.Layer] = []
    if preset != "none":
        layers += [
            keras.layers.RandomTranslation(0.08, 0.08, fill_mode="nearest"),
            keras.layers.RandomZoom((-0.1, 0.1), fill_mode="nearest"),
            keras.layers.RandomRotation(0.02, fill_mode="nearest"),
        ]
    if preset == "light":
        layers += [
            keras.layers.RandomBrightness(0.1, value_range=(0, 255)),
            keras.layers.RandomContrast(0.1, value_range=(0, 255)),
        ]
    if preset == "strong":
        layers.append(keras.layers.RandAugment(value_range=(0, 255), num_ops=2, factor=0.3))
    if flip:
        layers.append(keras.layers.RandomFlip("horizontal"))
    return layers


def _make_mixers() -> list[keras.Layer]:
    return [keras.layers.MixUp(alpha=MIX_UP_ALPHA), keras.layers.CutMix()]
