"""What an exported model says beside what the run says."""

import numpy as np
import pytest

from pipeline.classifier.export.images import choose_rows
from pipeline.classifier.export.prove import compare
from pipeline.runs.predictions import Predictions

EXPECTED = {
    "probabilities": np.array([[0.7, 0.3], [0.2, 0.8]], np.float32),
    "distance": np.array([0.1, 0.5], np.float32),
}


def prove(**changed):
    return compare({**EXPECTED, **changed}, EXPECTED, 1e-4, "a runtime 1.0")


def test_equal_outputs_differ_by_nothing():
    proof = prove()
    assert (proof.n_images, proof.greatest_difference, proof.same_class) == (2, 0.0, 1.0)


def test_distance_that_differs_is_told():
    assert prove(distance=EXPECTED["distance"] + 0.25).greatest_difference == pytest.approx(0.25)


def test_class_that_differs_is_told():
    flipped = EXPECTED["probabilities"].copy()
    flipped[0] = [0.45, 0.55]
    proof = prove(probabilities=flipped)
    assert proof.greatest_difference == pytest.approx(0.25) and proof.same_class == 0.5


@pytest.mark.parametrize(
    "probabilities",
    [
        np.full((2, 2), np.nan, np.float32),
        np.array([[0.7, 0.3], [np.nan, 0.8]], np.float32),
        EXPECTED["probabilities"][:1],
        EXPECTED["probabilities"][:, :1],
    ],
    ids=["nan", "one nan", "fewer images", "fewer classes"],
)
def test_what_is_no_answer_is_infinitely_far_off(probabilities):
    proof = prove(probabilities=probabilities)
    assert proof.greatest_difference == float("inf") and proof.same_class == 0.0


def test_output_that_is_missing_is_infinitely_far_off():
    outputs = {"probabilities": EXPECTED["probabilities"]}
    assert compare(outputs, EXPECTED, 1e-4, "").greatest_difference == float("inf")


def test_few_images_are_the_first_of_many_and_have_each_class_alike():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    splits = np.tile([0, 1], 50)  # train, val
    paths = [str(row) for row in range(100)]
    predictions = Predictions(paths, splits, labels, np.zeros((100, 3), np.float32))
    many, few = choose_rows(predictions, (1, 2, 0), 40), choose_rows(predictions, (1, 2, 0), 12)
    assert set(few) < set(many)
    assert (splits[many] == 1).all()
    assert np.bincount(labels[few]).tolist() == [4, 4, 4]
