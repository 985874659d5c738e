"""Images that a list leaves out, and the table that the page of an audit saves."""

import csv
import json
import os

import numpy as np
import pytest
from conftest import call, make_photos, save_image
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stand_in import extract
from pipeline.errors import DatasetError
from pipeline.images.dataset import scan_dataset
from pipeline.images.mend import mend
from pipeline.images.sources.fixes import read_excluded, read_labels
from pipeline.system.csv_files import write_csv

HEADER = ("path", "label", "exclude")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fixes")
    make_photos(folder / "photos", n_per_class=10)
    save_image(folder / "photos/red" / os.fsdecode(b'a,"b"\n\xff.png'), seed=77)
    extract(folder / "photos", folder / "f.h5")
    return folder


def rows_of(run):
    with (run / "predictions.csv").open(newline="", errors="surrogateescape") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_a_head_is_fitted_without_them_and_no_other_image_changes_its_split(made, tmp_path):
    names = list(scan_dataset(made / "photos").paths)
    strange = next(name for name in names if "\n" in name)
    out = {"blue/000.png", "green/003.png", strange}
    table = [(name, name.split("/")[0], "yes" if name in out else "") for name in names]
    table = [(name, "green" if name == "blue/001.png" else label, x) for name, label, x in table]
    write_csv(tmp_path / "fix.csv", [HEADER, *table])
    plain = call("fit-head", made / "f.h5", "--C", 1, "--output", tmp_path / "plain")
    assert plain.exit_code == 0, plain.stderr
    alone = call(
        *("fit-head", made / "f.h5", "--C", 1, "--output", tmp_path / "alone"),
        *("--exclude", tmp_path / "fix.csv"),
    )
    assert alone.exit_code == 0, alone.stderr
    assert "3 of 31 images are left out by" in alone.stderr
    before, after = rows_of(tmp_path / "plain"), rows_of(tmp_path / "alone")
    for name in names:
        if name in out:
            assert (after[name]["split"], after[name]["label"]) == ("", "")
        else:
            assert after[name]["split"] == before[name]["split"]
            assert after[name]["label"] == before[name]["label"]
    question = json.loads((tmp_path / "alone/manifest.json").read_text())["question"]
    assert question["n_excluded"] == 3
    assert question["exclude_file"] == str((tmp_path / "fix.csv").resolve())
    both = call(
        *("fit-head", made / "f.h5", "--C", 1, "--output", tmp_path / "both"),
        *("--exclude", tmp_path / "fix.csv", "--labels", tmp_path / "fix.csv"),
    )
    assert both.exit_code == 0, both.stderr
    assert rows_of(tmp_path / "both")["blue/001.png"]["label"] == "green"
    assert call("evaluate", tmp_path / "both", made / "photos", "--json").exit_code == 0
    listed = json.loads(call("runs", tmp_path, "--json").stdout)
    assert {len(listed["runs"] if isinstance(listed, dict) else listed)} == {3}


def test_a_list_without_the_column_leaves_out_all_that_it_names(made, tmp_path):
    (tmp_path / "out.csv").write_text("path,why\nred/001.png,dull\ngone.png,gone\n")
    outcome = call("fit-head", made / "f.h5", "--output", tmp_path / "run", "--C", 1,
                   "--exclude", tmp_path / "out.csv")  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    said = " ".join(outcome.stderr.split())
    assert "1 of 31 images are left out" in said
    assert "1 of its lines name no image" in said


def test_extract_takes_the_same_table(made, tmp_path):
    dataset = scan_dataset(made / "photos")
    table = [(name, "x" if name.startswith("red") else "y", "yes" if "00" in name else "")
             for name in dataset.paths]  # fmt: skip
    write_csv(tmp_path / "fix.csv", [HEADER, *table])
    mended = mend(dataset, tmp_path / "fix.csv", tmp_path / "fix.csv")
    assert mended.class_names == ["x", "y"]
    kept = [name for name in dataset.paths if "00" not in name]
    assert mended.paths == kept
    assert [mended.class_names[label] for label in mended.labels] == [
        "x" if name.startswith("red") else "y" for name in kept
    ]
    with pytest.raises(DatasetError, match="No image is left"):
        write_csv(tmp_path / "all.csv", [["path"], *([name] for name in dataset.paths)])
        mend(dataset, None, tmp_path / "all.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,exclude\nred/001.png,perhaps\n", "Expected yes or nothing"),
        ("path,exclude\nred/001.png,yes\nred/001.png,\n", "another exclude than a line before"),
        ("path,exclude\nnothing.png,yes\n", "Not one image of the feature file"),
        ("name,exclude\nred/001.png,yes\n", "names its columns"),
        ("path,exclude\nred/001.png\n", "not as many values"),
    ],
)
def test_lists_that_cannot_be_used_are_refused(made, tmp_path, text, said):
    (tmp_path / "fix.csv").write_text(text)
    outcome = call("fit-head", made / "f.h5", "--exclude", tmp_path / "fix.csv")
    assert outcome.exit_code == 1
    assert said in " ".join(outcome.stderr.split())
    assert not (tmp_path / "runs").exists()


NAMES = st.binary(min_size=1, max_size=12).map(
    lambda some: os.fsdecode(some.replace(b"\0", b"0").replace(b"\r", b"r"))
)


@given(st.dictionaries(NAMES, st.tuples(st.sampled_from(["a", "b, c", '"d"']), st.booleans()),
                       min_size=1, max_size=8))  # fmt: skip
def test_names_of_any_bytes_survive(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("round") / "fix.csv"
    rows = [(name, label, "yes" if out else "") for name, (label, out) in table.items()]
    write_csv(path, [HEADER, *rows])
    left_out, named = read_excluded(path)
    assert named == set(table)
    assert left_out == {name for name, (_, out) in table.items() if out}
    assert read_labels(path) == {name: label for name, (label, _) in table.items()}


def test_excluded_rows_are_not_trained_on(made, tmp_path):
    """The head is that of a feature file that never had them."""
    from pipeline.heads.fit_head import fit_head

    (tmp_path / "out.csv").write_text("path\nred/001.png\nblue/002.png\n")
    fit_head(made / "f.h5", head="ridge", exclude=str(tmp_path / "out.csv"),
             output=tmp_path / "run")  # fmt: skip
    rows = rows_of(tmp_path / "run")
    from pipeline.features.feature_file import FeatureFile

    with FeatureFile(made / "f.h5") as file:
        features, paths = file.read_all().astype(np.float64), file.contents.images.paths
    from sklearn.linear_model import Ridge

    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    names = manifest["class_names"]
    train = [row for row, path in enumerate(paths) if rows[path]["split"] == "train"]
    targets = np.eye(3)[[names.index(rows[paths[row]]["label"]) for row in train]]
    head = Ridge(manifest["history"]["best"]).fit(features[train], targets)
    called = [names[one] for one in head.predict(features).argmax(axis=1)]
    assert called == [rows[path]["predicted"] for path in paths]
