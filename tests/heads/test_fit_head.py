"""What fit-head refuses, and what it says of a fit that people would trust too much."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from conftest import call, make_photos

from benchmarks.stand_in import extract
from pipeline.errors import FeatureFileError, HeadError, ParameterError
from pipeline.features.feature_file import FeatureFile
from pipeline.features.options import SplitOptions
from pipeline.features.split_rows import describe_small_classes, divide_images
from pipeline.heads.fit_head import fit_head
from pipeline.heads.options import DenseOptions, LogregOptions
from pipeline.runs.records import read_probes
from pipeline.runs.run_folder import open_run
from pipeline.system.options import list_options


@pytest.fixture
def features(photos, tmp_path):
    extract(photos, tmp_path / "f.h5")
    return tmp_path / "f.h5"


WRONG = {
    "C": float("nan"),
    "hidden_units": -4,
    "dropout": 1.0,
    "learning_rate": float("inf"),
    "weight_decay": -0.1,
    "batch_size": 0,
    "epochs": 0,
    "patience": 0,
    "seed": -1,
    "val_fraction": 0.0,
    "test_fraction": float("nan"),
}


@pytest.mark.parametrize("name", WRONG)
def test_option_that_makes_no_sense_is_named_before_the_file_is_opened(name, tmp_path):
    head = "logreg" if name == "C" else "dense"
    with pytest.raises(ParameterError, match=f"Expected `{name}` to be") as caught:
        fit_head(tmp_path / "nothing.h5", head=head, **{name: WRONG[name]})
    assert str(caught.value).endswith(f"Received: {WRONG[name]}")
    assert caught.value.parameter == name


def test_every_number_of_the_options_has_a_rule():
    numbers = {
        entry.name
        for options in (LogregOptions, DenseOptions, SplitOptions)
        for entry in list_options(options)
        if entry.type in (int, float)
    }
    assert numbers == set(WRONG)


@pytest.mark.parametrize("memory", ["lots", "0%", "0.1B", "", 0, -1, 2.5, True, [1]])
def test_memory_that_makes_no_sense_is_named_before_the_file_is_opened(memory, tmp_path):
    with pytest.raises(ParameterError, match="`memory` to be a number of bytes") as caught:
        fit_head(tmp_path / "nothing.h5", memory=memory)
    assert str(caught.value).endswith(f"Received: {memory!r}")
    assert caught.value.parameter == "memory"


@pytest.mark.parametrize("memory", [None, 1, np.int64(1000), "2GB", "50%"])
def test_memory_may_be_bytes_a_size_or_a_share(memory, features, tmp_path):
    expected = fit_head(features, C=1.0, output=tmp_path / "expected")
    found = fit_head(features, C=1.0, memory=memory, output=tmp_path / "found")
    assert found.metrics == expected.metrics


def test_features_of_a_file_that_are_not_finite_blame_the_file(features, monkeypatch):
    read = FeatureFile.read_blocks

    def spoil(self):
        for block in read(self):
            block[3, 1] = np.nan
            yield block

    monkeypatch.setattr(FeatureFile, "read_blocks", spoil)
    with pytest.raises(FeatureFileError) as caught:
        fit_head(features, C=1.0)
    assert str(caught.value) == (
        "Features must be finite numbers. Received: NaN or infinity in row 3. "
        "Extract the features again, in float32 if a reduced precision was used"
    )


def test_unknown_head_is_named_with_those_there_are(tmp_path):
    with pytest.raises(HeadError, match=r"one of logreg, dense\. Received: forest"):
        fit_head(tmp_path / "nothing.h5", head="forest")


def test_option_of_another_head_is_refused_by_the_library_too(tmp_path):
    with pytest.raises(ParameterError, match="`logreg` has no option `epochs`"):
        fit_head(tmp_path / "nothing.h5", epochs=3)


@pytest.mark.parametrize("value", [2.5, True, "3", None])
def test_whole_number_is_expected_where_one_makes_sense(value, tmp_path):
    with pytest.raises(ParameterError, match="Expected `epochs` to be a whole number at least 1"):
        fit_head(tmp_path / "nothing.h5", head="dense", epochs=value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--hidden", "-4"),
        ("--dropout", "2"),
        ("--dropout", "nan"),
        ("--learning-rate", "inf"),
        ("--learning-rate", "1e-40"),
        ("--epochs", "0"),
        ("--seed", "-1"),
    ],
)
def test_dense_head_with_a_wrong_number_is_one_message_and_no_run(
    features, tmp_path, option, value
):
    outcome = call("fit-head", features, "--head", "dense", option, value)
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("Error: ")
    assert f"Expected {option} to be" in outcome.stderr
    assert f"Received: {value}" in outcome.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("head", "other", "option", "value"),
    [
        ("dense", "logreg", "--C", "0.1"),
        ("logreg", "dense", "--hidden", "64"),
        ("logreg", "dense", "--dropout", "0.5"),
        ("logreg", "dense", "--learning-rate", "0.01"),
        ("logreg", "dense", "--epochs", "200"),
    ],
)
def test_option_of_the_other_head_is_wrong_usage_even_with_its_default(
    features, tmp_path, head, other, option, value
):
    outcome = call("fit-head", features, "--head", head, option, value)
    assert outcome.exit_code == 2
    assert f"{option} is an option of the {other} head" in outcome.stderr
    assert f"Received: --head {head} {option} {value}" in outcome.stderr
    assert not (tmp_path / "runs").exists()


def test_dense_head_that_was_best_in_its_last_epoch_says_that_more_may_help(features, tmp_path):
    def fit(name, *options):
        outcome = call(
            "fit-head", features, "--head", "dense", *options, "--output", tmp_path / name
        )
        assert outcome.exit_code == 0, outcome.stderr
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        return outcome.stderr, manifest["notes"], manifest["history"]["best"]

    said, notes, best = fit("short", "--epochs", 2)
    assert best == 2
    expected = "The last epoch was the best, so more may help: --epochs 4"
    assert expected in said
    assert "The last epoch was the best, so more may help: `epochs=4`" in notes
    said, notes, best = fit("wild", "--epochs", 30, "--learning-rate", 0.9)
    assert best < 30
    assert "The last epoch" not in said + "".join(notes)


def test_classes_with_few_validation_images_are_named(tmp_path):
    for split, n in (("train", 6), ("val", 5)):
        make_photos(tmp_path / "photos" / split, n_per_class=n)
    (tmp_path / "photos/val/green/004.png").unlink()
    extract(tmp_path / "photos", tmp_path / "f.h5")
    outcome = call("fit-head", "f.h5", "--output", "run")
    assert outcome.exit_code == 0, outcome.stderr
    expected = "Fewer than 5 validation images, so their scores mean little: green (4)."
    assert expected in outcome.stderr
    assert expected in json.loads((tmp_path / "run/manifest.json").read_text())["notes"]


def test_of_many_small_classes_three_are_named_and_none_where_all_are_large():
    names = ["ant", "bee", "cat\x1b", "dog", "elk", "fox"]
    (note,) = describe_small_classes(np.array([0, 1, 4, 2, 5, 3]), names)
    assert note.endswith(": ant (0), bee (1), cat\\x1b (4) and 2 more.")
    assert describe_small_classes(np.full(6, 5), names) == []


def test_a_file_in_the_place_of_the_runs_folder_is_an_error_that_names_it(features, tmp_path):
    (tmp_path / "runs").touch()
    outcome = call("fit-head", features)
    assert outcome.exit_code == 1
    assert "Cannot write runs: a file of that name is in the way" in outcome.stderr


@pytest.mark.parametrize("newcomer", [True, False])
def test_run_tells_of_the_file_that_was_opened_whatever_becomes_of_its_name(
    features, tmp_path, monkeypatch, newcomer
):
    """`extract` may replace the file, or a person remove it, at any moment of the fit."""
    target = shutil.copy(features, tmp_path / "features.h5")
    seal = hashlib.sha256(target.read_bytes()[512:]).hexdigest()

    def replace_and_divide(*arguments, **options):
        if newcomer:
            target.with_name("new.h5").write_bytes(b"another file")
            target.with_name("new.h5").replace(target)
        else:
            target.unlink()
        return divide_images(*arguments, **options)

    monkeypatch.setattr("pipeline.heads.fit_head.divide_images", replace_and_divide)
    result = fit_head(target, C=1.0, memory=1, output=tmp_path / "run")
    assert open_run(result).manifest.features.features_file_seal == seal
    assert read_probes(open_run(result)).features.shape[0] == 8
