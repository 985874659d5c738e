"""What augmentation draws and what it does is what Keras's layers draw and do."""

import keras
import numpy as np
import pytest
from scipy.stats import chisquare, ks_2samp

from pipeline.images.augmentation import augment as augment_module
from pipeline.images.augmentation import colours, mix, moves
from pipeline.images.augmentation.augment import OPERATIONS, Augmentation

SIDE = 48
LAYERS = keras.layers


def make_smooth_image(seed=0):
    """uint8 (SIDE, SIDE, 3), so smooth that one interpolation or three give the same."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    waves = [np.sin(2 * np.pi * (a * x + b * y) + c) for a, b, c in rng.uniform(0.2, 1.0, (3, 3))]
    return np.rint(128 + 90 * np.stack(waves, axis=-1)).astype(np.uint8)


SMOOTH = make_smooth_image()
ROUGH = np.random.default_rng(1).integers(0, 200, (SIDE, SIDE, 3), dtype=np.uint8)
FLAT = np.full((SIDE, SIDE, 3), (0, 90, 255), np.uint8)


def draw_and_change(layer, image):
    """What a layer drew, and the image that it made of it."""
    batch = np.float32(image[None])
    drawn = layer.get_random_transformation(batch, training=True)
    changed = layer.transform_images(batch, drawn, training=True)
    return drawn, np.asarray(changed)[0]


@pytest.mark.parametrize("seed", range(6))
def test_a_shift_a_zoom_and_a_turn_in_one_are_those_of_keras_one_after_the_other(seed):
    image = np.float32(SMOOTH[None])
    drawn = []
    for layer in (
        LAYERS.RandomTranslation(0.08, 0.08, fill_mode="nearest", seed=seed),
        LAYERS.RandomZoom((-0.1, 0.1), fill_mode="nearest", seed=seed),
        LAYERS.RandomRotation(0.02, fill_mode="nearest", seed=seed),
    ):
        drawn.append(layer.get_random_transformation(image, training=True))
        image = layer.transform_images(image, drawn[-1], training=True)
    right, down = np.asarray(drawn[0]["translations"])[0]
    factor = float(np.asarray(drawn[1]["height_zoom"])[0, 0])
    degrees = float(np.asarray(drawn[2]["angle"])[0])
    ours = moves.shift_zoom_turn(right, down, factor, degrees)(SMOOTH)
    difference = np.abs(ours - np.asarray(image)[0])
    assert np.abs(ours.astype(float) - SMOOTH).mean() > 3  # it did something
    assert difference.mean() < 1  # Pillow cuts fractions off
    assert difference.max() < 8  # at the borders, which are whole pixels here


def test_a_move_behind_whose_edges_the_image_goes_on_mirrored_is_that_of_keras():
    for layer, make in (
        (
            LAYERS.RandomShear((0, 0.3), (0, 0.3), seed=2),
            lambda drawn: moves.shear(*np.asarray(drawn["shear_factor"])[0]),
        ),
        (
            LAYERS.RandomTranslation((0, 0.3), (0, 0.3), seed=2),
            lambda drawn: moves.shift(*np.asarray(drawn["translations"])[0]),
        ),
        (
            LAYERS.RandomRotation((0, 0.3), seed=2),
            lambda drawn: moves.turn(float(np.asarray(drawn["angle"])[0]), SIDE, SIDE),
        ),
    ):
        for image in (SMOOTH, ROUGH):
            drawn, theirs = draw_and_change(layer, image)
            ours = moves.move_mirroring(make(drawn))(image)
            assert np.abs(ours - theirs).max() < 1.01, layer  # ours are rounded


@pytest.mark.parametrize("image", [SMOOTH, ROUGH, FLAT], ids=["smooth", "rough", "flat"])
def test_a_change_of_colour_is_that_of_keras(image):
    whole = (0, 255)
    for layer, make in (
        (
            LAYERS.RandomBrightness((-0.3, 0.3), seed=1),
            lambda drawn: colours.brighten(number_in(drawn["rgb_delta"])),
        ),
        (
            LAYERS.RandomContrast(0.3, value_range=whole, seed=1),
            lambda drawn: colours.stretch_contrast(number_in(drawn["contrast_factor"])),
        ),
        (
            LAYERS.RandomColorDegeneration((0, 0.3), seed=1),
            lambda drawn: colours.fade(number_in(drawn["factor"])),
        ),
        (
            LAYERS.RandomSharpness((0, 0.3), seed=1),
            lambda drawn: colours.blur(1 - 2 * number_in(drawn["factor"])),
        ),
        (LAYERS.RandomPosterization(2, seed=1), lambda drawn: colours.posterize(1)),
        (
            LAYERS.Solarization((0, 0.3), (0, 0.3), seed=1),
            lambda drawn: colours.solarize(
                number_in(drawn["additions"]), number_in(drawn["thresholds"])
            ),
        ),
        (LAYERS.AutoContrast(), lambda drawn: colours.spread),
        (LAYERS.Equalization(), lambda drawn: colours.equalize),
    ):
        drawn, theirs = draw_and_change(layer, image)
        ours = make(drawn)(image)
        np.testing.assert_allclose(ours, theirs, atol=0.02, err_msg=layer.name)


def number_in(tensor):
    return float(np.asarray(tensor).ravel()[0])


def describe(images):
    """Numbers that tell how an image of dots was moved, turned and coloured, (n, 8)."""
    images = np.asarray(images, np.float64)
    grey = images.mean(axis=-1)
    y, x = np.mgrid[:SIDE, :SIDE]
    dark = np.clip(150 - grey, 0, None) + 1e-6
    total = dark.sum(axis=(1, 2))
    centre_x, centre_y = (dark * x).sum(axis=(1, 2)) / total, (dark * y).sum(axis=(1, 2)) / total
    spread_x = (dark * (x - centre_x[:, None, None]) ** 2).sum(axis=(1, 2)) / total
    both = (dark * (x - centre_x[:, None, None]) * (y - centre_y[:, None, None])).sum(
        axis=(1, 2)
    ) / total
    return np.stack(
        [
            *(centre_x, centre_y, spread_x, both),
            *(images[..., 0].mean(axis=(1, 2)), grey.std(axis=(1, 2))),
            *(grey[:, SIDE // 2, SIDE // 2], np.ptp(images, axis=-1).mean(axis=(1, 2))),
        ],
        axis=1,
    )


def make_dots():
    """A dark spot, wider than high, on a light ground; smooth, so that three interpolations in a
    row blur it no more than one.
    """
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    dark = np.exp(-((x / 9) ** 2) - (y / 4.5) ** 2)[..., None]
    return np.rint((200, 210, 190) - dark * (160, 150, 100)).astype(np.uint8)


def augment_with_keras(preset, n_images):
    """As Frostline did up to 0.1.0: an image at a time goes through the layers."""
    layers = [
        LAYERS.RandomTranslation(0.08, 0.08, fill_mode="nearest", seed=1),
        LAYERS.RandomZoom((-0.1, 0.1), fill_mode="nearest", seed=2),
        LAYERS.RandomRotation(0.02, fill_mode="nearest", seed=3),
    ]
    images = np.float32(np.repeat(make_dots()[None], n_images, axis=0))
    if preset == "light":
        layers.append(LAYERS.RandomBrightness(0.1, value_range=(0, 255), seed=4))
        layers.append(LAYERS.RandomContrast(0.1, value_range=(0, 255), seed=5))
    layers.append(LAYERS.RandomFlip("horizontal", seed=6))
    for layer in layers:
        images = layer(images, training=True)
    return np.clip(images, 0, 255)


def require_alike(ours, theirs):
    """The same distribution of each number, or nearly the same number where it hardly changes."""
    for number, (a, b) in enumerate(zip(ours.T, theirs.T, strict=True)):
        if np.ptp(b) < 1:
            assert abs(a.mean() - b.mean()) < 1, number
        else:
            assert ks_2samp(a, b).pvalue > 0.005, number


def test_light_images_are_distributed_as_those_of_keras():
    n_images = 400
    theirs = augment_with_keras("light", n_images)
    plain = np.repeat(make_dots()[None], n_images, axis=0)
    ours = Augmentation("light", flip=True, seed=0)(plain, np.arange(n_images), 1)
    require_alike(describe(ours), describe(theirs))


@pytest.mark.parametrize(
    ("number", "layer"),
    list(
        enumerate(
            (
                lambda: LAYERS.RandomShear((0, 0.3), (0, 0.3), seed=7),
                lambda: LAYERS.RandomTranslation((0, 0.3), (0, 0.3), seed=7),
                lambda: LAYERS.RandomRotation((0, 0.3), seed=7),
                lambda: LAYERS.RandomBrightness((0, 0.3), seed=7),
                lambda: LAYERS.RandomColorDegeneration((0, 0.3), seed=7),
                lambda: LAYERS.RandomContrast((0, 0.3), seed=7),
                lambda: LAYERS.RandomSharpness((0, 0.3), seed=7),
                lambda: LAYERS.RandomPosterization(2, seed=7),
                lambda: LAYERS.Solarization((0, 0.3), (0, 0.3), seed=7),
                LAYERS.AutoContrast,
                LAYERS.Equalization,
            )
        )
    ),
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_an_operation_of_randaugment_draws_as_that_of_keras(number, layer):
    """Keras's own RandAugment names them in this order."""
    made = layer()
    named = list(LAYERS.RandAugment(factor=0.3)._AUGMENT_LAYERS)[number]
    assert named.removeprefix("random_").replace("_", "") in type(made).__name__.lower()
    n_images = 300
    batch = np.float32(np.repeat(make_dots()[None], n_images, axis=0))
    theirs = np.asarray(made(batch, training=True))
    rngs = [np.random.default_rng([number, k]) for k in range(n_images)]
    ours = [OPERATIONS[number](rng, (SIDE, SIDE))(make_dots()) for rng in rngs]
    if np.ptp(theirs, axis=0).max() == 0:  # nothing is left to chance
        np.testing.assert_allclose(np.stack(ours), theirs, atol=0.02)
        return
    is_moved = number < 3  # Pillow cuts fractions off then
    require_alike(describe(ours), describe(np.floor(theirs) if is_moved else theirs))


