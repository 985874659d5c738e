"""The manifest: one typed reading, of both versions, that no file can bring down."""

import dataclasses
import json

import numpy as np
import pytest
from conftest import call
from manifests import make_manifest, make_scores

from pipeline.errors import RunError
from pipeline.recipe import EngineRecord
from pipeline.runs.confusion_matrices import read_confusion_matrices, write_confusion_matrices
from pipeline.runs.listing import list_runs
from pipeline.runs.manifest import MAX_BYTES, VERSION, read_manifest, write_manifest
from pipeline.runs.run_folder import Run, open_run
from pipeline.runs.scores import ClassMetrics, score_predictions


def put(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(text if isinstance(text, str) else json.dumps(text))
    return folder


def test_version_1_opens_and_says_that_the_engine_is_unknown(tmp_path):
    manifest = read_manifest(put(tmp_path / "run", make_manifest()))
    assert manifest.version == 1
    assert not manifest.engine.is_known
    assert manifest.recipe.scale == (0.0078125, 0.0078125, 0.0078125)
    assert manifest.features.features_file == "/cache/flowers.h5"
    assert manifest.finetuning is None
    assert [used.recipe for used in manifest.backbones] == [manifest.recipe]
    assert manifest.metrics["val"].per_class[0] == ClassMetrics("daisy", 10, 0.9, 0.9, 0.9)
    assert manifest.scored_split == "val"


def test_what_is_written_is_read_back_and_its_keys_are_those_of_version_1(tmp_path):
    before = read_manifest(put(tmp_path / "old", make_manifest()))
    engine = EngineRecord(name="litert", version="2.3", device="cpu", batch_size=1)
    manifest = dataclasses.replace(before, version=VERSION, engine=engine)
    (tmp_path / "new").mkdir()
    write_manifest(tmp_path / "new", manifest)
    assert read_manifest(tmp_path / "new") == manifest
    values = json.loads((tmp_path / "new/manifest.json").read_text())
    added = {"engine", "names_and_head_sha256", "scored_images"}
    added |= {"temperature", "promise", "question", "folds", "data_name", "selection"}
    added |= {"further_backbones", "views", "tta"}
    assert set(values) == set(make_manifest()) | added
    assert values["version"] == 2
    assert values["engine"]["name"] == "litert"
    assert json.loads((tmp_path / "new/classes.json").read_text()) == ["daisy", "rose"]


def test_what_looks_like_numbers_in_a_name_is_left_alone(tmp_path):
    manifest = read_manifest(put(tmp_path / "run", make_manifest()))
    notes = ["[\n  1,\n  2\n]", "a\udcff"]
    write_manifest(tmp_path / "run", dataclasses.replace(manifest, notes=notes))
    text = (tmp_path / "run/manifest.json").read_text()
    assert '"accuracy_interval": [0.7, 0.97],\n' in text
    assert read_manifest(tmp_path / "run").notes == notes


def test_matrices_of_old_manifests_are_read_and_not_written_again(tmp_path):
    manifest = read_manifest(put(tmp_path / "run", make_manifest()))
    assert manifest.metrics["val"].confusion_matrix.tolist() == [[9, 1], [1, 9]]
    old = read_confusion_matrices(Run(tmp_path / "run", manifest))
    write_manifest(tmp_path / "run", manifest)
    write_confusion_matrices(tmp_path / "run", manifest)
    assert "confusion_matrix" not in (tmp_path / "run/manifest.json").read_text()
    again = open_run(tmp_path / "run")
    assert again.manifest.metrics["val"].confusion_matrix.size == 0
    new = read_confusion_matrices(again)
    assert {name: matrix.tolist() for name, matrix in new.items()} == {"val": [[9, 1], [1, 9]]}
    assert old["val"].tolist() == new["val"].tolist()


def test_a_manifest_of_two_thousand_classes_is_small_and_its_matrices_come_back(tmp_path):
    n = 2000
    labels = np.repeat(np.arange(n), 3)
    probabilities = np.full((3 * n, n), 1e-9, np.float32)
    called = (labels + (np.arange(3 * n) % 3 == 0)) % n
    probabilities[np.arange(3 * n), called] = 1
    names = [f"class {number}" for number in range(n)]
    scores = score_predictions(labels, probabilities, names)
    before = read_manifest(put(tmp_path / "run", make_manifest()))
    manifest = dataclasses.replace(
        before, class_names=names, metrics=dict.fromkeys(("train", "val", "test"), scores)
    )
    write_manifest(tmp_path / "run", manifest)
    write_confusion_matrices(tmp_path / "run", manifest)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "run").iterdir()}
    assert sum(sizes.values()) < 3e6, sizes
    run = open_run(tmp_path / "run")
    assert run.manifest == manifest
    expected = np.zeros((n, n), int)
    np.add.at(expected, (labels, called), 1)
    for matrix in read_confusion_matrices(run).values():
        assert np.array_equal(matrix, expected)


