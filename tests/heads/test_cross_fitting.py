"""Cross-validation: what an image is told out of folds comes from heads that never saw it."""

import csv
import json

import numpy as np
import pytest
from conftest import call, make_photos, save_image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import frostline
from benchmarks.stand_in import extract
from pipeline.errors import ParameterError, RunError
from pipeline.runs.out_of_fold import read_out_of_fold
from pipeline.runs.run_folder import open_run


def make_rows(n=90, n_features=6, n_classes=3, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    features = 1.5 * np.eye(n_features)[labels] + random.standard_normal((n, n_features))
    return features.astype(np.float32), labels


def test_out_of_fold_probabilities_are_those_of_scikit_learn_on_the_other_folds():
    features, labels = make_rows()
    split = ["train"] * 60 + ["val"] * 20 + ["test"] * 10
    fit = frostline.fit(features, labels, split=split, C=0.5, folds=4, repeats=2)
    found = fit.out_of_fold
    assert found.rows.tolist() == list(range(80))
    assert found.probabilities.shape == (2, 80, 3)
    assert np.any(found.folds[0] != found.folds[1])
    for repeat in range(2):
        for fold in range(4):
            out = found.folds[repeat] == fold
            known = found.rows[~out]
            by_hand = make_pipeline(
                StandardScaler(), LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000)
            ).fit(features[known].astype(np.float64), labels[known])
            np.testing.assert_allclose(
                found.probabilities[repeat, out],
                by_hand.predict_proba(features[found.rows[out]].astype(np.float64)),
                atol=5e-4,
            )
    hits = found.probabilities.argmax(axis=2) == labels[:80]
    assert fit.metrics["folds"].accuracy == pytest.approx(hits.mean())
    assert fit.metrics["folds"].n_samples == 80
    by_fold = [hits[0, found.folds[0] == fold].mean() for fold in range(4)]
    assert fit.folds.accuracies[0] == pytest.approx(by_fold)
    assert fit.folds.spread == pytest.approx(np.std(fit.folds.accuracies, ddof=1))


def test_the_head_that_is_kept_was_fitted_on_all_but_the_test_images():
    features, labels = make_rows()
    split = np.array(["train"] * 60 + ["val"] * 20 + ["test"] * 10)
    fit = frostline.fit(features, labels, split=split, folds=3)
    assert set(fit.metrics) == {"train", "test", "folds"}
    assert fit.metrics["train"].n_samples == 80
    everything = np.where(split == "test", "test", "train")
    alone = frostline.fit(features, labels, split=everything, C=fit.best)
    np.testing.assert_array_equal(fit.head.kernel, alone.head.kernel)
    # C itself was chosen by the validation images while only the others trained.
    usual = frostline.fit(features, labels, split=split)
    assert (fit.best, fit.chosen_by) == (usual.best, "val")


def test_labels_drawn_by_lot_are_not_known_out_of_folds_however_often_an_image_is_there():
    random = np.random.default_rng(0)
    features = np.tile(random.standard_normal((60, 100)).astype(np.float32), (2, 1))
    labels = np.tile(random.permutation(np.arange(60) % 2), 2)
    split, groups = ["train"] * 120, np.arange(120) % 60
    leaking = frostline.fit(features, labels, split=split, head="ridge", folds=5)
    honest = frostline.fit(features, labels, split=split, head="ridge", folds=5, groups=groups)
    assert leaking.metrics["folds"].accuracy > 0.8
    assert honest.metrics["folds"].accuracy < 0.7


def test_options_of_folds_that_make_no_sense_are_named():
    features, labels = make_rows()
    for wrong in ({"folds": 1}, {"folds": 2.5}, {"repeats": 3}, {"folds": 3, "repeats": 0}):
        name = list(wrong)[-1] if "repeats" in wrong else "folds"
        with pytest.raises(ParameterError) as caught:
            frostline.fit(features, labels, split=["train"] * 90, C=1.0, **wrong)
        assert caught.value.parameter == name


@pytest.fixture
def with_copies(tmp_path):
    """Features of photos of which four are there twice, under two names."""
    make_photos(tmp_path / "photos", n_per_class=9)
    for number in range(4):
        save_image(tmp_path / f"photos/red/copy-{number}.png", seed=2000 + number)
        save_image(tmp_path / f"photos/red/other-{number}.png", seed=2000 + number)
    extract(tmp_path / "photos", tmp_path / "f.h5")
    return tmp_path / "f.h5"


def test_folds_through_the_command_line(with_copies, tmp_path):
    outcome = call("fit-head", with_copies, "--folds", 3, "--repeats", 2, "--output", "run")
    assert outcome.exit_code == 0, outcome.stderr
    assert "3 folds, 2 times: accuracy " in outcome.stdout
    assert "validation chose" not in outcome.stdout
    facts = json.loads((tmp_path / "run/manifest.json").read_text())
    assert (facts["folds"]["n_folds"], facts["folds"]["n_repeats"]) == (3, 2)
    assert facts["parameters"]["folds"] == 3
    with (tmp_path / "run/out-of-fold.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 35
    fold_of = {(row["path"], row["repeat"]): row["fold"] for row in rows}
    for number in range(4):
        for repeat in "12":
            one, other = (f"red/{name}-{number}.png" for name in ("copy", "other"))
            assert fold_of[one, repeat] == fold_of[other, repeat]
    hits = [row["label"] == row["predicted"] for row in rows]
    assert facts["metrics"]["folds"]["accuracy"] == pytest.approx(np.mean(hits))
    found = read_out_of_fold(open_run("run"))
    probabilities = [[float(row[name]) for name in ("blue", "green", "red")] for row in rows]
    np.testing.assert_allclose(found.probabilities.reshape(-1, 3), probabilities, atol=1e-6)
    (entry,) = json.loads(call("runs", "--json", ".").stdout)
    assert (entry["split"], entry["n_samples"]) == ("folds", 35)
    assert "folds split, 35 images" in call("runs", ".").stdout


def test_a_run_without_folds_says_so_where_they_are_asked_for(with_copies, tmp_path):
    run = frostline.fit_head(with_copies, output=tmp_path / "run")
    with pytest.raises(RunError, match="no predictions out of folds"):
        read_out_of_fold(open_run(run))


def test_a_run_whose_head_saw_all_images_is_not_fine_tuned(with_copies, tmp_path):
    call("fit-head", with_copies, "--head", "ridge", "--folds", 3, "--output", "run")
    outcome = call("finetune", "run", "--output", "tuned")
    assert outcome.exit_code == 1
    assert "fitted on all images after its folds" in outcome.stderr
    assert "Fit the head without --folds" in outcome.stderr
    assert not (tmp_path / "tuned").exists()


def test_wrong_folds_are_wrong_usage(with_copies):
    outcome = call("fit-head", with_copies, "--folds", 1)
    assert outcome.exit_code == 2
    assert "'--folds': expected none or a number" in outcome.stderr.replace(
        "a whole number", "a number"
    )
    outcome = call("fit-head", with_copies, "--repeats", 2)
    assert outcome.exit_code == 2
    assert "Expected --folds with --repeats" in outcome.stderr
    outcome = call("fit-head", with_copies, "--folds", 20)
    assert outcome.exit_code == 1
    assert "3 class(es) are too small for 20 folds" in outcome.stderr
