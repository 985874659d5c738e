"""Stage one as a library call, with an engine that a test registers in one line."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import call
from PIL import Image

from pipeline.backbones.engines.device import describe_cpu
from pipeline.backbones.engines.registry import ENGINES, EngineKind
from pipeline.commands.extract import extract as command
from pipeline.errors import DatasetError, EngineError, ParameterError
from pipeline.features.extract import extract
from pipeline.features.feature_file import FeatureFile
from pipeline.features.opened_file import Features
from pipeline.features.options import ExtractOptions
from pipeline.features.verify import recompute
from pipeline.recipe import EngineRecord
from pipeline.system.options import list_options

ROOT = Path(__file__).resolve().parents[2]


class FakeEngine:
    """An engine of a few lines: the mean colour of an image."""

    name, version, precision = "fake", "0.1", "float32"
    batch_size, takes_fewer, n_features = 2, False, 3

    def __init__(self, network, device, batch_size, n_streams):
        self.device, self.n_streams = device, n_streams or 1
        self.notes = [f"Pretends to be {network.recipe.backbone}."]

    def __call__(self, pixels):
        assert pixels.dtype == np.uint8
        assert len(pixels) == self.batch_size
        return pixels.mean((1, 2)).astype(np.float32)

    def advise(self):
        return []


def find_fake_device(wanted):
    """No TensorFlow is asked."""
    return describe_cpu()


FAKE = EngineKind(
    "fake", "Fake", f"{__name__}:FakeEngine", ("cpu",), f"{__name__}:find_fake_device"
)
OPTIONS = {"weights": "random", "image_size": 24, "engine": "fake"}


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setitem(ENGINES, "fake", FAKE)


def mean_colours(photos, paths):
    return [np.asarray(Image.open(photos / path)).mean((0, 1)) for path in paths]


@pytest.mark.usefixtures("fake")
def test_an_engine_of_one_registry_line_works_in_the_library(photos, tmp_path):
    notes = []
    found = extract(photos, output=tmp_path / "f.h5", on_note=notes.append, **OPTIONS)
    assert found.path == tmp_path / "f.h5"
    assert (found.summary.computed, found.class_names) == (24, ["blue", "green", "red"])
    assert "Pretends to be efficientnetb0." in notes
    with FeatureFile(found.path) as file:
        contents, features = file.contents, file.read_all()
    np.testing.assert_allclose(features, mean_colours(photos, contents.images.paths), atol=1e-4)
    (engine,) = contents.engines
    assert (engine.name, engine.version, engine.device) == ("fake", "0.1", "cpu")
    assert (engine.batch_size, engine.n_threads) == (2, 1)


@pytest.mark.usefixtures("fake")
def test_and_on_the_command_line(photos, tmp_path):
    outcome = call(
        *("extract", photos, "--weights", "random", "--image-size", 24, "--engine", "fake"),
        *("--output", tmp_path / "f.h5"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout == f"{tmp_path / 'f.h5'}\n"
    assert "Pretends to be efficientnetb0." in outcome.stderr
    shown = json.loads(call("features", tmp_path / "f.h5", "--json").stdout)
    assert [engine["name"] for engine in shown["engines"]] == ["fake"]


def test_an_engine_that_needs_no_tensorflow_never_loads_it(photos, tmp_path):
    program = f"""
import sys
sys.path[:0] = {[str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]!r}
from pipeline.backbones.engines.registry import ENGINES
import test_opened_file
ENGINES["fake"] = test_opened_file.FAKE
found = test_opened_file.extract({str(photos)!r}, output={str(tmp_path / "f.h5")!r},
                                **test_opened_file.OPTIONS)
