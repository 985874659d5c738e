"""The minimiser: a parabola's minimum in few steps, and pairs that stay right."""

import numpy as np
import pytest

from pipeline.heads.logistic.quasi_newton import LEAST_PAIRS, MOST_PAIRS, Pairs, Value, minimise

SHAPE = (6, 3)


def make_parabola(seed=0, penalty=0.0):
    """Curvatures from 1 to 100, its minimum, and the function; the last row has no penalty."""
    random = np.random.default_rng(seed)
    n = SHAPE[0] * SHAPE[1]
    turn, _ = np.linalg.qr(random.standard_normal((n, n)))
    curvature = turn @ np.diag(np.geomspace(1, 100, n)) @ turn.T
    penalties = np.repeat([penalty] * (SHAPE[0] - 1) + [0.0], SHAPE[1])
    curvature += np.diag(penalties)
    pull = random.standard_normal(n)

    def evaluate(point):
        flat = point.reshape(-1)
        slope = curvature @ flat - pull
        return Value(float(flat @ (slope - pull) / 2), slope.reshape(SHAPE))

    return curvature, np.linalg.solve(curvature, pull).reshape(SHAPE), evaluate


def go_down(evaluate, pairs, limit=1e-12, max_steps=200, **how):
    start = np.zeros(SHAPE)
    return minimise(
        *(evaluate, start, evaluate(start), pairs, lambda gradient: gradient / 100),
        find_limit=lambda point, there: limit,
        max_steps=max_steps,
        rounding=1e-12,
        **how,
    )


def test_the_minimum_of_a_parabola_is_found_and_what_is_left_is_told():
    _, minimum, evaluate = make_parabola()
    told = []
    found = go_down(evaluate, Pairs(SHAPE), on_step=lambda left, limit: told.append(left))
    assert found.is_reached
    np.testing.assert_allclose(found.point, minimum, atol=1e-5)
    true_left = evaluate(np.zeros(SHAPE)).value - evaluate(minimum).value
    assert 0.01 < told[0] / true_left < 100
    assert told[-1] <= 1e-12 < told[-2]
    assert found.here.value == evaluate(found.point).value


def test_too_few_steps_are_said_not_to_reach():
    _, _, evaluate = make_parabola()
    found = go_down(evaluate, Pairs(SHAPE), max_steps=2)
    assert (found.n_steps, found.is_reached) == (2, False)


def test_a_function_that_only_rises_ends_the_search():
    found = go_down(lambda point: Value(float(np.any(point)), np.ones(SHAPE)), Pairs(SHAPE))
    assert (found.n_steps, found.is_reached) == (0, False)


@pytest.mark.parametrize("penalty", [0.5, 40.0])
def test_what_was_learned_at_one_penalty_helps_at_another(penalty):
    _, _, first = make_parabola()
    pairs = Pairs(SHAPE)
    go_down(first, pairs)
    curvature, minimum, second = make_parabola(penalty=penalty)
    pairs.set_penalty(penalty)
    for step, change, product in pairs._pairs:
        np.testing.assert_allclose(
            change.reshape(-1), curvature @ step.reshape(-1), rtol=0.02, atol=1e-5
        )
        assert product == pytest.approx(float(np.vdot(step, change)))
    warm = go_down(second, pairs)
    np.testing.assert_allclose(warm.point, minimum, atol=1e-5)
    assert warm.n_steps < go_down(second, Pairs(SHAPE)).n_steps


def test_few_pairs_are_kept_where_they_are_large():
    assert Pairs((10, 3))._pairs.maxlen == MOST_PAIRS
    assert LEAST_PAIRS <= Pairs((1281, 1200))._pairs.maxlen < 12
    assert Pairs((10_000, 100_000))._pairs.maxlen == LEAST_PAIRS
