"""Tests of pipeline/runs/scores.py against scikit-learn, the literature and sums done by hand."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from pipeline.runs.scores import (
    describe_absent_classes,
    mean_log_loss,
    score_predictions,
    wilson_interval,
)

NAMES = ["cats", "dogs", "horses", "humans"]


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def predict_at_random(n_samples, n_classes, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, n_classes, n_samples)
    scores = random.standard_normal((n_samples, n_classes)) + 1.5 * np.eye(n_classes)[labels]
    powers = np.exp(scores)
    return labels, powers / powers.sum(axis=1, keepdims=True)


# 81/263, 15/148, 0/20 and 1/29: R. G. Newcombe, "Two-sided confidence intervals for the single
# proportion", Statistics in Medicine 17 (1998), table I, method 3. The others are what R's
# `prop.test(x, n, correct = FALSE)` gives.
@pytest.mark.parametrize(
    ("n_correct", "n", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_wilson_intervals_agree_with_the_literature(n_correct, n, low, high):
    assert wilson_interval(n_correct, n) == pytest.approx((low, high), abs=6e-5)


def test_wilson_interval_solves_its_defining_equation():
    # Both ends p satisfy (p_hat - p)^2 = z^2 p (1 - p) / n; z of 99% is 2.575829...
    for p in wilson_interval(37, 120, confidence=0.99):
        assert (37 / 120 - p) ** 2 == pytest.approx(2.5758293035**2 * p * (1 - p) / 120)


def test_wilson_interval_of_nothing_is_everything():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("arguments", [(3, 2), (-1, 2), (1, 2, 0.0), (1, 2, 1.0)])
def test_wilson_interval_refuses_impossible_counts(arguments):
    with pytest.raises(ValueError, match="Received"):
        wilson_interval(*arguments)


def test_scores_equal_those_of_scikit_learn():
    labels, probabilities = predict_at_random(300, 4)
    predicted = probabilities.argmax(axis=1)
    scores = score_predictions(labels, probabilities, NAMES)
    assert scores.n_samples == 300
    assert scores.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert scores.balanced_accuracy == pytest.approx(
        reference.balanced_accuracy_score(labels, predicted)
    )
    assert scores.macro_f1 == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert scores.log_loss == pytest.approx(reference.log_loss(labels, probabilities))
    expected = reference.confusion_matrix(labels, predicted)
    assert np.array_equal(scores.confusion_matrix, expected)


def test_every_number_of_a_tiny_example_is_as_computed_by_hand():
    # Labels cats, cats, cats, dogs; called cats, cats, dogs, dogs.
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9], [0.5 - 1e-9, 0.5 + 1e-9]])
    scores = score_predictions([0, 0, 0, 1], probabilities, ["cats", "dogs"])
    assert scores.confusion_matrix.tolist() == [[2, 1], [0, 1]]
    assert scores.accuracy == 0.75
    assert scores.accuracy_interval == wilson_interval(3, 4)
    assert scores.balanced_accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert scores.macro_f1 == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert scores.log_loss == pytest.approx(-np.log([0.8, 0.6, 0.1, 0.5]).mean())
    cats, dogs = scores.per_class
    assert (cats.name, cats.n_samples, dogs.name, dogs.n_samples) == ("cats", 3, "dogs", 1)
    assert (cats.precision, cats.recall, cats.f1) == pytest.approx((1, 2 / 3, 4 / 5))
    assert (dogs.precision, dogs.recall, dogs.f1) == pytest.approx((1 / 2, 1, 2 / 3))


def test_a_class_absent_from_the_split_is_undefined_and_pulls_nothing_down():
    probabilities = np.eye(4)[[0, 1, 0, 1]]
    scores = score_predictions([0, 1, 0, 1], probabilities, NAMES)
    assert scores.accuracy == scores.balanced_accuracy == scores.macro_f1 == 1.0
    horses = scores.per_class[2]
    assert horses.n_samples == 0
    assert horses.precision is horses.recall is horses.f1 is None
    assert scores.confusion_matrix[2].tolist() == [0, 0, 0, 0]


def test_a_class_called_but_absent_is_left_out_of_both_means_and_named():
    """Labels cats, cats, dogs; called cats, dogs, horses."""
    scores = score_predictions([0, 0, 1], np.eye(4)[[0, 1, 2]], NAMES)
    assert scores.balanced_accuracy == pytest.approx((1 / 2 + 0) / 2)
    assert scores.macro_f1 == pytest.approx((2 / 3 + 0) / 2)
    assert scores.absent_classes == ["horses", "humans"]
    (sentence,) = describe_absent_classes({"test": scores})
    assert sentence == (
        "test: 2 of 4 classes have no images there (horses, humans); balanced accuracy and macro "
        "F1 are of the other 2."
    )


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_both_means_are_of_the_classes_that_have_samples_whatever_is_called(pairs):
    labels, predicted = np.array(pairs).T
    scores = score_predictions(labels, np.eye(6)[predicted], list("abcdef"))
    present = sorted(set(labels.tolist()))
    how = {"labels": present, "average": "macro", "zero_division": 0}
    assert scores.macro_f1 == pytest.approx(reference.f1_score(labels, predicted, **how))
    assert scores.balanced_accuracy == pytest.approx(
        reference.recall_score(labels, predicted, **how)
    )
    assert len(describe_absent_classes({"val": scores})) == (len(present) < 6)


def test_a_class_called_but_absent_has_precision_zero_and_no_recall():
    scores = score_predictions([0, 0], np.eye(2), ["cats", "dogs"])
    assert (scores.per_class[1].precision, scores.per_class[1].recall) == (0.0, None)


def test_a_class_never_called_has_recall_zero_and_no_precision():
    scores = score_predictions([0, 1], np.eye(2)[[0, 0]], ["cats", "dogs"])
    dogs = scores.per_class[1]
    assert (dogs.precision, dogs.recall, dogs.f1) == (None, 0.0, 0.0)


def test_one_sample_is_enough():
    scores = score_predictions([3], np.eye(4, dtype=np.float32)[[3]], NAMES)
    assert scores.accuracy == 1.0
    assert scores.log_loss == 0.0


def test_a_sure_mistake_costs_a_finite_log_loss():
    scores = score_predictions([0], np.array([[0.0, 1.0]], np.float32), ["cats", "dogs"])
    assert scores.log_loss == pytest.approx(-np.log(2.0**-52))  # float64's epsilon
    assert mean_log_loss([0], np.array([[0.0, 1.0]])) == scores.log_loss


def test_to_dict_is_plain_json_and_loses_nothing():
    labels, probabilities = predict_at_random(20, 3)
    scores = score_predictions(labels, probabilities.astype(np.float32), NAMES[:3])
    values = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert values == scores.to_dict()
    assert values["accuracy_interval"] == list(scores.accuracy_interval)
    assert [c["name"] for c in values["per_class"]] == NAMES[:3]
    assert np.sum(values["confusion_matrix"]) == 20


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([], np.zeros((0, 2)), "at least one sample"),
        ([0], np.array([[0.5, 0.3, 0.2]]), "one column per class"),
        ([0, 1], np.array([[1.0, 0.0]]), "shape"),
        ([2], np.array([[1.0, 0.0]]), "labels from 2 to 2"),
        ([-1], np.array([[1.0, 0.0]]), "labels from -1 to -1"),
        ([0], np.array([[np.nan, 0.0]]), "finite"),
        ([0], np.array([[3.0, -1.0]]), "sum"),
    ],
)
def test_what_cannot_be_scored_is_refused(labels, probabilities, message):
    with pytest.raises(ValueError, match=message):
        score_predictions(np.array(labels, int), probabilities, ["cats", "dogs"])


def test_importing_metrics_loads_no_scikit_learn():
    code = "import sys, pipeline.runs.scores; print({'sklearn', 'scipy'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"
