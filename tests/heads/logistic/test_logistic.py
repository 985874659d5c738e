"""Tests of the linear head: fitted as scikit-learn fits it, folded, saved and read back."""

import json
import pickle
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.errors import ParameterError, ParityError, RunError, SplitError
from pipeline.heads.linear import LinearHead, load_linear_head, save_linear_head
from pipeline.heads.logistic.fitting import fit_logistic_head, fold_pipeline


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def make_rows(n_samples=240, n_features=12, n_classes=3, spread=2.0, seed=0):
    """Clusters, one per class: features, labels, is_train, is_val, class_names."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, n_classes, n_samples)
    centers = random.standard_normal((n_classes, n_features))
    features = centers[labels] + spread * random.standard_normal((n_samples, n_features))
    is_val = np.arange(n_samples) % 4 == 0
    names = [f"class {i}" for i in range(n_classes)]
    return [features.astype(np.float32), labels, ~is_val, is_val, names]


def fit_by_scikit_learn(features, labels, C, **options):
    """The textbook way: float64, cold start, to a tight tolerance."""
    regression = LogisticRegression(C=C, tol=1e-10, max_iter=10_000, **options)
    pipeline = make_pipeline(StandardScaler(), regression)
    return pipeline.fit(features.astype(np.float64), labels)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("C", [1e-3, 1.0])
def test_the_head_gives_the_probabilities_of_scikit_learn_fitted_the_textbook_way(n_classes, C):
    rows = make_rows(n_classes=n_classes)
    features, labels, is_train, _, _ = rows
    expected = fit_by_scikit_learn(features[is_train], labels[is_train], C).predict_proba(features)
    fit = fit_logistic_head(*rows, C=C)
    assert expected.std() > 0.02
    assert np.abs(fit.head.predict_proba(features) - expected).max() < 1e-3
    assert fit.C == C


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_folded_head_equals_the_pipeline_beside_it(n_classes):
    rows = make_rows(n_classes=n_classes)
    fit = fit_logistic_head(*rows, C=0.1)
    assert fit.head.kernel.shape == (12, n_classes)
    assert fit.head.bias.shape == (n_classes,)
    assert fit.head.kernel.dtype == fit.head.bias.dtype == np.float32
    expected = fit.pipeline.predict_proba(rows[0])
    assert np.abs(fit.head.predict_proba(rows[0]) - expected).max() < 1e-5


def test_auto_chooses_the_lowest_validation_log_loss_of_its_path():
    rows = make_rows(spread=3.0)
    features, labels, is_train, is_val, _ = rows
    fit = fit_logistic_head(*rows)
    assert [point.C for point in fit.path] == sorted(point.C for point in fit.path)
    assert fit.C == min(fit.path, key=lambda point: point.val_loss).C
    for point in fit.path:
        pipeline = fit_by_scikit_learn(features[is_train], labels[is_train], point.C)
        expected = log_loss(labels[is_val], pipeline.predict_proba(features[is_val]))
        assert point.val_loss == pytest.approx(expected, rel=0.02)
    chosen = next(point for point in fit.path if point.C == fit.C)
    probabilities = fit.head.predict_proba(features)
    assert chosen.val_loss == pytest.approx(
        log_loss(labels[is_val], probabilities[is_val]), abs=1e-5
    )
    assert chosen.train_loss == pytest.approx(
        log_loss(labels[is_train], probabilities[is_train]), abs=1e-5
    )
    hits = probabilities.argmax(axis=1) == labels
    assert chosen.val_accuracy == hits[is_val].mean()
    assert chosen.train_accuracy == hits[is_train].mean()


def test_the_refined_head_of_the_path_is_the_one_that_a_fixed_strength_gives():
    rows = make_rows(spread=3.0)
    by_path = fit_logistic_head(*rows)
    alone = fit_logistic_head(*rows, C=by_path.C)
    difference = by_path.head.predict_proba(rows[0]) - alone.head.predict_proba(rows[0])
    assert np.abs(difference).max() < 1e-3


def test_the_path_ends_early_where_validation_loss_only_gets_worse():
    # Labels that are noise: every relaxation of the penalty makes it worse.
    rows = make_rows()
    rows[1] = np.random.default_rng(1).integers(0, 3, len(rows[1]))
    path = fit_logistic_head(*rows).path
    best = min(range(len(path)), key=lambda i: path[i].val_loss)
    assert path[-1].C < 100
    assert len(path) - 1 - best >= 3
    assert all(point.val_loss > 1.01 * path[best].val_loss for point in path[-3:])


def test_path_points_say_whether_they_converged(monkeypatch):
    rows = make_rows()
    assert all(point.converged for point in fit_logistic_head(*rows).path)
    monkeypatch.setattr("pipeline.heads.logistic.strength_path.MAX_ITERATIONS", 2)
    point = fit_logistic_head(*rows, C=1.0).path[0]
    assert not point.converged
    assert point.n_iterations == 2


def test_the_same_call_gives_the_same_head():
    rows = make_rows()
    first, second = (fit_logistic_head(*rows, random_state=5).head for _ in range(2))
    assert np.array_equal(first.kernel, second.kernel)
    assert np.array_equal(first.bias, second.bias)


def test_balanced_weights_are_those_of_scikit_learn():
    rows = make_rows(n_samples=400)
    rare = rows[1] == 2
    keep = ~rare | (np.arange(400) % 5 == 0)
    rows[:4] = [array[keep] for array in rows[:4]]
    features, labels, is_train, _, _ = rows
    expected = fit_by_scikit_learn(
        features[is_train], labels[is_train], 0.1, class_weight="balanced"
    ).predict_proba(features)
    fit = fit_logistic_head(*rows, C=0.1, class_weight="balanced")
    assert np.abs(fit.head.predict_proba(features) - expected).max() < 1e-3
    plain = fit_logistic_head(*rows, C=0.1).head.predict_proba(features)
    assert expected[:, 2].mean() > plain[:, 2].mean() + 0.05


@pytest.mark.parametrize("scale", [1e-20, 1e-5, 1e5, 1e20])
def test_the_scale_of_features_does_not_matter(scale):
    rows = make_rows()
    expected = fit_logistic_head(*rows, C=0.1).head.predict_proba(rows[0])
    rows[0] = rows[0] * np.float32(scale)
    actual = fit_logistic_head(*rows, C=0.1).head.predict_proba(rows[0])
    assert np.abs(actual - expected).max() < 1e-3


def test_constant_features_change_nothing_even_where_they_carry_rounding_noise():
    rows = make_rows()
    features, n_samples = rows[0], len(rows[0])
    expected = fit_logistic_head(*rows, C=0.1).head.predict_proba(features)
    noise = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32)
    constants = [np.zeros(n_samples), np.full(n_samples, 7e4), 3 + 2e-7 * noise]
    rows[0] = np.column_stack([features, *constants]).astype(np.float32)
    fit = fit_logistic_head(*rows, C=0.1)
    assert np.abs(fit.head.predict_proba(rows[0]) - expected).max() < 1e-3


def test_rows_of_no_split_are_neither_fitted_nor_chosen_by():
    rows = make_rows()
    expected = fit_logistic_head(*rows).head.kernel
    more = np.full((50, 12), 1e6, np.float32)
    no = np.zeros(50, bool)
    rows[:4] = [
        np.concatenate(pair) for pair in zip(rows[:4], (more, np.full(50, -1), no, no), strict=True)
    ]
    assert np.array_equal(fit_logistic_head(*rows).head.kernel, expected)


def test_a_given_strength_needs_no_validation_rows():
    features, labels, is_train, is_val, names = make_rows()
    fit = fit_logistic_head(features, labels, is_train, is_val & False, names, C=0.1)
    assert fit.path[0].val_loss is None
    assert fit.path[0].val_accuracy is None
    with pytest.raises(SplitError, match="Validation rows are needed"):
        fit_logistic_head(features, labels, is_train, is_val & False, names)


def test_a_class_without_train_images_is_named():
    features, labels, is_train, is_val, names = make_rows()
    with pytest.raises(SplitError, match="none of class 2"):
        fit_logistic_head(features, labels, is_train & (labels != 2), is_val, names)


def test_one_class_is_refused():
    features, labels, is_train, is_val, _ = make_rows()
    with pytest.raises(SplitError, match="at least two"):
        fit_logistic_head(features, labels * 0, is_train, is_val, ["only"])


def test_a_feature_that_is_no_number_is_named_by_its_row():
    rows = make_rows()
    rows[0][17, 3] = np.nan
    with pytest.raises(ParameterError, match="row 17"):
        fit_logistic_head(*rows)


@pytest.mark.parametrize("C", [0, -1, "often", np.inf, None])
def test_a_strength_that_is_none_is_refused(C):
    with pytest.raises(ValueError, match="`C` must be"):
        fit_logistic_head(*make_rows(), C=C)


def test_a_row_in_train_and_val_is_refused():
    features, labels, is_train, _, names = make_rows()
    with pytest.raises(ValueError, match="both"):
        fit_logistic_head(features, labels, is_train, is_train, names)


def test_features_that_float32_cannot_fold_are_an_error_not_a_wrong_head():
    rows = make_rows()
    rows[0] = rows[0] * np.float32(1e-42)  # subnormal: kernel values beyond float32
    with pytest.raises(ParityError, match="rescale"):
        fit_logistic_head(*rows, C=0.1)


def test_folding_by_hand():
    # (x - 1) / 2 with coefficient 3 and intercept 0.5 is a score of 1.5 x - 1.
    scaler, regression = StandardScaler(), LogisticRegression()
    pipeline = make_pipeline(scaler, regression).fit([[0.0], [2.0], [3.0]], [0, 1, 1])
    scaler.mean_, scaler.scale_ = np.array([1.0]), np.array([2.0])
    regression.coef_, regression.intercept_ = np.array([[3.0]]), np.array([0.5])
    head = fold_pipeline(pipeline, ["no", "yes"])
    assert np.diff(head.kernel, axis=1) == pytest.approx(1.5)
    assert np.diff(head.bias) == pytest.approx(-1.0)
    yes = head.predict_proba(np.array([[2.0]], np.float32))[0, 1]
    assert yes == pytest.approx(1 / (1 + np.exp(-2.0)))


def test_softmax_stays_finite_for_huge_scores():
    head = LinearHead(np.float32([[1000, -1000]]), np.float32([0, 0]), ("a", "b"))
    probabilities = head.predict_proba(np.float32([[50], [0], [-50]]))
    assert probabilities.dtype == np.float32
    assert np.array_equal(probabilities, np.float32([[1, 0], [0.5, 0.5], [0, 1]]))


def test_many_rows_are_predicted_like_few():
    head = fit_logistic_head(*make_rows(), C=1.0).head
    features = np.random.default_rng(3).standard_normal((20_000, 12)).astype(np.float32)
    all_at_once = head.predict_proba(features)
    assert np.allclose(all_at_once[8190:8195], head.predict_proba(features[8190:8195]))
    assert np.allclose(all_at_once.sum(axis=1), 1, atol=1e-6)
    assert head.predict_proba(features[:0]).shape == (0, 3)


def test_features_of_another_backbone_are_refused():
    head = fit_logistic_head(*make_rows(), C=1.0).head
    with pytest.raises(ParameterError, match=r"\(n_samples, 12\).*\(5, 13\)"):
        head.predict_proba(np.zeros((5, 13), np.float32))


HEAD = LinearHead(
    np.arange(6, dtype=np.float32).reshape(3, 2), np.float32([0.5, -1]), ("猫", 'a, "b"\n')
)


def test_a_saved_head_comes_back_as_it_was(tmp_path):
    save_linear_head(tmp_path / "head.tmp", HEAD)
    loaded = load_linear_head(tmp_path / "head.tmp")
    assert np.array_equal(loaded.kernel, HEAD.kernel)
    assert np.array_equal(loaded.bias, HEAD.bias)
    assert loaded.class_names == HEAD.class_names


def test_any_flipped_byte_or_cut_gives_an_error_or_the_same_head(tmp_path):
    path = tmp_path / "head.npz"
    save_linear_head(path, HEAD)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        check_same_head_or_run_error(path)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(RunError, match=r"head\.npz is damaged"):
            load_linear_head(path)


def check_same_head_or_run_error(path):
    try:
        loaded = load_linear_head(path)
    except RunError:
        return
    assert np.array_equal(loaded.kernel, HEAD.kernel)
    assert np.array_equal(loaded.bias, HEAD.bias)
    assert loaded.class_names == HEAD.class_names


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": np.zeros((3, 3), np.float32)},
        {"kernel": np.zeros(6, np.float32)},
        {"kernel": np.zeros((3, 2))},
        {"bias": np.zeros(3, np.float32)},
        {"bias": np.float32([np.nan, 0])},
        {"class_names": np.array(json.dumps(["only"]))},
        {"class_names": np.array(json.dumps([1, 2]))},
        {"class_names": np.array(json.dumps(5))},
        {"class_names": np.array("no json")},
        {"class_names": np.array(["a", {}], dtype=object)},
    ],
)
def test_arrays_that_make_no_head_are_refused(tmp_path, change):
    names = np.array(json.dumps(HEAD.class_names))
    arrays = {"kernel": HEAD.kernel, "bias": HEAD.bias, "class_names": names, **change}
    np.savez(tmp_path / "head.npz", **arrays)
    with pytest.raises(RunError, match=r"head\.npz is damaged or no linear head"):
        load_linear_head(tmp_path / "head.npz")


def test_a_head_file_that_is_missing_or_something_else_is_a_run_error(tmp_path):
    with pytest.raises(RunError, match="There is no head at"):
        load_linear_head(tmp_path / "head.npz")
    np.save(tmp_path / "array.npy", HEAD.kernel)
    with zipfile.ZipFile(tmp_path / "empty.npz", "w"):
        pass
    for name in ("array.npy", "empty.npz", "."):
        with pytest.raises(RunError, match="damaged or no linear head"):
            load_linear_head(tmp_path / name)


def test_fitting_never_imports_tensorflow():
    code = (
        "import sys, numpy as np; from pipeline.heads.logistic.fitting import fit_logistic_head;"
        "x = np.eye(8, dtype='f4'); y = np.arange(8) % 2; v = np.arange(8) > 5;"
        "fit_logistic_head(x, y, ~v, v, 'ab'); print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"


def test_a_head_file_that_is_a_pickle_is_refused_without_advice_to_load_it(tmp_path):
    (tmp_path / "head.npz").write_bytes(pickle.dumps({"kernel": [1]}))
    with pytest.raises(RunError, match="damaged or no linear head") as caught:
        load_linear_head(tmp_path / "head.npz")
    assert "unsafe" not in str(caught.value)
    assert "pickle" not in str(caught.value)
    assert ".." not in str(caught.value).removeprefix(str(tmp_path))
