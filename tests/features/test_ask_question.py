"""Other questions on the same features: fit-head asks them, evaluate and finetune know them."""

import csv
import json

import pytest
from conftest import call, make_photos
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stand_in import extract
from pipeline.errors import DatasetError, ParameterError
from pipeline.features.ask_question import parse_classes, parse_merge
from pipeline.heads.fit_head import fit_head

CLASSES = ("cats", "dogs", "horses", "people")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    make_photos(folder / "photos", n_per_class=12, classes=CLASSES)
    extract(folder / "photos", folder / "f.h5")
    return folder


def rows_of(run):
    with (run / "predictions.csv").open(newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_classes_that_are_merged_are_one_and_the_images_keep_their_splits(made, tmp_path):
    fit_head(made / "f.h5", C=1.0, output=tmp_path / "plain")
    outcome = call(
        *("fit-head", made / "f.h5", "--C", 1, "--output", tmp_path / "run"),
        *("--merge", "cats+dogs=pets"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert "Taken as one class 'pets': 'cats', 'dogs'." in outcome.stderr
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["class_names"] == ["horses", "people", "pets"]
    assert manifest["question"]["merged"] == {"cats": "pets", "dogs": "pets"}
    before, after = rows_of(tmp_path / "plain"), rows_of(tmp_path / "run")
    assert {path: row["split"] for path, row in after.items()} == {
        path: row["split"] for path, row in before.items()
    }
    for path, row in after.items():
        was = before[path]["label"]
        assert row["label"] == ("pets" if was in ("cats", "dogs") else was)


def test_evaluation_asks_the_same_question(made, tmp_path):
    how = {"merge": "cats+dogs=pets", "classes": "pets,horses", "C": 1.0}
    result = fit_head(made / "f.h5", output=tmp_path / "run", **how)
    assert result.class_names == ["horses", "pets"]
    assert "Left out: 1 classes ('people')." in result.notes
    outcome = call("evaluate", tmp_path / "run", made / "photos", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert "12 images are passed over: the run leaves their classes out ('people')." in (
        outcome.stderr
    )
    found = json.loads(outcome.stdout)
    assert {one["name"]: one["n_samples"] for one in found["per_class"]} == {
        "horses": 12,
        "pets": 24,
    }
    make_photos(tmp_path / "more", n_per_class=2, classes=("cats", "cows"))
    unknown = call("evaluate", tmp_path / "run", tmp_path / "more")
    assert unknown.exit_code == 1
    assert "does not know the classes 'cows'" in unknown.stderr
    make_photos(tmp_path / "others", n_per_class=2, classes=("people",))
    assert "leaves out" in call("evaluate", tmp_path / "run", tmp_path / "others").stderr


def test_labels_of_a_file_take_the_place_of_the_folders(made, tmp_path):
    labels = {f"cats/{i:03d}.png": ("indoors" if i % 2 else "outdoors") for i in range(12)}
    labels |= {f"dogs/{i:03d}.png": ("indoors" if i % 3 else "outdoors") for i in range(12)}
    lines = ["path,label", *(f"{path},{label}" for path, label in labels.items()), "gone.png,x"]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    outcome = call(
        *("fit-head", made / "f.h5", "--C", 1, "--output", tmp_path / "run"),
        *("--labels", tmp_path / "labels.csv"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert "24 of 48 images have a label in" in outcome.stderr
    assert "1 of its lines name no image" in outcome.stderr
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["class_names"] == ["indoors", "outdoors"]
    assert manifest["question"]["labels_file"] == str((tmp_path / "labels.csv").resolve())
    said = {path: row["label"] for path, row in rows_of(tmp_path / "run").items() if row["label"]}
    assert said == labels
    wrong = call("evaluate", tmp_path / "run", made / "photos")
    assert wrong.exit_code == 1
    assert "labels.csv: give a list like it" in wrong.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\nnothing.png,a\n", "Not one image of the feature file has a label"),
        ("path,label\na.png,x\na.png,y\n", "Line 3 of this list has another label"),
        ("path,label\na.png\n", "Line 2 of this list has not as many values"),
        ("path,kind\na.png,x\n", "does not say which column holds the labels"),
    ],
)
def test_list_of_labels_that_cannot_be_used_is_named(made, tmp_path, text, said):
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(DatasetError, match=said):
        fit_head(made / "f.h5", labels=str(tmp_path / "l.csv"), output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (("--classes", "cats"), "two or more"),
        (("--classes", "cats,cows"), "There is no class 'cows'"),
        (("--merge", "cats+dogs"), "such as cats+dogs=pets"),
        (("--merge", "cats+cows=pets"), "There is no class 'cows'"),
        (("--merge", "cats+dogs=people"), "There is a class 'people' already"),
        (("--merge", "cats+cats=pets"), "name each class once"),
        (("--merge", "cats=a,cats=b"), "name each class once"),
    ],
)
def test_question_that_makes_no_sense_is_refused(made, tmp_path, how, said):
    outcome = call("fit-head", made / "f.h5", *how, "--output", tmp_path / "run")
    assert outcome.exit_code == 2
    assert said in " ".join(outcome.stderr.split())
    assert not (tmp_path / "run").exists()


NAMES = st.lists(st.text("abcxyz ", min_size=1).map(str.strip).filter(bool), min_size=3,
                 max_size=6, unique=True)  # fmt: skip


@given(NAMES, st.data())
def test_what_is_written_as_merge_and_classes_is_read_back(names, data):
    some = data.draw(st.lists(st.sampled_from(names), min_size=2, unique=True))
    target = "T" + some[0]
    assert parse_merge(f"{' + '.join(some)} = {target}", names) == dict.fromkeys(some, target)
    assert parse_classes(", ".join(some), names) == some
    with pytest.raises(ParameterError):
        parse_merge(f"{some[0]}={target},{some[0]}={target}", names)
