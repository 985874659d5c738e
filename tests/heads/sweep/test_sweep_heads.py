"""A sweep from the command line and the library: what it tries, keeps, tells and leaves behind."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import call, make_photos
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import frostline
from benchmarks.stand_in import RECIPE, extract
from pipeline.errors import (
    ClassWeightError,
    DatasetError,
    FeatureFileError,
    HeadError,
    LockedError,
    ParameterError,
)
from pipeline.heads.fit_options import check_fit_options
from pipeline.heads.sweep import work
from pipeline.heads.sweep.in_parallel import count_processes, run_jobs
from pipeline.heads.sweep.jobs import make_jobs
from pipeline.heads.sweep.settings import list_settings
from pipeline.heads.sweep.swept_files import describe_files, open_rows
from pipeline.heads.sweep.unfinished import identify_sweep, keep_unfinished
from pipeline.images.splits import TEST, VAL
from pipeline.runs.run_folder import open_run
from pipeline.system.locks import hold_lock_for_now

GRID = {"logreg": {"C": [0.001, 0.1, 10.0]}, "class-mean": {}, "ridge": {"alpha": [1.0, 100.0]}}


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Features of photos that cannot all be told apart."""
    folder = tmp_path_factory.mktemp("sweep")
    make_photos(folder / "photos", n_per_class=20, classes=("a", "b", "blue"))
    extract(folder / "photos", folder / "f.h5")
    return folder / "f.h5"


@pytest.fixture(scope="module")
def swept(features):
    """A sweep of `GRID` that nothing stopped."""
    return frostline.sweep_heads(features, GRID, jobs=1, output=features.parent / "runs" / "swept")


def fit_directly(path, folder, n_processes, memory):
    """The losses of the settings of `GRID`, and whether memory held all features."""
    (file,), divided = describe_files([path], check_fit_options("logreg", {}), {})
    jobs = make_jobs(dict(enumerate(list_settings(GRID, None, {}))))
    with open_rows(file, divided, memory) as (rows, is_whole):
        found = run_jobs(rows, jobs, n_processes, 0, folder, lambda *_: None)
        return {one.number: one.losses.tolist() for one in found}, is_whole


def losses_of(sweep):
    return {one.outcome.number: one.outcome.losses.tolist() for one in sweep.tried}


def names_in(folder="runs"):
    return sorted(path.name for path in Path(folder).iterdir())


def read_settings(folder):
    """What `sweep.json` says of each setting."""
    return json.loads((Path(folder) / "sweep.json").read_text())["settings"]


def test_commas_are_a_sweep_whose_losses_are_those_of_scikit_learn(features):
    outcome = call("fit-head", features, "--C", "0.001,0.1,10", "--jobs", 1)
    assert outcome.exit_code == 0, outcome.stderr
    (folder,) = names_in()
    assert folder.endswith("-sweep-1")
    found = read_settings(f"runs/{folder}")
    X, y, split = frostline.features(features).arrays()
    for setting in found:
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=setting["options"]["C"], max_iter=10_000)
        ).fit(X[split == 0].astype(float), y[split == 0])
        expected = log_loss(y[split == VAL], model.predict_proba(X[split == VAL].astype(float)))
        assert setting["val_log_loss"] == pytest.approx(expected, rel=2e-3)
    best = found[0]
    assert best["val_log_loss"] == min(one["val_log_loss"] for one in found)
    assert f"Best of 3 settings: logreg C={best['options']['C']:g}\n" in outcome.stdout
    assert f"Chosen by validation log-loss: C = {best['options']['C']:g}." in outcome.stdout
    assert "The best of 3 settings flatters" in outcome.stdout
    assert "so far: logreg C=0.001, validation log-loss" in outcome.stderr