print(found.summary.computed, "tensorflow" in sys.modules, "keras" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.split() == ["24", "False", "False"], done.stderr
    assert done.stderr == ""


def test_an_unknown_engine_is_an_error_that_lists_those_there_are(photos, tmp_path):
    outcome = call("extract", photos, "--weights", "random", "--engine", "nosuch")
    assert outcome.exit_code == 1
    assert "Expected one of openvino, tensorflow, jax. Received: --engine nosuch" in outcome.stderr
    with pytest.raises(EngineError, match="There is no such engine"):
        extract(photos, weights="random", engine="nosuch")


@pytest.mark.usefixtures("fake")
def test_the_library_prints_nothing_takes_text_for_paths_and_names_the_file_itself(
    photos, tmp_path, capfd
):
    found = extract(str(photos), **OPTIONS)
    assert found.path.parts[0] == "cache"
    assert found.path.name.startswith("photos-efficientnetb0-")
    assert capfd.readouterr() == ("", "")
    again = extract(photos, **OPTIONS)
    assert (again.path, again.summary.is_unchanged) == (found.path, True)


@pytest.mark.usefixtures("fake")
def test_arrays_are_those_that_fit_head_records(photos, tmp_path):
    found = extract(photos, output=tmp_path / "f.h5", **OPTIONS)
    X, y, split = found.arrays(test_fraction=0.25, seed=3)
    outcome = call(
        *("fit-head", found.path, "--C", 1, "--test-fraction", 0.25, "--seed", 3),
        *("--output", tmp_path / "run"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    with (tmp_path / "run" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == found.table()["path"]
    assert [row["split"] for row in rows] == [("train", "val", "test")[n] for n in split]
    assert [row["label"] for row in rows] == [found.class_names[n] for n in y]
    assert set(split.tolist()) == {0, 1, 2}
    np.testing.assert_allclose(X, mean_colours(photos, found.table()["path"]), atol=1e-4)
    assert (X.dtype, X.shape) == (np.float32, (24, 3))


@pytest.mark.usefixtures("fake")
def test_the_default_division_is_the_default_of_fit_head(photos, tmp_path):
    found = extract(photos, output=tmp_path / "f.h5", **OPTIONS)
    outcome = call("fit-head", found.path, "--C", 1, "--output", tmp_path / "run")
    assert outcome.exit_code == 0, outcome.stderr
    with (tmp_path / "run" / "predictions.csv").open() as file:
        recorded = [row["split"] for row in csv.DictReader(file)]
    assert recorded == [("train", "val", "test")[n] for n in found.arrays().split]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("seed", "a", "a whole number from 0 to 4,294,967,295"),
        ("seed", -1, "from 0 to 4,294,967,295"),
        ("val_fraction", "a", "a number above 0 and below 1"),
        ("val_fraction", 2, "above 0 and below 1"),
        ("test_fraction", 1, "at least 0 and below 1"),
        ("group_by", 3, "a text"),
    ],
)
def test_a_division_that_makes_no_sense_is_refused_by_its_name(tmp_path, name, value, expected):
    with pytest.raises(ParameterError, match=f"`{name}` to be {expected}") as caught:
        Features(tmp_path / "nothing.h5").arrays(**{name: value})
    assert caught.value.parameter == name


@pytest.mark.usefixtures("fake")
def test_a_seed_of_numpys_divides_as_pythons_does(photos, tmp_path):
    found = extract(photos, output=tmp_path / "f.h5", **OPTIONS)
    by_numpy, by_python = found.arrays(seed=np.int64(3)), found.arrays(seed=3)
    np.testing.assert_array_equal(by_numpy.split, by_python.split)


@pytest.mark.usefixtures("fake")
def test_the_table_has_a_row_for_each_image(photos, tmp_path):
    import hashlib

    (photos / "red" / "bad.png").write_bytes(b"no image")
    found = extract(photos, output=tmp_path / "f.h5", skipped_csv=True, **OPTIONS)
    table = found.table()
    assert set(map(len, table.values())) == {24}
    assert table["path"] == sorted(
        str(path.relative_to(photos)) for path in photos.rglob("*.png") if path.name != "bad.png"
    )
    assert table["label"] == [path.split("/")[0] for path in table["path"]]
    assert table["split"] == [None] * 24
    digests = [hashlib.sha256((photos / path).read_bytes()).hexdigest() for path in table["path"]]
    assert table["digest"] == digests
    assert "red/bad.png,not an image" in (tmp_path / "f.skipped.csv").read_text()


@pytest.mark.usefixtures("fake")
def test_an_archive_is_unpacked_and_said(photos, tmp_path):
    import shutil

    shutil.make_archive(str(tmp_path / "pictures"), "zip", photos)
    notes, datasets = [], []
    found = extract(
        tmp_path / "pictures.zip", on_note=notes.append, on_dataset=datasets.append, **OPTIONS
    )
    assert "Unpacked 24 files to data/pictures/" in notes
    assert [len(dataset) for dataset in datasets] == [24]
    assert found.summary.computed == 24


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("image_size", 0), ("limit", -1), ("batch_size", 1.5), ("pooling", "sum")),
        *(("background", "whitish"), ("parallel", "cluster"), ("jobs", 0)),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name_before_anything_is_done(
    photos, tmp_path, name, value
):
    with pytest.raises(ParameterError) as caught:
        extract(photos, output=tmp_path / "f.h5", **{name: value})
    assert caught.value.parameter == name
    assert str(value) in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert not (tmp_path / "f.h5").exists()


def test_an_option_that_is_not_there_is_an_error_that_names_close_ones(photos):
    with pytest.raises(ParameterError, match=r"for example image_size.* Received: imagesize"):
        extract(photos, imagesize=3)


def test_engine_and_device_are_checked_even_where_nothing_is_to_be_computed(extracted):
    how = {"backbone": "efficientnet-lite0", "image_size": 32, "output": extracted / "features.h5"}
    assert extract(extracted / "photos", **how).summary.kept == 36
    with pytest.raises(EngineError, match="no such engine"):
        extract(extracted / "photos", engine="nosuch", **how)
    with pytest.raises(ParameterError, match="Unknown device"):
        extract(extracted / "photos", device="tpu", **how)


@pytest.mark.usefixtures("fake")
def test_rows_of_another_engine_are_not_taken_for_those_of_the_one_that_was_asked_for(
    photos, tmp_path
):
    how = {"backbone": "squeezenet1_1", "weights": "random", "image_size": 32}
    extract(photos, output=tmp_path / "cache" / "a.h5", engine="tensorflow", **how)
    asked = extract(photos, output=tmp_path / "cache" / "b.h5", engine="fake", **how)
    assert asked.summary.computed == 24
    assert [record.name for record in asked.engines] == ["fake"]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DatasetError, match="nowhere"):
        extract(tmp_path / "nowhere")


def test_the_command_has_the_options_and_defaults_of_the_library():
    on_the_command_line = {parameter.name: parameter for parameter in command.params}
    for entry in list_options(ExtractOptions):
        assert on_the_command_line[entry.name].default == entry.default, entry.name
    others = {"data", "output", "quiet", "debug", "as_json"}
    names = {entry.name for entry in list_options(ExtractOptions)}
    assert set(on_the_command_line) - names == others


@pytest.mark.usefixtures("fake")
def test_recompute_goes_through_the_same_seam(photos, tmp_path):
    found = extract(photos, output=tmp_path / "f.h5", **OPTIONS)
    notes = []
    again = recompute(found.path, 10, engine="fake", on_note=notes.append)
    assert (again.n_rows, again.greatest_difference, again.problems) == (10, 0.0, [])
    assert again.engine == EngineRecord(
        "fake", "0.1", "cpu", describe_cpu().model, "", "float32", 1, 2
    )
    assert "Pretends to be efficientnetb0." in notes
