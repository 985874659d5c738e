"""Whether a mirrored image is the same thing, as the frozen head sees it."""

import numpy as np
import pytest

from pipeline.finetuning.mirrored import draw_evenly, judge_mirrored

NAMES = ["left", "right", "stop"]


def judge(labels, answers, certainty=0.9, certainty_before=0.9):
    """What is judged of a head that has all right, and is so certain of what it says."""

    def say(answers, certainty):
        return np.where(np.eye(3)[answers] == 1, certainty, (1 - certainty) / 2)

    return judge_mirrored(labels, say(labels, certainty_before), say(answers, certainty), NAMES)


def test_signs_that_are_each_others_mirror_image_are_not_mirrored():
    labels = np.repeat([0, 1, 2], [10, 10, 180])
    answers = np.repeat([1, 0, 2], [10, 10, 180])
    seen = judge(labels, answers)
    assert (seen.n_images, seen.share, seen.worst, seen.worst_share) == (200, 0.9, "left", 0.0)
    assert not seen.are_same
    assert seen.describe() == (
        "Of 200 images that the head has right it has 90% right mirrored, of class left 0%, and "
        "their log-loss goes from 0.105 to 0.394: so none are mirrored."
    )


def test_images_of_which_few_are_told_otherwise_are_mirrored():
    labels = np.repeat([0, 1, 2], 20)
    answers = labels.copy()
    answers[[0, 25]] = 2
    seen = judge(labels, answers)
    assert (seen.share, seen.worst, seen.worst_share) == (58 / 60, "left", 0.95)
    assert seen.are_same
    assert "so training mirrors half of them" in seen.describe()


def test_all_classes_a_little_worse_are_worse_in_all():
    labels = np.repeat([0, 1, 2], 20)
    answers = np.where(np.arange(60) % 20 < 6, (labels + 1) % 3, labels)
    seen = judge(labels, answers)
    assert seen.worst_share == pytest.approx(0.7)
    assert not seen.are_same


@pytest.mark.parametrize(
    ("before", "mirrored", "are_same"), [(0.99, 0.98, True), (0.99, 0.95, False), (0.6, 0.5, True)]
)
def test_images_of_which_the_head_is_far_less_sure_are_not_mirrored(before, mirrored, are_same):
    labels = np.repeat([0, 1, 2], 20)
    seen = judge(labels, labels, certainty=mirrored, certainty_before=before)
    assert seen.losses == pytest.approx((-np.log(before), -np.log(mirrored)))
    assert seen.share == 1
    assert seen.are_same == are_same


def test_classes_of_a_few_images_say_nothing():
    labels = np.repeat([0, 2], [4, 20])
    answers = np.repeat([1, 2], [4, 20])
    few = judge(labels, answers)
    assert (few.worst, few.worst_share) == ("stop", 1)
    unknown = judge(labels[:4], labels[:4])
    assert not unknown.are_same
    assert "is not known" in unknown.describe()


def test_as_many_of_each_class_are_drawn_where_it_has_them():
    labels = np.repeat([0, 1, 2], [50, 3, 50])
    rows = np.arange(103) * 2
    drawn = draw_evenly(rows, labels, 23, seed=0)
    assert np.bincount(labels[drawn // 2]).tolist() == [10, 3, 10]
    assert np.all(np.diff(drawn) > 0)
    assert not np.array_equal(drawn, draw_evenly(rows, labels, 23, seed=1))
    assert np.array_equal(draw_evenly(rows, labels, 500, seed=0), rows)