def test_the_winner_is_an_ordinary_run_and_the_only_one_that_is_listed(features, swept, tmp_path):
    run, setting = open_run(swept.folder), swept.best.setting
    alone = frostline.fit_head(
        features, head=setting.head, output=tmp_path / "alone", **setting.options
    )
    assert run.kind == setting.head
    assert run.manifest.chosen_by == "val"
    assert setting.options.items() <= run.manifest.parameters.items()
    assert run.manifest.selection == swept.bias
    assert swept.winner.metrics == alone.metrics
    assert swept.best.outcome.log_loss == pytest.approx(alone.metrics["val"].log_loss, rel=1e-3)
    listed, problems = frostline.list_runs(swept.folder.parent)
    assert [entry["run"] for entry in listed] == [str(swept.folder)]
    assert problems == []
    with (swept.folder / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert [row["head"] for row in rows] == [one.setting.head for one in swept.tried]
    assert Image.open(swept.folder / "plots" / "sweep.png").size[0] > 800
    assert names_in(swept.folder.parent) == ["swept"]


def test_no_setting_meets_a_test_image_and_the_winner_meets_them_once(features, tmp_path):
    options = {"test_fraction": 0.2}
    given = check_fit_options("logreg", options)
    (file,), divided = describe_files([features], given, options)
    with open_rows(file, divided, 10**9) as (rows, _):
        _, y, split = frostline.features(features).arrays(test_fraction=0.2)
        assert (split == TEST).sum() == 12
        assert set(rows.labels[split == TEST].tolist()) == {-1}
        assert not (rows.is_train | rows.is_val)[split == TEST].any()
        assert np.array_equal(rows.labels[split == VAL], y[split == VAL])
    outcome = call("fit-head", features, "--sweep", "--head", "ridge,class-mean", "--jobs", 1,
                   "--test-fraction", 0.2, "--output", "swept")  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    assert "12 test images took no part in the sweep" in outcome.stderr
    told = {name for one in read_settings("swept") for name in one}
    header = Path("swept/sweep.csv").read_text().split("\n")[0]
    assert not [name for name in {*told, *header.split(",")} if "test" in name]
    assert open_run("swept").manifest.metrics["test"].n_samples == 12


def test_a_sweep_that_is_stopped_goes_on_and_comes_to_the_same(features, swept, monkeypatch):
    def stop(terminal, text):
        if "class-mean" in text:
            raise KeyboardInterrupt

    words = ("--head", "class-mean,ridge,logreg", "--alpha", "1,100", "--C", "0.001,0.1,10")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.commands.terminal.terminal.Terminal.say", stop)
        outcome = call("fit-head", features, *words, "--jobs", 1)
    assert outcome.exit_code == 130
    assert "What was finished is kept: run the same command again to continue." in outcome.stderr
    (kept,) = names_in()
    assert kept.startswith("unfinished-sweep-")
    assert call("runs").stdout == ""
    again = call("fit-head", features, *words, "--jobs", 1)
    assert again.exit_code == 0, again.stderr
    assert "1 of 6 settings were finished before." in again.stderr
    (name,) = names_in()
    assert {one["val_log_loss"] for one in read_settings(f"runs/{name}")} == {
        one.outcome.log_loss for one in swept.tried
    }


def test_a_damaged_record_is_fitted_again(features, swept, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pipeline.heads.sweep.sweep_heads.measure_selection_bias", stop)
        frostline.sweep_heads(features, GRID, jobs=1)
    (kept,) = names_in()
    records = names_in(f"runs/{kept}")
    assert len(records) == 7  # six settings, and what decides them
    damaged = Path(f"runs/{kept}/{records[0]}")
    damaged.write_bytes(damaged.read_bytes()[:-20])
    sweep = frostline.sweep_heads(features, GRID, jobs=1)
    assert sweep.n_read_back == 5
    assert losses_of(sweep) == losses_of(swept)


def test_another_file_grid_division_or_file_of_weights_is_another_sweep(features, tmp_path):
    extract(features.parent / "photos", tmp_path / "other.h5", replace(RECIPE, image_size=4))
    Path("weights.csv").write_text("a,1\nb,2\nblue,3\n")

    def name(path, grid, **options):
        files, divided = describe_files([path], check_fit_options("ridge", options), options)
        with keep_unfinished(
            identify_sweep(files, list_settings(grid, None, {}), divided), None
        ) as f:
            return f.name

    grid = {"ridge": {"class_weight": ["none", "weights.csv"]}}
    names = [
        name(features, grid),
        name(tmp_path / "other.h5", grid),
        name(features, {"ridge": {}}),
        name(features, grid, seed=1),
    ]
    assert name(features, grid) == names[0]
    Path("weights.csv").write_text("a,1\nb,2\nblue,4\n")
    assert len({*names, name(features, grid)}) == 5


def test_processes_and_features_that_memory_does_not_hold_come_to_the_same(
    features, swept, tmp_path
):
    assert fit_directly(features, tmp_path, 2, 10**9) == (losses_of(swept), True)
    assert fit_directly(features, tmp_path, 1, 1) == (losses_of(swept), False)


@pytest.mark.parametrize(
    ("memory", "expected"), [(10**12, 3), (2 * (600 * 10**6 + 4 * 10**9), 2), (1, 1)]
)
def test_memory_bounds_the_number_of_processes(memory, expected):
    jobs = make_jobs(dict(enumerate(list_settings({"ridge": {"alpha": [1, 2, 3]}}, None, {}))))
    assert count_processes(jobs, 8, 10**9, memory) == expected


def test_several_files_compare_backbones_on_the_same_images(features, tmp_path):
    other = tmp_path / "other.h5"
    extract(features.parent / "photos", other, replace(RECIPE, backbone="another", image_size=4))
    outcome = call("fit-head", features, other, "--C", "0.1,1", "--jobs", 1, "--output", "swept")
    assert outcome.exit_code == 0, outcome.stderr
    found = read_settings("swept")
    names = sorted(one["features"] for one in found)
    assert names == ["another", "another", "stand-in", "stand-in"]
    assert "another: 24 features an image" in outcome.stdout
    assert open_run("swept").recipe.backbone == found[0]["features"]
    make_photos(tmp_path / "fewer", n_per_class=19, classes=("a", "b", "blue"))
    extract(tmp_path / "fewer", tmp_path / "fewer.h5")
    with pytest.raises(DatasetError, match="do not have the same images"):
        frostline.sweep_heads([features, tmp_path / "fewer.h5"], GRID)


def test_a_setting_that_fails_is_told_of_and_never_wins(features):
    outcome = call("fit-head", features, "--head", "ridge", "--alpha", "1e-30,1", "--jobs", 1)
    assert outcome.exit_code == 0, outcome.stderr
    assert "failed: ridge alpha=1e-30: Expected --alpha to be a number from" in outcome.stdout
    with pytest.raises(HeadError, match="None of the settings could be fitted"):
        frostline.sweep_heads(features, {"ridge": {"alpha": [1e-30, 1e-29]}}, jobs=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sweep", "--folds", "3"), "Expected --sweep without --folds"),
        (("--C", "1,2", "--shots", "1,2"), "--shots without a sweep"),
        (("--sweep", "--join"), "--join without a sweep"),
        (("--jobs", "2"), "--jobs is of a sweep"),
        (("--C", "1,x"), "received 'x'"),
        (("--C", "1,0"), "received '0'"),
        (("--head", "logreg,nothing"), "'nothing'"),
        (("--head", "ridge,class-mean", "--C", "1,2"), "--C is an option of the logreg or svm"),
        (("--sweep", "--head", "ridge", "--C", "1,2"), "None of the heads ridge has an option --C"),
        (("--sweep", "nothing.toml"), "The grid cannot be read"),
        (("--sweep", "f.h5"), "write --sweep behind FEATURES"),
    ],
)
def test_what_makes_no_sense_is_refused(features, words, said):
    outcome = call("fit-head", features, *words)
    assert outcome.exit_code == 2, outcome.stderr
    assert said in " ".join(outcome.stderr.split())
    assert not Path("runs").exists()


def test_what_stands_in_the_way_is_told_before_anything_is_fitted(features, monkeypatch):
    monkeypatch.setattr(work, "run_jobs", lambda *_: pytest.fail("it was fitted"))
    with pytest.raises(ClassWeightError, match="cannot be read"):
        frostline.sweep_heads(features, {"logreg": {"class_weight": [None, "nothing.csv"]}})
    with pytest.raises(ParameterError, match="`jobs` to be a whole number"):
        frostline.sweep_heads(features, jobs=0)


def test_a_file_that_is_replaced_meanwhile_is_told_of(features, tmp_path):
    target = Path(shutil.copy(features, tmp_path / "f.h5"))

    def replace_file(text):
        extract(features.parent / "photos", tmp_path / "other.h5", replace(RECIPE, image_size=4))
        (tmp_path / "other.h5").replace(target)

    with pytest.raises(FeatureFileError, match="was replaced while the sweep was going on"):
        frostline.sweep_heads(target, {"class-mean": {}}, jobs=1, on_note=replace_file)
    (kept,) = names_in()
    assert kept.startswith("unfinished-sweep-")


def test_a_second_process_at_the_same_sweep_is_told_who_is_at_it(features, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(work.Work, "finish", stop)
        frostline.sweep_heads(features, GRID, jobs=1)
    (kept,) = names_in()
    with hold_lock_for_now(Path("runs") / kept), pytest.raises(LockedError):
        frostline.sweep_heads(features, GRID, jobs=1)


def test_one_setting_was_not_chosen_and_flatters_nobody(features, tmp_path):
    outcome = call("fit-head", features, "--C", "1,1,1", "--output", tmp_path / "run")
    assert outcome.exit_code == 0, outcome.stderr
    assert "flatters: accuracy" not in outcome.stdout
    assert json.loads((tmp_path / "run/sweep.json").read_text())["bias"] is None
