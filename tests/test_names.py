"""Names that people's folders, classes and runs have, through everything that Frostline writes.

A name is any bytes without NUL: no UTF-8, control characters, marks that turn the direction of
writing, markup, formulas, quotes, commas, and three hundred letters.
"""

import csv
import dataclasses
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import call
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.synthetic_features import make_blocks, write_synthetic_features
from pipeline.features.feature_file import FeatureFile, write_features
from pipeline.runs.manifest import read_manifest
from pipeline.runs.predictions import read_predictions, read_splits
from pipeline.runs.run_folder import open_run

N_IMAGES, N_FEATURES = 60, 4
NASTY = [
    "G\udce4nse",
    "$x$",
    "$\\frac{",
    "[red]",
    "[/]",
    "a\u202eb\u2066",
    "c\rx",
    "a\r\n\tb",
    "\x1b[31m\x07",
    "\x9b31m",
    'a,"b',
    '"',
    " ",
    "NaN",
    "path",
    "😀猫שלום\u200d",
    "\u0301" * 30,
    "{rate}",
    "x" * 300,
    "ä" * 300,
]
names = st.one_of(
    st.sampled_from(NASTY),
    st.text(min_size=1, max_size=12).map(lambda text: text.encode("utf-8", "ignore")),
    st.binary(min_size=1, max_size=12),
    st.text("\r\n\t ,;\"'$[]\\/\x1b\x85\u2028\u202e\ufeff\u0301é", min_size=1, max_size=6),
).map(lambda name: os.fsdecode(os.fsencode(name).replace(b"\0", b"0")))
two_or_more_names = st.lists(names.filter(bool), min_size=2, max_size=5, unique=True)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """The contents of a feature file."""
    path = tmp_path_factory.mktemp("synthetic") / "f.h5"
    write_synthetic_features(path, N_IMAGES, N_FEATURES, n_classes=2)
    with FeatureFile(path) as file:
        return {"contents": file.contents}  # a dict, or a failure would print all of it


def write_with_names(path: Path, contents, class_names: list[str]) -> list[str]:
    """A feature file of images and classes of these names; returns the images' paths."""
    labels = np.arange(N_IMAGES, dtype=np.int32) % len(class_names)
    paths = [f"{class_names[label]}/{row}{class_names[0]}" for row, label in enumerate(labels)]
    renamed = dataclasses.replace(
        contents,
        class_names=class_names,
        images=dataclasses.replace(contents.images, paths=paths),
        labels=labels,
        data_root=f"/data/{class_names[1]}",
    )
    write_features(path, renamed, make_blocks(labels, N_FEATURES, 0), [], N_FEATURES)
    return paths


def assert_shown_safely(outcome) -> None:
    assert outcome.exit_code == 0, outcome.stderr
    assert all(line.isprintable() for line in (outcome.stdout + outcome.stderr).split("\n"))


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@example(NASTY)
@given(class_names=two_or_more_names)
def test_any_name_comes_through_a_fit_and_all_that_shows_it(synthetic, class_names):
    folder = Path(tempfile.mkdtemp())
    run = folder / os.fsdecode(os.fsencode(class_names[0].replace("/", "_"))[:120]).strip(".")
    run = run if run != folder else folder / "run"
    paths = write_with_names(folder / "f.h5", synthetic["contents"], class_names)
    outcome = call("fit-head", folder / "f.h5", "--C", 1, "--output", run, "--json")
    assert_shown_safely(outcome)
    assert json.loads(outcome.stdout)["run"] == str(run)

    predictions = read_predictions(open_run(run))
    assert predictions.paths == paths
    assert (predictions.labels == np.arange(N_IMAGES) % len(class_names)).all()
    assert (read_splits(open_run(run)) == predictions.splits).all()
    text = (run / "predictions.csv").read_bytes().decode("utf-8", "surrogateescape")
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert header[4:] == class_names
    assert [row[0] for row in rows] == paths
    assert read_manifest(run).class_names == class_names
    assert json.loads((run / "classes.json").read_text()) == class_names
    for picture in ("confusion-matrix", "learning-curve"):
        with Image.open(run / f"plots/{picture}.png") as image:
            assert min(image.size) > 100

    assert_shown_safely(call("features", folder / "f.h5"))
    facts = json.loads(call("features", folder / "f.h5", "--json").stdout)
    assert list(facts["classes"]) == class_names
    assert facts["data_root"] == f"/data/{class_names[1]}"
    assert_shown_safely(call("runs", folder))
    (entry,) = json.loads(call("runs", folder, "--json").stdout)
    assert (entry["run"], entry["data_root"]) == (str(run), f"/data/{class_names[1]}")
    shutil.rmtree(folder)