def test_strong_takes_two_of_the_eleven_operations_all_alike(monkeypatch):
    assert len(OPERATIONS) == len(LAYERS.RandAugment()._AUGMENT_LAYERS)
    taken = []

    def count(number):
        def change(pixels):
            taken.append(number)
            return pixels

        return lambda rng, size: change

    monkeypatch.setattr(augment_module, "OPERATIONS", tuple(map(count, range(len(OPERATIONS)))))
    images = np.zeros((2000, 4, 4, 3), np.uint8)
    Augmentation("strong", flip=False, seed=0)(images, np.arange(2000), 1)
    assert len(taken) == 2 * 2000
    assert chisquare(np.bincount(taken, minlength=len(OPERATIONS))).pvalue > 0.01


@pytest.mark.parametrize("name", ["mix_up", "cut_mix"])
def test_images_are_mixed_as_those_of_keras(name):
    """Compared by what the targets say: each image has a class of its own."""
    images = np.zeros((2, 12, 12, 3), np.float32)
    targets = np.eye(2, dtype=np.float32)
    layer = {"mix_up": LAYERS.MixUp(alpha=0.2, seed=1), "cut_mix": LAYERS.CutMix(seed=1)}[name]
    mix_batch = {"mix_up": mix.mix_up, "cut_mix": mix.cut_mix}[name]
    theirs, ours = [], []
    for number in range(150):
        mixed = layer({"images": images, "labels": targets}, training=True)
        theirs.append(float(np.asarray(mixed["labels"])[0, 0]))
        ours.append(float(mix_batch(images, targets, np.random.default_rng([number]))[1][0, 0]))
    assert ks_2samp(np.round(ours, 3), np.round(theirs, 3)).pvalue > 0.01
