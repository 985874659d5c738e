"""Heads of scikit-learn's estimators say what these say by hand, and work in every command."""

import json
import pickle

import numpy as np
import pytest
import skops.io
from conftest import call
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import ElasticNet, LinearRegression
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import frostline
from pipeline.errors import HeadError, ParityError, RunError
from pipeline.heads.registry import HEADS

NEW = ("ridge", "svm", "elastic-net", "class-mean", "neighbours", "boosting")
FILES = {"neighbours": "neighbours.npz", "boosting": "head.skops"}


def make_rows(n_classes=3, n=120, n_features=12, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    scales = random.uniform(0.5, 4, n_features)
    noise = random.standard_normal((n, n_features))
    return (2 + scales * (np.eye(n_features)[labels] + noise)).astype(np.float32), labels


def fit(head, n_classes=3, **options):
    features, labels = make_rows(n_classes)
    split = ["train"] * 90 + ["val"] * 30
    return features, labels, frostline.fit(features, labels, split=split, head=head, **options)


def standardise(features):
    return StandardScaler().fit(features[:90]).transform(features.astype(np.float64))


def list_scores(head, features):
    """Log-probabilities without what all classes share: the scores times the head's factor."""
    scores = np.log(head.predict_proba(features).astype(np.float64))
    return scores - scores.mean(axis=1, keepdims=True)


def require_proportional(found, expected):
    expected = expected - expected.mean(axis=1, keepdims=True)
    factor = np.vdot(found, expected) / np.vdot(expected, expected)
    assert factor > 0
    np.testing.assert_allclose(found / factor, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("n_classes", [2, 3])
def test_class_mean_is_the_nearest_centroid_of_scikit_learn(n_classes):
    features, labels, fitted = fit("class-mean", n_classes)
    by_hand = NearestCentroid().fit(features[:90].astype(np.float64), labels[:90])
    assert fitted.probabilities.argmax(axis=1).tolist() == by_hand.predict(features).tolist()
    distances = np.square(features[:, None].astype(np.float64) - by_hand.centroids_).sum(axis=2)
    require_proportional(list_scores(fitted.head, features), -distances)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_svm_has_the_scores_of_linear_svc_on_standardised_features(n_classes):
    features, labels, fitted = fit("svm", n_classes, C=0.01)
    rows = standardise(features)
    by_hand = LinearSVC(C=0.01, dual=False, tol=1e-8, max_iter=10_000).fit(rows[:90], labels[:90])
    scores = by_hand.decision_function(rows)
    scores = np.stack([-scores, scores], axis=1) if n_classes == 2 else scores
    require_proportional(list_scores(fitted.head, features), scores)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_elastic_net_leaves_out_the_features_that_scikit_learn_leaves_out(n_classes):
    features, labels, fitted = fit("elastic-net", n_classes, alpha=0.05, l1_ratio=0.7)
    rows = standardise(features)
    by_hand = [
        ElasticNet(0.05, l1_ratio=0.7, tol=1e-9, max_iter=100_000).fit(
            rows[:90], labels[:90] == number
        )
        for number in range(n_classes)
    ]
    coefficients = np.stack([one.coef_ for one in by_hand], axis=1)
    np.testing.assert_array_equal(fitted.head.kernel == 0, coefficients == 0)
    n_kept = int(np.any(coefficients != 0, axis=1).sum())
    assert 0 < n_kept < 12
    assert fitted.chosen == f"alpha = 0.05 ({n_kept} of 12 features)"
    scores = np.stack([one.predict(rows) for one in by_hand], axis=1)
    require_proportional(list_scores(fitted.head, features), scores)


def test_elastic_net_weighs_classes_as_scikit_learn_weighs_samples():
    features, labels, fitted = fit("elastic-net", alpha=0.02, class_weight="balanced")
    counts = np.bincount(labels[:90])
    assert fitted.parameters["class_weight"] == "balanced"
    weights = (90 / (3 * counts))[labels[:90]]
    one = ElasticNet(0.02, tol=1e-9, max_iter=100_000)
    one.fit(standardise(features)[:90], labels[:90] == 1, sample_weight=weights)
    assert ((fitted.head.kernel[:, 1] == 0) == (one.coef_ == 0)).all()


@pytest.mark.parametrize("neighbours", [1, 7])
def test_neighbours_vote_as_dinov2s(neighbours):
    features, labels, fitted = fit("neighbours", neighbours=neighbours, temperature=0.1)
    by_hand = KNeighborsClassifier(
        neighbours, metric="cosine", weights=lambda distances: np.exp((1 - distances) / 0.1)
    ).fit(features[:90], labels[:90])
    shares = np.bincount(labels[:90]) / 90
    votes = by_hand.predict_proba(features[90:])
    expected = (neighbours * votes + shares) / (neighbours + 1)
    np.testing.assert_allclose(fitted.head.predict_proba(features[90:]), expected, atol=1e-4)


def test_boosting_is_scikit_learns_and_validation_chooses_how_long():
    features, labels, fitted = fit("boosting", learning_rate=0.5)
    by_hand = HistGradientBoostingClassifier(
        max_iter=fitted.best, learning_rate=0.5, min_samples_leaf=4, early_stopping=False
    )
    by_hand.fit(features[:90], labels[:90])
    np.testing.assert_allclose(
        fitted.head.predict_proba(features), by_hand.predict_proba(features), atol=1e-6
    )
    losses = [record["val_loss"] for record in fitted.history]
    assert fitted.history[int(np.argmin(losses))]["iterations"] == fitted.best
    assert min(losses) == pytest.approx(fitted.metrics["val"].log_loss, rel=1e-4)


@pytest.mark.parametrize("head", ["svm", "elastic-net", "neighbours"])
def test_validation_chooses_a_value_of_low_loss(head):
    _, _, fitted = fit(head)
    assert fitted.chosen_by == "val"
    losses = {record[fitted.x]: record["val_loss"] for record in fitted.history}
    assert len(losses) > 2
    # Of the others, it is how low they could be; of the chosen one, how low it is.
    assert losses[fitted.best] == pytest.approx(fitted.metrics["val"].log_loss)
    assert losses[fitted.best] < 1.1 * min(losses.values())


@pytest.mark.parametrize("head", ["ridge", "svm", "elastic-net", "class-mean"])
def test_probabilities_of_labels_drawn_by_lot_are_those_of_the_lot(head):
    random = np.random.default_rng(0)
    features = random.standard_normal((300, 100)).astype(np.float32)
    labels = random.permutation(np.arange(300) % 2)
    given = {"svm": {"C": 0.1}, "elastic-net": {"alpha": 1e-3}}.get(head, {})
    split = ["train"] * 200 + ["test"] * 100
    fitted = frostline.fit(features, labels, split=split, head=head, **given)
    assert fitted.metrics["test"].log_loss < 0.73  # ln 2 is 0.693


@pytest.mark.parametrize("head", NEW)
def test_a_head_whose_options_are_given_needs_no_validation_images(head):
    options = {
        "ridge": {"alpha": 1.0},
        "svm": {"C": 0.01},
        "elastic-net": {"alpha": 0.01},
        "neighbours": {"neighbours": 5},
        "boosting": {"iterations": 3},
    }.get(head, {})
    features, labels = make_rows()
    fitted = frostline.fit(features, labels, split=["train"] * 120, head=head, **options)
    assert set(fitted.metrics) == {"train"}
    assert fitted.metrics["train"].accuracy > 0.5
    with_folds = frostline.fit(
        features, labels, split=["train"] * 120, head=head, folds=3, **options
    )
    assert with_folds.metrics["folds"].n_samples == 120


@pytest.fixture(scope="module")
def runs(extracted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for head in NEW:
        few_trees = ("--iterations", 10) if head == "boosting" else ()
        outcome = call(
            *("fit-head", extracted / "features.h5", "--head", head, *few_trees),
            *("--output", folder / head),
        )
        assert outcome.exit_code == 0, outcome.stderr
    return folder


@pytest.mark.parametrize("head", NEW)
def test_every_command_takes_the_run(head, runs, extracted):
    facts = json.loads((runs / head / "manifest.json").read_text())
    assert facts["kind"] == head
    assert facts["metrics"]["val"]["accuracy"] > 0.8
    assert (runs / head / "plots/learning-curve.png").is_file()
    photos = extracted / "photos"
    outcome = call("predict", runs / head, photos / "red/003.png", "--format", "json")
    assert outcome.exit_code == 0, outcome.stderr
    assert json.loads(outcome.stdout)[0]["classes"][0]["name"] == "red"
    outcome = call("evaluate", runs / head, photos, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["accuracy"] > 0.8
    assert head in call("runs", runs).stdout


@pytest.mark.parametrize("head", FILES)
def test_fine_tuning_says_why_not(head, runs):
    outcome = call("finetune", runs / head, "--output", "tuned")
    assert outcome.exit_code == 1
    assert f"The {head} head of" in outcome.stderr and "cannot be fine-tuned" in outcome.stderr
    assert "Fit a linear head, such as --head ridge, and fine-tune that" in outcome.stderr


@pytest.mark.parametrize("head", FILES)
def test_a_damaged_file_is_an_error_that_names_it(head, runs, tmp_path):
    name = FILES[head]
    data = (runs / head / name).read_bytes()
    for number, damaged in enumerate((data[: len(data) // 2], b"", data[:200] + b"\0" * 60)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_bytes(damaged)
        with pytest.raises(RunError, match="is damaged or no"):
            HEADS[head].import_load()(folder, ["blue", "green", "red"])


def test_trees_of_a_stranger_are_loaded_with_known_types_only(tmp_path):
    skops.io.dump(LinearRegression().fit([[0.0], [1.0]], [0, 1]), tmp_path / "head.skops")
    load = HEADS["boosting"].import_load()
    with pytest.raises(RunError, match="Received: a LinearRegression"):
        load(tmp_path, ["a", "b"])
    skops.io.dump({"call": call}, tmp_path / "head.skops")
    with pytest.raises(RunError, match=r"(?i)untrusted"):
        load(tmp_path, ["a", "b"])
    (tmp_path / "head.skops").write_bytes(pickle.dumps([1]))
    with pytest.raises(RunError, match="is damaged or no boosting head"):
        load(tmp_path, ["a", "b"])


def test_neighbours_of_other_classes_are_refused(runs):
    with pytest.raises(ParityError, match="fitted on other classes"):
        HEADS["neighbours"].import_load()(runs / "neighbours", ["blue", "green", "rust"])


@pytest.mark.parametrize("head", FILES)
def test_no_layer_can_be_made_of_it(head):
    options = {"boosting": {"iterations": 2}}.get(head, {})
    fitted = fit(head, **options)[2]
    with pytest.raises(HeadError, match="no weights that training could improve"):
        fitted.head.to_keras()
