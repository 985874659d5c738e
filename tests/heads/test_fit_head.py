"""What fit-head refuses, and what it says of a fit that people would trust too much."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from conftest import call, make_photos, save_image

from benchmarks.stand_in import extract
from pipeline.errors import FeatureFileError, HeadError, ParameterError
from pipeline.features.feature_file import FeatureFile
from pipeline.features.split_notes import describe_small_classes
from pipeline.features.split_rows import divide_images
from pipeline.heads.fit_head import fit_head
from pipeline.heads.fit_options import SHARED_OPTIONS
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
    "drop_small": -1,
    "promise": 1.0,
    "unlike": -0.1,
    "folds": 1,
    "repeats": 0,
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
        for options in (LogregOptions, DenseOptions, *SHARED_OPTIONS)
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


@pytest.mark.parametrize(
    ("head", "how", "stages"),
    [
        ("logreg", {"C": 1.0}, ["Surveying", "Fitting", "Predicting", "Writing"]),
        ("dense", {"epochs": 2}, ["Surveying", "Epochs", "Predicting", "Writing"]),
    ],
)
def test_each_part_of_a_fit_tells_how_far_it_is_to_its_end(features, tmp_path, head, how, stages):
    told = {}
    fit_head(
        features,
        head=head,
        output=tmp_path / "run",
        on_progress=lambda stage, done, total: told.update({stage: (done, total)}),
        **how,
    )
    assert list(told) == stages
    assert all(done == total > 0 for done, total in told.values())


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
    with pytest.raises(HeadError, match=r"one of logreg, ridge, .*\. Received: forest"):
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
    assert outcome.exit_code == 2
    assert outcome.stderr.count("Error: ") == 1
    assert f"Invalid value for '{option}': expected a" in outcome.stderr
    assert f"received '{value}'" in outcome.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("head", "other", "option", "value"),
    [
        ("dense", "logreg or svm", "--C", "0.1"),
        ("logreg", "dense", "--hidden", "64"),
        ("logreg", "dense", "--dropout", "0.5"),
        ("logreg", "dense or boosting", "--learning-rate", "0.01"),
        ("logreg", "dense", "--epochs", "200"),
    ],
)
def test_option_of_the_other_head_is_wrong_usage_even_with_its_default(
    features, tmp_path, head, other, option, value
):
    outcome = call("fit-head", features, "--head", head, option, value)
    assert outcome.exit_code == 2
    assert f"{option} is an option of the {other} " in outcome.stderr
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

    monkeypatch.setattr("pipeline.heads.rows.divided_file.divide_images", replace_and_divide)
    result = fit_head(target, C=1.0, memory=1, output=tmp_path / "run")
    assert open_run(result).manifest.features.features_file_seal == seal
    assert read_probes(open_run(result)).features.shape[0] == 8


def facts_of(run):
    return json.loads((run / "manifest.json").read_text())


def test_a_strength_that_was_given_is_not_said_to_be_chosen_by_validation(features, tmp_path):
    """One candidate is no choice; the same without --C was one."""
    outcome = call("fit-head", features, "--C", "0.01", "--output", tmp_path / "given")
    assert outcome.exit_code == 0, outcome.stderr
    assert "C = 0.01, as given." in outcome.stdout.splitlines()
    assert "hosen" not in outcome.stdout
    assert "validation chose" not in outcome.stdout
    assert facts_of(tmp_path / "given")["chosen_by"] == "user"
    outcome = call("fit-head", features, "--output", tmp_path / "chosen")
    assert "Chosen by validation log-loss: C = " in outcome.stdout
    assert "There is no test split: validation chose" in outcome.stdout
    assert facts_of(tmp_path / "chosen")["chosen_by"] == "val"
    outcome = call("fit-head", features, "--C", "1", "--json", "--output", tmp_path / "json")
    assert json.loads(outcome.stdout)["chosen_by"] == "user"


@pytest.fixture
def given_splits(tmp_path):
    for number, split in enumerate(("train", "val", "test")):
        make_photos(tmp_path / "given" / split, n_per_class=4)
        for path in sorted((tmp_path / "given" / split).rglob("*.png")):
            path.write_bytes(path.read_bytes() + b"%d" % number)  # no copies of the others
    extract(tmp_path / "given", tmp_path / "given.h5")
    return tmp_path / "given.h5"


def test_options_that_the_folders_splits_make_idle_are_named(given_splits, tmp_path):
    outcome = call(
        *("fit-head", given_splits, "--C", 1, "--val-fraction", 0.3, "--test-fraction", 0.1),
        *("--seed", 7, "--split-rule", "chance", "--force"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    for words in (
        "--val-fraction 0.3 changes nothing: the data set itself says which images are val.",
        "--test-fraction 0.1 changes nothing: the data set itself says which images are test.",
        "--split-rule chance changes nothing: the data set itself says which image is in",
        "--seed changes nothing: the data set itself says which image is in which split, and the "
        "head logreg leaves nothing to chance.",
        "--force changes nothing without --output: a new run gets a new name.",
    ):
        assert words in outcome.stderr.replace("`", ""), words


def test_nothing_is_named_that_was_not_given_or_has_an_effect(given_splits, features, tmp_path):
    outcome = call("fit-head", given_splits, "--C", 1)
    assert "changes nothing" not in outcome.stderr
    outcome = call(
        *("fit-head", features, "--C", 1, "--val-fraction", 0.3, "--seed", 7),
        *("--split-rule", "chance", "--output", tmp_path / "run", "--force"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert "changes nothing" not in outcome.stderr


def test_idle_options_beside_others_are_named():
    assert DenseOptions(patience=20, epochs=15).describe_idle() == [
        "`patience=20` changes nothing with `epochs=15`: training ends before."
    ]
    assert DenseOptions(patience=20).describe_idle() == DenseOptions().describe_idle() == []


def test_small_classes_are_left_out_when_asked_for(photos, tmp_path):
    """Of five classes two have fewer than three images; the advice of the error does it."""
    for number, name in enumerate(("azure", "black", "black")):
        save_image(photos / name / f"{number}.png", 600 + number)
    extract(photos, tmp_path / "f.h5")
    outcome = call("fit-head", tmp_path / "f.h5", "--test-fraction", 0.2)
    assert outcome.exit_code == 1
    assert "2 classes ('azure', 'black') are too small to be split" in outcome.stderr
    assert "`python cli.py fit-head FEATURES --drop-small 3`" in outcome.stderr
    assert "folder" not in outcome.stderr
    run = tmp_path / "run"
    outcome = call(
        *("fit-head", tmp_path / "f.h5", "--test-fraction", 0.2, "--drop-small", 3),
        *("--C", 1, "--output", run),
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert (
        "2 classes are left out, each with fewer than 3 different images: 'azure', 'black'; their "
        "3 images count as without a label."
    ) in outcome.stderr
    assert json.loads((run / "classes.json").read_text()) == ["blue", "green", "red"]
    rows = [line.split(",")[:3] for line in (run / "predictions.csv").read_text().splitlines()[1:]]
    assert {tuple(row[1:]) for row in rows if row[0][:5] in ("azure", "black")} == {("", "")}
    assert {row[2] for row in rows if row[1]} == {"blue", "green", "red"}


def test_dropping_all_classes_or_none_is_said(features, tmp_path):
    outcome = call("fit-head", features, "--drop-small", 100)
    assert outcome.exit_code == 1
    assert "Received: 0 of 3 classes with --drop-small 100" in outcome.stderr
    outcome = call("fit-head", features, "--drop-small", 2, "--C", 1)
    assert "--drop-small 2 leaves no class out: none is so small." in outcome.stderr


def test_run_records_by_which_rule_its_images_were_divided(features, tmp_path):
    """Three classes of eight: exactly 6, 1 and 1 by the rule of today."""
    fractions = {"val_fraction": 0.125, "test_fraction": 0.125}
    for rule, asked in (("exact", {}), ("chance", {"split_rule": "chance"})):
        run = tmp_path / rule
        fit_head(features, C=1.0, **fractions, **asked, output=run)
        facts = facts_of(run)["splits"]
        assert facts["rule"] == rule
        if rule == "exact":
            assert facts["n_images"] == {"train": 18, "val": 3, "test": 3}


def test_with_a_test_split_its_small_classes_are_named_too(tmp_path):
    for split, n in (("train", 6), ("val", 5), ("test", 3)):
        make_photos(tmp_path / "photos" / split, n_per_class=n)
    extract(tmp_path / "photos", tmp_path / "f.h5")
    outcome = call("fit-head", "f.h5", "--output", "run")
    assert "Fewer than 5 test images, so their scores mean little: blue (3), green (3)" in (
        outcome.stderr
    )
    assert "validation images, so" not in outcome.stderr


def test_a_class_whose_name_is_a_space_is_seen():
    (note,) = describe_small_classes(np.array([1, 9]), [" ", "cats"])
    assert note.endswith(": ' ' (1).")


def test_balanced_weights_of_classes_of_one_size_are_said_to_change_nothing(tmp_path):
    for split, n in (("train", 6), ("val", 5)):
        make_photos(tmp_path / "photos" / split, n_per_class=n)
    extract(tmp_path / "photos", tmp_path / "f.h5")
    said = "--class-weight balanced changes nothing: each class has 6 training images."
    assert said in call("fit-head", "f.h5", "--class-weight", "balanced").stderr
    assert said not in call("fit-head", "f.h5").stderr
    (tmp_path / "photos/train/red/000.png").unlink()
    extract(tmp_path / "photos", tmp_path / "f.h5")
    uneven = call("fit-head", "f.h5", "--class-weight", "balanced")
    assert uneven.exit_code == 0, uneven.stderr
    assert "changes nothing" not in uneven.stderr
