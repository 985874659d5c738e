"""`.keras` files that want something: each is refused before Keras builds or follows anything."""

import io
import json
import resource
import zipfile

import h5py
import keras
import numpy as np
import pytest

from pipeline.backbones.keras_files import CONFIG, WEIGHTS
from pipeline.backbones.safe_loading import load_keras_model_safely
from pipeline.errors import RunError

layers = keras.layers


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The members of a good file, by name."""
    path = tmp_path_factory.mktemp("good") / "model.keras"
    steps = [layers.Conv2D(4, 3), layers.Flatten(), layers.Dropout(0.1), layers.Dense(3)]
    keras.Sequential([keras.Input((8, 8, 3)), *steps]).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def refuse(tmp_path, monkeypatch):
    """Writes members, and gives what loading them says, which must never get as far as Keras."""

    def write_and_load(members, *, reaches_keras=False, **how):
        with zipfile.ZipFile(tmp_path / "model.keras", "w", **how) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        if not reaches_keras:
            monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("loaded"))
        with pytest.raises(RunError) as caught:
            load_keras_model_safely(tmp_path / "model.keras")
        assert len(str(caught.value)) < 1000
        return str(caught.value)

    return write_and_load


def with_layer(good, kind, change):
    """The members, with the configuration of the first layer of a kind changed."""
    config = json.loads(good[CONFIG])
    part = next(part for part in config["config"]["layers"] if part["class_name"] == kind)
    change(part)
    return {**good, CONFIG: json.dumps(config)}


def test_the_good_file_is_loaded(good, tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        for name, data in good.items():
            archive.writestr(name, data)
    assert load_keras_model_safely(tmp_path / "model.keras").output_shape == (None, 3)


@pytest.mark.parametrize("n_units", [4_000_000, 2**40, 2**62])
def test_a_layer_that_is_larger_than_the_file_takes_no_memory(good, refuse, n_units):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    members = with_layer(good, "Dense", lambda part: part["config"].update(units=n_units))
    n_weights = 4 * 27 + 4 + 6 * 6 * 4 * n_units + n_units
    said = refuse(members)
    assert f"layers with {n_weights:,} weights, of which the file holds 547" in said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_weights_that_were_refused_are_not_made_later(good, refuse):
    refuse(with_layer(good, "Dense", lambda part: part["config"].update(units=2**50)))
    with keras.StatelessScope():
        layers.Dense(2).build((None, 2))


def test_a_layer_whose_output_is_beyond_measure_is_refused(good, refuse):
    up = {"class_name": "UpSampling2D", "config": {"name": "up", "size": [100_000, 100_000]}}
    members = with_layer(good, "Dropout", lambda part: part.update(up))
    config = json.loads(members[CONFIG])
    config["config"]["layers"].insert(1, config["config"]["layers"].pop(3))
    config["config"]["layers"] = config["config"]["layers"][:2]
    said = refuse({**members, CONFIG: json.dumps(config)})
    assert "a layer up that makes 1,920,000,000,000 numbers of one image" in said


@pytest.mark.parametrize(
    ("part", "named"),
    [
        (
            {
                "module": "keras_hub.src.models.vit.vit_layers",
                "class_name": "ViTEncoder",
                "registered_name": "keras_hub>BytePairTokenizer",
            },
            "keras_hub.src.models.vit.vit_layers.ViTEncoder as keras_hub>BytePairTokenizer",
        ),
        (
            {"module": "keras_hub.src.tokenizers.tokenizer", "class_name": "Tokenizer"},
            "keras_hub.src.tokenizers.tokenizer.Tokenizer",
        ),
        ({"registered_name": "mine>Evil"}, "keras.layers.Dropout as mine>Evil"),
        ({"registered_name": ["Dropout"]}, "keras.layers.Dropout as ['Dropout']"),
        ({"config": {"rate": "mine>Evil"}}, "mine>Evil by its name alone"),
        (
            {"config": {"noise_shape": {"class_name": "__numpy__", "config": {"dtype": "S99999"}}}},
            "None.__numpy__",
        ),
    ],
)
def test_what_is_registered_under_a_name_does_not_pass_for_a_known_layer(
    good, refuse, part, named, monkeypatch
):
    @keras.saving.register_keras_serializable(package="mine")
    class Evil(keras.layers.Layer):
        def __init__(self, **_):
            pytest.fail("was made")

    try:
        members = with_layer(good, "Dropout", lambda dropout: dropout.update(part))
        assert f"Received: {named}." in refuse(members)
    finally:
        keras.saving.get_custom_objects().pop("mine>Evil")


def test_members_that_keras_does_not_write_are_refused(good, refuse):
    for name in ("assets/x", "../../x", "/tmp/x", "model.weights.json"):
        assert "an archive of" in refuse({**good, name: b"x"})
    assert "an archive of" in refuse({CONFIG: good[CONFIG]})


def test_a_bomb_is_not_expanded(good, refuse):
    how = {"compression": zipfile.ZIP_DEFLATED}
    said = refuse({**good, WEIGHTS: good[WEIGHTS] + bytes(50_000_000)}, **how)
    assert "compressed, encrypted or larger than the file" in said


def test_a_configuration_without_end_is_refused(good, refuse):
    assert "a config.json of 20,000,000 bytes" in refuse({**good, CONFIG: b" " * 20_000_000})
    assert "model.keras is damaged" in refuse({**good, CONFIG: b"[" * 100_000})
    deep = b'{"config": ' * 600 + b"{}" + b"}" * 600
    assert "model.keras is damaged" in refuse({**good, CONFIG: deep}, reaches_keras=True)
    many = json.dumps({"layers": [{"class_name": "Dense", "module": "keras.layers"}] * 50_001})
    assert "more than 50,000 layers" in refuse({**good, CONFIG: many})


def _weights(change):
    """An HDF5 file's bytes."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        change(file)
    return buffer.getvalue()


def _external(file):
    file.create_dataset("a", (100,), "u1", external=[("/etc/passwd", 0, 100)])


def _soft_link(file):
    file["a"] = h5py.SoftLink("/nowhere")


def _external_link(file):
    file["a"] = h5py.ExternalLink("/tmp/x.h5", "/")


def _compressed(file):
    file.create_dataset("a", (10**6,), "f4", chunks=(10**5,), compression="gzip")


def _empty(file):
    file.create_dataset("a", (2**20, 2**20), "f4", chunks=(1024, 1024))


def _claimed(file):
    file.create_dataset("a", (2**20,), "f4")  # nothing was written into it


@pytest.mark.parametrize(
    "change", [_external, _soft_link, _external_link, _compressed, _empty, _claimed]
)
def test_weights_that_lead_out_of_the_file_or_claim_more_than_is_there(good, refuse, change):
    assert "Received: weights with " in refuse({**good, WEIGHTS: _weights(change)})


def test_a_weight_may_not_serve_twice(good, refuse):
    def share(file):
        file["a"] = np.zeros(10, np.float32)
        for number in range(100):
            file[f"b{number}"] = file["a"]

    assert "of which the file holds 10." in refuse({**good, WEIGHTS: _weights(share)})
