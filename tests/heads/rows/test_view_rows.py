"""Heads train on all views of their images, each a share of one; what is scored is view 0."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from pipeline.errors import ParameterError
from pipeline.heads.fit import fit
from pipeline.heads.head import TrainingRows
from pipeline.heads.options import RidgeOptions
from pipeline.heads.registry import HEADS
from pipeline.heads.ridge.fitting import fit_ridge
from pipeline.heads.rows.view_rows import RowsAndViews, add_views
from pipeline.heads.tempered import TemperedHead, predict_averaged

N_IMAGES, N_FEATURES, N_AUGMENTED = 60, 5, 3
NAMES = ["cat", "dog", "hen"]
RNG = np.random.default_rng(0)
LABELS = np.arange(N_IMAGES) % 3
FEATURES = (2 * np.eye(3, N_FEATURES)[LABELS] + RNG.normal(size=(N_IMAGES, N_FEATURES))).astype(
    "f4"
)
VIEWS = (FEATURES[:, None] + 0.5 * RNG.normal(size=(N_IMAGES, N_AUGMENTED, N_FEATURES))).astype(
    "f4"
)
SPLIT = np.where(np.arange(N_IMAGES) < 42, "train", "val")
IS_TRAIN = SPLIT == "train"

fit_rows = partial(fit, FEATURES, LABELS, split=SPLIT, class_names=NAMES)


def list_training_rows():
    """Features, labels and weights of all training rows, put together by hand."""
    every = np.concatenate([FEATURES[:, None], VIEWS], axis=1)[IS_TRAIN]
    labels = np.repeat(LABELS[IS_TRAIN], N_AUGMENTED + 1)
    return every.reshape(-1, N_FEATURES), labels, np.full(len(labels), 1 / (N_AUGMENTED + 1))


@given(st.integers(1, 5), st.integers(1, 4), st.data())
def test_rows_and_views_are_sliced_as_one_table(n_images, n_augmented, data):
    n_rows = n_images * (n_augmented + 1)
    whole = np.arange(n_rows * 2, dtype=np.float32).reshape(-1, 2)
    rows = RowsAndViews(whole[:n_images], whole[n_images:])
    start, stop = sorted(data.draw(st.tuples(*2 * [st.integers(0, n_rows)])))
    np.testing.assert_array_equal(rows[start:stop], whole[start:stop])
    numbers = data.draw(st.lists(st.integers(0, n_rows - 1)))
    np.testing.assert_array_equal(rows[np.array(numbers, int)], whole[numbers])
    assert (len(rows), rows.shape) == (n_rows, whole.shape)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in sorted(set(HEADS) - {"dense", "boosting"})),
        *((name, {"class_weight": "balanced"}) for name in ("logreg", "ridge", "svm")),
        ("boosting", {"iterations": 3}),
    ],
)
def test_views_that_are_copies_change_no_head(name, options):
    """So an image counts once: strengths, neighbours and leaves are of images, not of rows."""
    copies = np.repeat(FEATURES[:, None], N_AUGMENTED, axis=1)
    plain, viewed = fit_rows(head=name, **options), fit_rows(head=name, views=copies, **options)
    assert viewed.chosen == plain.chosen
    np.testing.assert_allclose(viewed.probabilities, plain.probabilities, atol=2e-3)


def test_logistic_regression_is_scikit_learns_on_all_views_with_their_weights():
    rows, labels, weights = list_training_rows()
    scaler = StandardScaler().fit(rows)
    theirs = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000)
    theirs.fit(scaler.transform(rows), labels, weights)
    expected = theirs.predict_proba(scaler.transform(FEATURES))
    found = fit_rows(head="logreg", C=0.5, views=VIEWS)
    np.testing.assert_allclose(found.probabilities, expected, atol=5e-4)
    assert np.abs(expected - fit_rows(head="logreg", C=0.5).probabilities).max() > 0.01


def _fit_ridge_by_hand(is_train, alpha):
    every = np.concatenate([FEATURES[:, None], VIEWS], axis=1)[is_train].reshape(-1, N_FEATURES)
    labels = np.repeat(LABELS[is_train], N_AUGMENTED + 1)
    weights = np.full(len(labels), 1 / (N_AUGMENTED + 1))
    return Ridge(alpha, solver="svd").fit(every.astype("f8"), np.eye(3)[labels], weights)


def test_ridge_is_scikit_learns_and_leaves_all_views_of_an_image_out():
    """And scores view 0 of it."""
    alpha = 3.0
    found = fit_rows(head="ridge", alpha=alpha, views=VIEWS)
    theirs = _fit_ridge_by_hand(IS_TRAIN, alpha)
    ours, bias = found.head.kernel, found.head.bias
    sharpness = ours[0, 0] / theirs.coef_[0, 0]
    np.testing.assert_allclose(ours, sharpness * theirs.coef_.T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(bias, sharpness * theirs.intercept_, rtol=1e-4, atol=1e-5)
    scores = []
    for image in np.flatnonzero(IS_TRAIN):
        others = IS_TRAIN & (np.arange(N_IMAGES) != image)
        scores.append(_fit_ridge_by_hand(others, alpha).predict(FEATURES[[image]].astype("f8"))[0])
    left_out, labels = np.array(scores), LABELS[IS_TRAIN]
    record = found.history[0]
    error = np.square(left_out - np.eye(3)[labels]).sum(axis=1).mean()
    assert record["left_out_error"] == pytest.approx(error, rel=1e-6)
    assert record["left_out_accuracy"] == (left_out.argmax(axis=1) == labels).mean()


def test_ridge_keeps_groups_together_with_views():
    groups = np.arange(N_IMAGES) // 6
    rows = TrainingRows(FEATURES, LABELS, IS_TRAIN, ~IS_TRAIN, NAMES, groups)
    alpha = 3.0
    options = RidgeOptions(alpha=alpha)
    found = fit_ridge(
        add_views(rows, VIEWS.reshape(-1, N_FEATURES)), options, seed=0, on_progress=lambda *a: None
    )
    error = 0.0
    for group in np.unique(groups[IS_TRAIN]):
        out = IS_TRAIN & (groups == group)
        theirs = _fit_ridge_by_hand(IS_TRAIN & ~out, alpha)
        missed = theirs.predict(FEATURES[out].astype("f8")) - np.eye(3)[LABELS[out]]
        error += np.square(missed).sum()
    assert found.history[0]["left_out_error"] == pytest.approx(error / IS_TRAIN.sum(), rel=1e-6)


@pytest.mark.parametrize(
    ("head", "option"), [("logreg", {"C": 1.0}), ("neighbours", {"neighbours": 1}), ("ridge", {})]
)
def test_folds_never_train_on_a_view_of_an_image_that_they_score(head, option):
    """Labels are drawn, so whoever has seen an image's own views is right and nobody else is."""
    random = np.random.default_rng(3)
    features = random.normal(size=(120, 400)).astype(np.float32)
    labels = random.integers(0, 2, 120)
    views = np.repeat(features[:, None], 2, axis=1)
    fitted = fit(
        features, labels, split=np.full(120, "train"), head=head, views=views, folds=4, **option
    )  # fmt: skip
    assert 0.3 < fitted.metrics["folds"].accuracy < 0.7
    assert fitted.metrics["train"].accuracy > 0.9


