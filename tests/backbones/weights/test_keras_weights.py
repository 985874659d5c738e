"""Keras weights files that claim too much, hold no numbers, or have a layer too many."""

import tracemalloc
import zipfile

import h5py
import keras
import numpy as np
import pytest

from pipeline.backbones.weights.keras_weights import load_keras_weights
from pipeline.errors import WeightsError

SUFFIXES = pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])


def _make_model(*more_layers):
    layers = [
        keras.layers.Conv2D(4, 3, name="first"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Conv2D(4, 1, name="last"),
    ]
    return keras.Sequential([keras.Input((8, 8, 3)), *layers, *more_layers])


def _save(model, path):
    (model.save_weights if path.name.endswith(".weights.h5") else model.save)(path)
    return path


def _replace(path, change):
    """Applies `change` to the group of the first convolution and to the name of its kernel."""
    with h5py.File(path, "r+") as file:
        if "layers" in file:
            change(file["layers/conv2d/vars"], "0")
        else:
            group = file["model_weights/first"]
            change(group, group.attrs["weight_names"][0])
    return path


def _claim(*shape):
    def change(group, name):
        del group[name]
        # Chunks that nobody writes take no room.
        group.create_dataset(name, shape, "f4", chunks=(1,) * (len(shape) - 1) + (2**10,))

    return change


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
@pytest.mark.parametrize(
    ("shape", "what"),
    [((2**30,), "claims to hold 42[0-9]{8} bytes"), ((2**23,), r"Received \[\(8388608,\)")],
)
def test_a_small_file_cannot_fill_the_memory(suffix, shape, what, tmp_path):
    """What is below the limit for the whole file is refused by its shape, and not read."""
    path = _replace(_save(_make_model(), tmp_path / f"a{suffix}"), _claim(*shape))
    assert path.stat().st_size < 100_000
    _assert_refused_without_reading(path, what)


def test_a_claim_in_the_place_of_the_classifier_is_not_read(tmp_path):
    path = _save(_make_model(keras.layers.Dense(3, name="top")), tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        group = file["model_weights/top"]
        _claim(2**13, 2**10)(group, group.attrs["weight_names"][0])
    tracemalloc.start()
    try:
        load_keras_weights(_make_model(), path)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 10e6


@pytest.mark.parametrize("is_honest", [True, False])
def test_a_keras_archive_does_not_inflate_to_gigabytes(is_honest, tmp_path):
    path = tmp_path / "a.keras"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("model.weights.h5", "w") as file,
    ):
        for _ in range(200):
            file.write(bytes(2**20))
    what = "claims to hold 209715200 bytes"
    if not is_honest:
        # The directory, the last entry in the file, says how long a record is.
        start, end = path.read_bytes().rsplit((200 * 2**20).to_bytes(4, "little"), 1)
        path.write_bytes(start + (1000).to_bytes(4, "little") + end)
        what = "Bad CRC-32"
    _assert_refused_without_reading(path, what)


def _assert_refused_without_reading(path, what):
    model = _make_model()
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=what):
            load_keras_weights(model, path)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 10e6


def test_compressed_weights_are_read(tmp_path):
    model = _make_model()
    path = _save(model, tmp_path / "a.keras")
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    received = _make_model()
    load_keras_weights(received, path)
    np.testing.assert_array_equal(received.get_weights()[0], model.get_weights()[0])


@SUFFIXES
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(suffix, value, tmp_path):
    model = _make_model()
    statistics = model.get_layer("norm").get_weights()
    statistics[3][2] = value
    model.get_layer("norm").set_weights(statistics)
    path = _save(model, tmp_path / f"a{suffix}")
    with pytest.raises(WeightsError, match="norm/moving_variance are not all finite"):
        load_keras_weights(_make_model(), path)


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
@pytest.mark.parametrize(("kind", "named"), [("int8", "int8"), ("S1", r"\|S1")])
def test_weights_that_are_no_floats_are_refused_by_name(suffix, kind, named, tmp_path):
    def change(group, name):
        del group[name]
        group[name] = np.ones((3, 3, 3, 4), kind)

    path = _replace(_save(_make_model(), tmp_path / f"a{suffix}"), change)
    with pytest.raises(WeightsError, match=f"Layer first expects .*Received: {named} from /"):
        load_keras_weights(_make_model(), path)


@SUFFIXES
@pytest.mark.parametrize(
    ("extra", "top_layers"),
    [
        ([("scores", 1)], ()),  # a network that has no such classifier
        ([("scores", 3)], ("scores",)),
        ([("scores", 1), ("more", 1)], ("scores",)),
    ],
)
def test_convolutions_that_are_no_classifier_are_refused(suffix, extra, top_layers, tmp_path):
    convolutions = [keras.layers.Conv2D(5, side, name=name) for name, side in extra]
    path = _save(_make_model(*convolutions), tmp_path / f"a{suffix}")
    n_layers = 3 + len(extra)
    with pytest.raises(WeightsError, match=f"Expected 3 layers .*eceived {n_layers}"):
        load_keras_weights(_make_model(), path, top_layers)


@SUFFIXES
def test_the_classifiers_convolution_is_left_out(suffix, tmp_path):
    """Keras 2 wrote some of these names in capitals."""
    whole = _make_model(keras.layers.Conv2D(5, 1, name="Scores"))
    path = _save(whole, tmp_path / f"a{suffix}")
    received = _make_model()
    load_keras_weights(received, path, ("pool", "scores"))
    for weight, expected in zip(received.get_weights(), whole.get_weights()[:8], strict=True):
        np.testing.assert_array_equal(weight, expected)
