"""Augmentation of images, drawn from (seed, epoch, image) and never from hidden state.

What is drawn and what it does is what Keras's layers of these names draw and do, which a test
compares; theirs take an image at a time to be drawn from its own seed, which is slow.
"""

from collections.abc import Callable

import numpy as np
import PIL

from pipeline.images.augmentation.colours import (
    Change,
    blur,
    brighten,
    equalize,
    fade,
    posterize,
    solarize,
    spread,
    stretch_contrast,
)
from pipeline.images.augmentation.mix import cut_mix, mix_up
from pipeline.images.augmentation.moves import (
    move_mirroring,
    shear,
    shift,
    shift_zoom_turn,
    turn,
)

# To be raised by hand whenever equal arguments would give other images than before.
AUGMENTATION_VERSION = 3

# Shares of the side, of the side, of a full turn, of the range of values.
_SHIFT, _ZOOM, _TURN, _BRIGHTNESS = 0.08, 0.1, 0.02, 0.1
# RandAugment (https://arxiv.org/abs/1909.13719).
_N_OPERATIONS, _STRENGTH = 2, 0.3
_POSTERIZED_BITS = 1

Size = tuple[int, int]  # width and height in pixels


def number_images(digests: np.ndarray) -> np.ndarray:
    """What tells one image from another by its digest, wherever it lies: uint64 (n,).

    Args:
        digests: uint8 (n, 32).
    """
    return digests[:, :8].copy().view("<u8")[:, 0]


class Augmentation:
    """Augments batches of images; safe to call from several threads, which run side by side.

    Args:
        preset: `none`; `light`: shifts of up to 8%, zooms of up to 10%, rotations of up to 7
            degrees, brightness by up to 10%, and up to 10% more contrast; or `strong`: the same
            shifts, zooms and rotations, two operations of RandAugment, and MixUp or CutMix of each
            batch.
        flip: mirror half of the images left to right. Never on by itself: a mirrored digit or
            letter is another one.
        seed: with epoch and image it decides everything.
    """

    def __init__(self, preset: str, *, flip: bool, seed: int):
        self.kind = f"{preset}{' flip' if flip else ''}"
        self.name = f"{self.kind} seed {seed}"
        # What decides the images, for those who keep them: it is Pillow that interpolates.
        self.id = f"{self.name} version {AUGMENTATION_VERSION} pillow {PIL.__version__}"
        self._preset = preset
        self._flip = flip
        self._seed = seed

    def __call__(self, images: np.ndarray, ids: np.ndarray, epoch: int) -> np.ndarray:
        """Augments each image by itself.

        Args:
            images: RGB uint8 (n, height, width, 3).
            ids: int (n,), what tells one image from another.
            epoch: of training, or the number of a view.

        Returns:
            float32 of the same shape, 0..255; equal arguments give equal images.
        """
        if self._preset == "none" and not self._flip:
            return images.astype(np.float32)
        augmented = np.empty(images.shape, np.float32)
        for place, number in enumerate(ids):
            rng = np.random.default_rng([self._seed, epoch, int(number)])
            pixels = images[place]
            for change in self._draw_changes(rng, (pixels.shape[1], pixels.shape[0])):
                pixels = change(pixels)
            augmented[place] = pixels
        return augmented

    def mix(
        self, images: np.ndarray, targets: np.ndarray, epoch: int, batch: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mixes the images of a batch, and their targets (n, n_classes) alike, if the preset does.

        MixUp and CutMix take turns at random.
        """
        if self._preset != "strong" or len(images) < 2:
            return images, targets
        rng = np.random.default_rng([self._seed, epoch, batch])
        mix = (mix_up, cut_mix)[rng.integers(2)]
        return mix(images, targets, rng)

    def _draw_changes(self, rng: np.random.Generator, size: Size) -> list[Change]:
        changes: list[Change] = []
        if self._preset != "none":
            changes.append(_draw_move(rng, size))
        if self._preset == "light":
            changes += _draw_light(rng)
        if self._preset == "strong":
            changes += _draw_operations(rng, size)
        if self._flip and rng.uniform() <= 0.5:
            changes.append(lambda pixels: pixels[:, ::-1])
        return changes


def _draw_move(rng: np.random.Generator, size: Size) -> Change:
    width, height = size
    down, right = rng.uniform(-_SHIFT, _SHIFT, 2)
    factor = rng.uniform(1 - _ZOOM, 1 + _ZOOM)
    degrees = 360 * rng.uniform(-_TURN, _TURN)
    return shift_zoom_turn(right * width, down * height, factor, degrees)


def _draw_light(rng: np.random.Generator) -> list[Change]:
    summand = 255 * rng.uniform(-_BRIGHTNESS, _BRIGHTNESS)
    factor = rng.uniform(1, 1 + _BRIGHTNESS)
    return [brighten(summand), stretch_contrast(factor)]


def _draw_operations(rng: np.random.Generator, size: Size) -> list[Change]:
    """Those of RandAugment; one that is chosen twice does the same again."""
    chosen = rng.integers(len(OPERATIONS), size=_N_OPERATIONS)
    drawn = {number: OPERATIONS[number](rng, size) for number in sorted(set(chosen.tolist()))}
    return [drawn[number] for number in chosen]


def _draw_shear(rng: np.random.Generator, size: Size) -> Change:
    del size
    x, y = rng.uniform(0, _STRENGTH, 2) * (1 - 2 * rng.integers(2))
    return move_mirroring(shear(x, y))


def _draw_shift(rng: np.random.Generator, size: Size) -> Change:
    width, height = size
    right, down = rng.uniform(0, _STRENGTH, 2)
    return move_mirroring(shift(right * width, down * height))


def _draw_turn(rng: np.random.Generator, size: Size) -> Change:
    return move_mirroring(turn(360 * rng.uniform(0, _STRENGTH), *size))


def _draw_share(rng: np.random.Generator) -> float:
    return rng.uniform(0, _STRENGTH)


# Keras's, in its order.
OPERATIONS: tuple[Callable[[np.random.Generator, Size], Change], ...] = (
    _draw_shear,
    _draw_shift,
    _draw_turn,
    lambda rng, _: brighten(255 * _draw_share(rng)),
    lambda rng, _: fade(_draw_share(rng)),
    lambda rng, _: stretch_contrast(1 + _draw_share(rng)),
    lambda rng, _: blur(1 - 2 * _draw_share(rng)),
    lambda rng, _: posterize(_POSTERIZED_BITS),
    lambda rng, _: solarize(255 * _draw_share(rng), 255 * _draw_share(rng)),
    lambda rng, _: spread,
    lambda rng, _: equalize,
)