def test_averaged_answers_are_the_mean_over_all_views():
    found = fit_rows(head="logreg", C=1.0, views=VIEWS, tta=True)
    kernel, bias = found.head.kernel.astype("f8"), found.head.bias.astype("f8")
    every = np.concatenate([FEATURES[:, None], VIEWS], axis=1).astype("f8")
    expected = softmax(every @ kernel + bias, axis=2).mean(axis=1)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(predict_averaged(found.head, FEATURES, VIEWS), expected, atol=1e-6)
    cooler = np.log(expected) / 2.0
    tempered = predict_averaged(TemperedHead(found.head, 2.0), FEATURES, VIEWS)
    np.testing.assert_allclose(tempered, softmax(cooler, axis=1), atol=1e-6)


def test_folds_average_where_it_is_asked_for():
    rows = {"split": np.full(N_IMAGES, "train"), "class_names": NAMES, "folds": 3, "C": 1.0}
    plain = fit(FEATURES, LABELS, views=VIEWS, **rows)
    averaged = fit(FEATURES, LABELS, views=VIEWS, tta=True, **rows)
    one, other = plain.out_of_fold.probabilities, averaged.out_of_fold.probabilities
    assert 0.001 < np.abs(one - other).max() < 0.5


@pytest.mark.parametrize(
    ("wrong", "parameter"),
    [
        ({"views": VIEWS[:5]}, "views"),
        ({"views": VIEWS[:, :, :2]}, "views"),
        ({"views": VIEWS[:, :0]}, "views"),
        ({"views": np.full_like(VIEWS, np.nan)}, "views"),
        ({"tta": True}, "tta"),
    ],
)
def test_views_that_fit_nothing_are_named(wrong, parameter):
    with pytest.raises(ParameterError, match=f"Expected `{parameter}`|with `tta=True`") as caught:
        fit_rows(head="logreg", **wrong)
    assert caught.value.parameter == parameter
