"""Shortcuts: what files alone give away, planted and not there."""

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks import stand_in
from pipeline.heads.audit.shortcuts import list_shortcuts
from pipeline.images.decoding.file_facts import find_facts

N_OF_CLASS = 40


def save(seed, *, quality=90, wider=0, camera=None):
    random = np.random.default_rng(seed)
    width, height = int(random.integers(40, 43)) * 4, int(random.integers(20, 40)) * 4
    rough = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
    stream = io.BytesIO()
    exif = Image.Exif()
    if camera:
        exif[0x010F], exif[0x0110] = camera
    rough.resize((width + wider, height)).save(stream, "JPEG", quality=quality, exif=exif)
    return stream.getvalue()


def read(files):
    return [find_facts(data, stand_in.RECIPE) for data in files]


LABELS = np.repeat(np.arange(3, dtype=np.int32), N_OF_CLASS)


def test_a_quality_and_a_width_are_found_and_named():
    files = [save(n) for n in range(N_OF_CLASS)]
    files += [save(100 + n, quality=60) for n in range(N_OF_CLASS)]
    files += [save(200 + n, wider=3) for n in range(N_OF_CLASS)]
    found = {(one.fact.name, one.label): one for one in list_shortcuts(read(files), LABELS, seed=0)}
    assert found["compression", 1].value == "JPEG quality 60"
    assert found["compression", 1].share == 1
    assert found["width", 2].value == "163 or 167 or 171 pixels"
    assert found["width", 2].share == 1


def test_a_camera_is_named_with_the_share_of_its_files():
    cameras = [("Canon", "EOS 5D") if n < N_OF_CLASS - 4 else None for n in range(N_OF_CLASS)]
    files = [save(n, camera=camera) for n, camera in enumerate(cameras)]
    files += [save(100 + n, camera=("Canon", "EOS 5D") if n < 2 else None)
              for n in range(2 * N_OF_CLASS)]  # fmt: skip
    (found,) = [one for one in list_shortcuts(read(files), LABELS, seed=0)
                if one.fact.name == "camera" and one.label == 0]  # fmt: skip
    assert found.value == "Canon EOS 5D"
    assert found.share > 0.85


@pytest.fixture(scope="module")
def usual():
    return read([save(n) for n in range(3 * N_OF_CLASS)])


@pytest.mark.parametrize("seed", range(20))
def test_of_random_labels_nothing_is_claimed(usual, seed):
    labels = np.random.default_rng(seed).permutation(LABELS)
    assert list_shortcuts(usual, labels, seed=0) == []


@pytest.mark.parametrize("n_classes", [1, 2, 4])
@pytest.mark.parametrize("n", [0, 1, 2, 5, 12])
def test_few_files_claim_nothing_and_break_nothing(usual, n, n_classes):
    labels = (np.arange(n) % n_classes).astype(np.int32)
    assert list_shortcuts(usual[:n], labels, seed=0) == []


@pytest.mark.parametrize("quality", [1, 30, 75, 95, 100])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_quality_of_a_jpeg_is_told(quality, mode):
    stream = io.BytesIO()
    Image.new(mode, (20, 10), 90).save(stream, "JPEG", quality=quality)
    facts = find_facts(stream.getvalue(), stand_in.RECIPE)
    assert facts.compression == f"JPEG quality {quality}"
    assert (facts.width, facts.height, facts.border_contrast < 3) == (20, 10, True)