@pytest.mark.parametrize(
    "arrays", [{"val": np.eye(3, dtype=int)}, {"val": np.eye(2)}, {"test": np.eye(2, dtype=int)}]
)
def test_matrices_that_are_none_are_an_error_that_names_the_file(tmp_path, arrays):
    write_manifest(tmp_path, read_manifest(put(tmp_path / "run", make_manifest())))
    np.savez(tmp_path / "confusion-matrices.npz", **arrays)
    with pytest.raises(RunError, match=r"confusion-matrices\.npz"):
        read_confusion_matrices(open_run(tmp_path))
    (tmp_path / "confusion-matrices.npz").unlink()
    with pytest.raises(RunError, match=r"confusion-matrices\.npz"):
        read_confusion_matrices(open_run(tmp_path))


@pytest.mark.parametrize("name", sorted(set(make_manifest()) - {"equal_images"}))
def test_each_missing_key_is_named(tmp_path, name):
    values = make_manifest()
    del values[name]
    with pytest.raises(RunError, match=name) as caught:
        read_manifest(put(tmp_path / "run", values))
    assert str(tmp_path / "run/manifest.json") in str(caught.value)


def change(values, path, value):
    *way, last = path
    for step in way:
        values = values[step]
    values[last] = value


DAMAGES = [
    (("class_names",), "daisy", "$.class_names"),
    (("class_names",), ["daisy", "daisy"], "class_names"),
    (("recipe", "image_size"), "224", "$.recipe.image_size"),
    (("recipe", "scale"), [1, 2], "$.recipe.scale"),
    (("metrics",), {}, "metrics"),
    (("metrics", "val", "accuracy"), None, "accuracy"),
    (("metrics", "val", "accuracy_interval"), [0.5], "accuracy_interval"),
    (("metrics", "val", "log_loss"), float("nan"), "$.metrics.val.log_loss"),
    (("metrics", "val", "confusion_matrix"), [[float("inf")]], "confusion_matrix[0][0]"),
    (("metrics", "val", "confusion_matrix"), [[1], ["x"]], "confusion_matrix"),
    (("metrics", "val", "confusion_matrix"), [[1, 2], [3]], "confusion_matrix"),
    (("metrics", "val", "n_samples"), 10**400, "n_samples"),
    (("splits",), [], "$.splits"),
    (("seconds", "fit"), "long", "$.seconds"),
    (("data_root",), 7, "$.data_root"),
    (("kind",), {"x": 1}, "$.kind"),
    (("features_batch_size",), 1.5, "features_batch_size"),
    (("recipe", "image_size"), 1_000_000, "`image_size`"),
    (("recipe", "weights"), "random:abc", "`weights`"),
    (("recipe", "scale"), [1e308, 1, 1], "`scale`"),
    (("class_names",), ["daisy", "\ud800"], "$.class_names[1]"),
    (("class_names",), ["daisy", "G\udcc3\udca4nse"], "$.class_names[1]"),
    (("data_root",), "/data\0", "$.data_root"),
    (("parameters",), {"\udfff": 1}, "$.parameters.'\\udfff'"),
]


