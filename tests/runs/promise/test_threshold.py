"""The promise is kept as often as it says, on heads whose true precision is known."""

import numpy as np
import pytest

from pipeline.runs.promise.threshold import Answers, Found, NotFound, find_threshold


def draw(rng, n: int, sharpness: float = 3.0) -> Answers:
    """Images that are right with the very probability that is said."""
    confidences = rng.beta(sharpness, 1, n)
    return Answers(confidences, rng.random(n) < confidences, np.ones(n, bool))


def true_precision(threshold: float, sharpness: float = 3.0) -> float:
    """Mean of a Beta(sharpness, 1) variable above a threshold, by its integral."""
    s = sharpness
    above = 1 - threshold**s
    return s / (s + 1) * (1 - threshold ** (s + 1)) / above


@pytest.mark.parametrize(("share", "least_found"), [(0.8, 250), (0.9, 70)])
def test_promise_is_broken_in_no_more_than_five_of_a_hundred_cases(share, least_found):
    rng = np.random.default_rng(0)
    broken = found = 0
    for _ in range(300):
        outcome = find_threshold(draw(rng, 150), draw(rng, 300), share)
        if isinstance(outcome, Found):
            found += 1
            broken += true_precision(outcome.threshold) < share
    assert found >= least_found  # it is no promise that is hardly ever made
    # 0.05 and three standard errors of 300 trials
    assert broken / 300 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_promise_is_kept_however_validation_flatters():
    """What chooses may be wrong about everything: it says all is right."""
    rng = np.random.default_rng(1)
    broken = 0
    for _ in range(200):
        choosing = draw(rng, 150)
        flattering = Answers(choosing.confidences, np.ones(150, bool), choosing.may_answer)
        outcome = find_threshold(flattering, draw(rng, 300), 0.9)
        broken += isinstance(outcome, Found) and true_precision(outcome.threshold) < 0.9
    assert broken / 200 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_bound_is_that_of_the_answers_at_the_threshold():
    rng = np.random.default_rng(2)
    choosing, proving = draw(rng, 200), draw(rng, 500)
    found = find_threshold(choosing, proving, 0.85)
    assert isinstance(found, Found)
    is_answered = proving.confidences >= found.threshold
    assert found.n_answered == is_answered.sum()
    assert found.n_right == (is_answered & proving.is_right).sum()
    assert found.bound >= 0.85
    assert found.n_tested >= 1


def test_head_that_is_always_right_answers_everything():
    confidences = np.linspace(0.4, 1, 200)
    answers = Answers(confidences, np.ones(200, bool), np.ones(200, bool))
    found = find_threshold(answers, answers, 0.98)
    assert isinstance(found, Found)
    assert (found.threshold, found.n_answered) == (0, 200)


def test_pictures_unlike_anything_seen_are_no_answers():
    rng = np.random.default_rng(3)
    near = rng.random(400) < 0.5
    confidences = np.full(400, 0.9)
    answers = Answers(confidences, near, near)  # wrong wherever it is far
    found = find_threshold(answers, answers, 0.95)
    assert isinstance(found, Found)
    assert found.n_answered == found.n_right == near.sum()


def test_head_that_guesses_needs_more_images_than_there_are():
    rng = np.random.default_rng(4)
    confidences = rng.random(300)
    guess = Answers(confidences, rng.random(300) < 0.5, np.ones(300, bool))
    outcome = find_threshold(guess, guess, 0.9)
    assert isinstance(outcome, NotFound)
    assert outcome.bound < 0.9
    assert outcome.n_needed is None


def test_number_that_is_said_to_do_does_in_most_cases():
    rng = np.random.default_rng(5)
    choosing = draw(rng, 3000, sharpness=8)
    outcome = find_threshold(choosing, draw(rng, 60, sharpness=8), 0.95)
    assert isinstance(outcome, NotFound)
    n = outcome.n_needed
    assert n is not None and n > 60
    passed = [
        isinstance(find_threshold(choosing, draw(rng, 2 * n, sharpness=8), 0.95), Found)
        for _ in range(50)
    ]
    assert np.mean(passed) > 0.5
