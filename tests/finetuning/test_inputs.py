"""Which view of an image a step is fed."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.finetuning.inputs import PixelInputs, TrunkInputs
from pipeline.finetuning.trunk.cache import key_of
from pipeline.images.augmentation.augment import Augmentation

N_IMAGES = 40
DIGESTS = np.random.default_rng(0).integers(0, 256, (N_IMAGES, 32), dtype=np.uint8)
ROWS = np.arange(N_IMAGES)
PIXELS = np.random.default_rng(1).integers(0, 256, (10, 24, 24, 3), dtype=np.uint8)


class FakeCache:
    """Gives (image, view) of each key as a tensor of 1 x 1 x 2."""

    def __init__(self, n_views):
        self._of = {
            key_of(DIGESTS[image], view).tobytes(): (image, view)
            for image in range(N_IMAGES)
            for view in range(n_views + 1)
        }

    def read(self, keys):
        found = [self._of[key.tobytes()] for key in keys]
        return np.array(found, np.float16).reshape(-1, 1, 1, 2)


def views_shown(inputs, epoch):
    batch, _ = inputs.train(ROWS, np.eye(N_IMAGES), epoch, 0)
    images, views = batch.reshape(N_IMAGES, 2).T
    np.testing.assert_array_equal(images, ROWS)
    return views


@pytest.mark.parametrize("n_views", [1, 4])
def test_an_image_shows_each_of_its_views_once_in_as_many_epochs(n_views):
    inputs = TrunkInputs(FakeCache(n_views), DIGESTS, n_views, seed=3)
    shown = np.stack([views_shown(inputs, epoch) for epoch in range(5, 5 + n_views)])
    for of_image in np.sort(shown, axis=0).T:
        np.testing.assert_array_equal(of_image, np.arange(1, n_views + 1))
    np.testing.assert_array_equal(views_shown(inputs, 5 + n_views), shown[0])


def test_images_begin_at_different_views_and_the_seed_says_which():
    first = views_shown(TrunkInputs(FakeCache(4), DIGESTS, 4, seed=3), 1)
    assert set(first) == {1, 2, 3, 4}
    again = views_shown(TrunkInputs(FakeCache(4), DIGESTS, 4, seed=3), 1)
    np.testing.assert_array_equal(again, first)
    assert (views_shown(TrunkInputs(FakeCache(4), DIGESTS, 4, seed=4), 1) != first).any()


def test_validation_and_training_without_augmentation_see_the_plain_image():
    inputs = TrunkInputs(FakeCache(4), DIGESTS, 4, seed=3)
    np.testing.assert_array_equal(inputs.plain(ROWS)[:, 0, 0, 1], 0)
    inputs = TrunkInputs(FakeCache(0), DIGESTS, 0, seed=3)
    np.testing.assert_array_equal(views_shown(inputs, 7), 0)


def test_strong_augmentation_blends_what_the_trunk_made_of_two_images_as_it_blends_targets():
    augment = Augmentation("strong", flip=False, seed=3)
    inputs = TrunkInputs(FakeCache(4), DIGESTS, 4, seed=3, augment=augment)
    batch = next(n for n in range(9) if np.random.default_rng([3, 1, n]).integers(2) == 0)  # MixUp
    mixed, targets = inputs.train(ROWS, np.eye(N_IMAGES, dtype=np.float32), 1, batch)
    assert (targets.max(axis=1) < 0.9).any()
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(mixed[:, 0, 0, 0], targets @ ROWS, atol=1e-4)
    np.testing.assert_array_equal(inputs.plain(ROWS)[:, 0, 0, 0], ROWS)


def test_batches_are_the_same_however_many_threads_augment_them():
    store = SimpleNamespace(read=lambda rows: PIXELS[rows])
    targets = np.eye(10, dtype=np.float32)
    rows = np.arange(10)[::-1]
    augment = Augmentation("strong", flip=True, seed=2)
    alone = PixelInputs(store, augment).train(rows, targets, 3, 1)
    for n_threads in (2, 3, 16):
        batch = PixelInputs(store, augment, n_threads).train(rows, targets, 3, 1)
        np.testing.assert_array_equal(batch[0], alone[0])
        np.testing.assert_array_equal(batch[1], alone[1])