@pytest.mark.parametrize(("path", "value", "named"), DAMAGES, ids=range(len(DAMAGES)))
def test_wrong_values_are_one_error_that_names_their_place(tmp_path, path, value, named):
    values = make_manifest()
    change(values, path, value)
    with pytest.raises(RunError) as caught:
        read_manifest(put(tmp_path / "run", values))
    assert named in str(caught.value)
    assert "run/manifest.json" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"format": "frostline-run", "version": 1, "x": ' + "[" * 900 + "]" * 900 + "}",
        '{"format": "frostline-run", "version": ' + "9" * 5000 + "}",
        '{"format": "frostline-run", "version": true}',
        "\udcff".encode("utf-8", "surrogatepass").decode("latin-1"),
        "",
    ],
    ids=["deep", "deep but whole", "huge number", "true", "no text", "empty"],
)
def test_hostile_text_is_one_error(tmp_path, text):
    with pytest.raises(RunError) as caught:
        read_manifest(put(tmp_path / "run", text))
    assert "manifest.json" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_file_of_100_megabytes_is_not_read(tmp_path):
    put(tmp_path / "run", "{")
    with (tmp_path / "run/manifest.json").open("r+b") as file:
        file.truncate(100_000_000)
    with pytest.raises(RunError, match="100,000,000 bytes, more than 67,108,864"):
        read_manifest(tmp_path / "run")
    assert MAX_BYTES == 64 * 2**20


def test_a_newer_version_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"version 2 or older.*version 3"):
        read_manifest(put(tmp_path / "run", make_manifest() | {"version": 3}))


def test_bad_manifests_hide_no_good_one(tmp_path):
    put(tmp_path / "runs/good", make_manifest())
    for number, (path, value, _) in enumerate(DAMAGES):
        values = make_manifest()
        change(values, path, value)
        put(tmp_path / f"runs/bad{number:02d}", values)
    put(tmp_path / "runs/deep", "[" * 200_000)
    (entry,), problems = list_runs(tmp_path / "runs")
    assert entry["run"] == str(tmp_path / "runs/good")
    assert len(problems) == len(DAMAGES) + 1
    outcome = call("runs")
    assert outcome.exit_code == 0
    assert outcome.stderr.count("Left out: ") == len(DAMAGES) + 1


def test_a_class_that_nobody_was_called_has_no_precision(tmp_path):
    values = make_manifest()
    scores = make_scores()
    scores["per_class"][1]["precision"] = None
    values["metrics"] = {"test": scores, "val": make_scores()}
    manifest = read_manifest(put(tmp_path / "run", values))
    assert manifest.metrics["test"].per_class[1].precision is None
    assert manifest.scored_split == "test"


def test_numbers_of_numpy_are_written_as_numbers(tmp_path):
    manifest = read_manifest(put(tmp_path / "run", make_manifest()))
    parameters = {"C": np.float32(0.5), "epochs": np.int64(3)}
    write_manifest(tmp_path / "run", dataclasses.replace(manifest, parameters=parameters))
    assert read_manifest(tmp_path / "run").parameters == {"C": 0.5, "epochs": 3}
    with pytest.raises(TypeError):
        write_manifest(tmp_path / "run", dataclasses.replace(manifest, parameters={"C": object()}))


def test_fine_tuned_run_keeps_its_keys_and_says_what_computed_it(finetuned):
    manifest = read_manifest(finetuned)
    assert manifest.features is None
    assert manifest.finetuning.device.startswith("CPU")
    assert (manifest.engine.name, manifest.engine.device) == ("tensorflow", "cpu")
    values = json.loads((finetuned / "manifest.json").read_text())
    names = {field.name for field in dataclasses.fields(manifest.finetuning)}
    assert names <= set(values)
    assert values["comparison"]["test"] == "McNemar, exact, two-sided"
    assert manifest.metrics["val"].n_samples > 0
