"""Augmentation with Keras's layers, drawn from (seed, epoch, batch) and never from hidden state."""

from collections.abc import Callable

import numpy as np

PRESETS = ("none", "light")


def build_augmentation(
    preset: str, *, flip: bool, seed: int
) -> Callable[[np.ndarray, int, int], np.ndarray]:
    """Makes a function that augments a batch.

    Args:
        preset: `none`, or `light`: shifts of up to 8% and zooms of up to 10%.
        flip: mirror half of the images left to right. Never on by itself: a mirrored digit or
            letter is another one.

    Returns:
        A function of float32 RGB 0..255 (n, height, width, 3), the epoch and the number of the
        batch in it, to the same shape; equal arguments give equal images.
    """
    import keras

    layers = []
    if preset == "light":
        layers.append(keras.layers.RandomTranslation(0.08, 0.08, fill_mode="nearest"))
        layers.append(keras.layers.RandomZoom((-0.1, 0.1), fill_mode="nearest"))
    if flip:
        layers.append(keras.layers.RandomFlip("horizontal"))

    def augment(images: np.ndarray, epoch: int, batch: int) -> np.ndarray:
        for number, layer in enumerate(layers):
            state = np.random.SeedSequence([seed, epoch, batch, number]).generate_state(2)
            layer.generator.state.assign(state)
            images = layer(images, training=True)
        return images

    return augment
