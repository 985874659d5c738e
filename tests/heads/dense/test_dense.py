"""Tests of the dense head and of loading Keras files that nobody vouches for."""

import json
import zipfile

import keras
import numpy as np
import pytest
from conftest import call
from sklearn.metrics import log_loss

from benchmarks.stand_in import extract
from pipeline.backbones.safe_loading import load_keras_model_safely
from pipeline.errors import ParameterError, RunError, SplitError
from pipeline.heads.dense.graphs import call_in_training
from pipeline.heads.dense.head import load_dense_head
from pipeline.heads.dense.training import build_dense_head, fit_dense_head
from pipeline.heads.fit import fit as fit_any


def make_rows(n_samples=240, n_features=12, n_classes=3, spread=1.5, seed=0):
    """Clusters, one per class: features, labels, is_train, is_val, class_names."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, n_classes, n_samples)
    centers = random.standard_normal((n_classes, n_features))
    features = centers[labels] + spread * random.standard_normal((n_samples, n_features))
    is_val = np.arange(n_samples) % 4 == 0
    names = [f"class {i}" for i in range(n_classes)]
    return [features.astype(np.float32), labels, ~is_val, is_val, names]


def build(rows, n_classes, **options):
    """An untrained head for these rows."""
    rows = np.asarray(rows, np.float64)
    return build_dense_head(rows.mean(axis=0), rows.std(axis=0), n_classes, **options)


class _Chain:
    """A model as `call_in_training` looks at it: its layers, the input first."""

    def __init__(self, sequential):
        self.layers = [None, *sequential.layers]


def predict(model, features):
    return model(features, training=False).numpy()


def fit(rows=None, **options):
    return fit_dense_head(*(rows or make_rows()), **{"epochs": 8, "learning_rate": 0.01, **options})


def test_the_history_starts_before_the_first_step_at_chance():
    history = fit(epochs=2).history
    assert [record["epoch"] for record in history] == [0, 1, 2]
    assert history[0]["train_loss"] == pytest.approx(np.log(3), rel=1e-6)
    assert history[0]["val_loss"] == pytest.approx(np.log(3), rel=1e-6)
    assert history[1]["train_loss"] < history[0]["train_loss"]
    assert all(record["seconds"] > 0 for record in history)


def test_the_model_is_the_best_epoch_of_its_history_in_inference_mode():
    rows = make_rows(spread=3.0)
    features, labels, is_train, is_val, _ = rows
    result = fit(rows, epochs=60, patience=60, learning_rate=0.03, hidden_units=32)
    losses = [record["val_loss"] for record in result.history]
    assert result.best_epoch == int(np.argmin(losses))
    assert 0 < result.best_epoch < 60, "of no use unless the last epoch is not the best"
    probabilities = predict(result.model, features)
    best = result.history[result.best_epoch]
    for split, rows_of in (("train", is_train), ("val", is_val)):
        expected = log_loss(labels[rows_of], probabilities[rows_of])
        hits = probabilities[rows_of].argmax(axis=1) == labels[rows_of]
        assert best[f"{split}_loss"] == pytest.approx(expected, rel=1e-5)
        assert best[f"{split}_accuracy"] == hits.mean()


def test_it_learns_as_well_as_a_logistic_regression():
    from pipeline.heads.logistic.fitting import fit_logistic_head

    rows = make_rows(n_samples=600, n_features=40, spread=5.0)
    linear = fit_logistic_head(*rows)
    expected = min(point.val_loss for point in linear.path)
    result = fit(rows, epochs=60)
    assert result.history[result.best_epoch]["val_loss"] < 1.15 * expected


def test_where_training_only_hurts_the_untrained_head_is_kept():
    rows = make_rows()
    rows[1] = np.where(rows[3], (rows[1] + 1) % 3, rows[1])  # validation contradicts training
    result = fit(rows, patience=3)
    assert result.best_epoch == 0
    assert len(result.history) == 4
    assert predict(result.model, rows[0]) == pytest.approx(1 / 3, abs=1e-6)


@pytest.mark.parametrize("hidden_units", [0, 16])
def test_the_same_seed_gives_the_same_head_and_another_seed_another(hidden_units):
    first, second, other = (
        fit(hidden_units=hidden_units, random_state=seed).model.get_weights() for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_fitting_leaves_the_callers_random_numbers_alone():
    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    fit(epochs=1)
    assert np.random.random() == expected


@pytest.mark.parametrize("scale", [1e-20, 1e-5, 1e20])
def test_the_scale_of_features_does_not_matter(scale):
    rows = make_rows()
    expected = predict(fit(rows).model, rows[0])
    rows[0] = rows[0] * np.float32(scale)
    assert predict(fit(rows).model, rows[0]) == pytest.approx(expected, abs=1e-3)


def test_features_reach_the_last_layer_standardised_by_the_train_rows():
    rows = make_rows()[0] * np.float32(1e-5) + np.float32(3e-5)
    rows[:, 4] = 7e-5
    model = build(rows, 3)
    inner = keras.Model(model.input, model.get_layer("standardise").output)
    expected = (rows.astype(np.float64) - rows.mean(0, dtype=np.float64)) / np.where(
        np.arange(12) == 4, 1, rows.std(0, dtype=np.float64)
    )
    assert predict(inner, rows) == pytest.approx(expected, abs=1e-4)


def test_a_feature_constant_in_training_does_not_explode_later():
    rows = make_rows()
    rows[0][:, 2] = 0
    model = fit(rows, hidden_units=8).model
    changed = rows[0].copy()
    changed[:, 2] = 0.01
    assert predict(model, changed) == pytest.approx(predict(model, rows[0]), abs=0.1)


def test_balanced_weights_favour_the_rare_class():
    rows = make_rows(n_samples=600, spread=4.0)
    keep = (rows[1] != 2) | (np.arange(600) % 6 == 0)
    rows[:4] = [array[keep] for array in rows[:4]]
    plain, balanced = (
        predict(fit(rows, class_weight=weight).model, rows[0]) for weight in (None, "balanced")
    )
    assert balanced[:, 2].mean() > plain[:, 2].mean() + 0.1


def test_label_smoothing_makes_it_less_sure():
    plain, smooth = (
        predict(fit(label_smoothing=share, epochs=20).model, make_rows()[0]).max(axis=1).mean()
        for share in (0.0, 0.4)
    )
    assert smooth < plain - 0.1


@pytest.mark.parametrize("rate", [0.5, 0.2])
def test_dropout_drops_its_share_of_the_numbers_and_keeps_their_mean(rate):
    model = build(make_rows(n_features=40)[0], 3, dropout=rate)
    chain = keras.Sequential([keras.Input((40,)), model.get_layer("dropout")])
    calls = [
        call_in_training(_Chain(chain), np.ones((500, 40), np.float32), [7, step])
        for step in (0, 0, 1)
    ]
    first, again, other = (tensor.numpy() for tensor in calls)
    assert np.array_equal(first, again)
    assert 0.2 < np.mean((first == 0) != (other == 0)) < 0.6
    # 20,000 draws: four standard deviations are 0.014.
    assert np.mean(first == 0) == pytest.approx(rate, abs=0.014)
    assert np.unique(first)[1:] == pytest.approx([1 / (1 - rate)], rel=0.005)
    assert np.abs(np.mean(first == 0, axis=0) - rate).max() < 0.1, "some columns are favoured"


def test_without_dropout_training_sees_what_inference_sees():
    rows = make_rows()[0]
    model = build(rows, 3, dropout=0.0, hidden_units=8)
    actual = call_in_training(model, rows, [0, 0]).numpy()
    assert actual == pytest.approx(predict(model, rows), abs=1e-6)


def test_on_epoch_sees_each_record_as_it_is_made():
    seen = []
    assert fit(epochs=3, on_epoch=seen.append).history == seen


def test_the_head_is_float32_whatever_the_policy_of_the_rest():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(make_rows()[0], 3, hidden_units=4)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in model.layers[1:]} == {"float32"}
    assert predict(model, make_rows()[0]).dtype == np.float32
    assert model.name == "head"


def test_nothing_but_kernels_and_biases_is_trainable():
    model = build(make_rows()[0], 3, hidden_units=4)
    names = [weight.path.split("/", 1)[-1] for weight in model.trainable_variables]
    assert names == ["kernel", "bias", "kernel", "bias"]


def test_fewer_rows_than_a_batch_are_enough():
    features, labels = np.eye(6, dtype=np.float32), np.array([0, 1, 0, 1, 0, 1])
    is_val = np.arange(6) > 3
    result = fit_dense_head(features, labels, ~is_val, is_val, ["a", "b"], epochs=3)
    assert len(result.history) == 4


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"learning_rate": 0},
        {"batch_size": 0},
        {"epochs": -1},
        {"patience": 0},
        {"hidden_units": -1},
        {"label_smoothing": 1.0},
        {"weight_decay": float("nan")},
        {"class_weight": "heavy"},
    ],
)
def test_a_parameter_out_of_range_is_named(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` must be"):
        fit(**options)


def test_rows_that_cannot_be_fitted_are_named():
    features, labels, is_train, is_val, names = make_rows()
    with pytest.raises(SplitError, match="none of class 1"):
        fit([features, labels, is_train & (labels != 1), is_val, names])
    with pytest.raises(SplitError, match="Validation rows are needed"):
        fit([features, labels, is_train, is_val & False, names])
    features[3] = np.inf
    with pytest.raises(ParameterError, match="row 3"):
        fit([features, labels, is_train, is_val, names])


@pytest.mark.parametrize("hidden_units", [0, 16])
def test_a_saved_head_predicts_the_same_when_loaded(tmp_path, hidden_units):
    rows = make_rows()
    model = fit(rows, hidden_units=hidden_units).model
    model.save(tmp_path / "head.keras")
    loaded = load_dense_head(tmp_path / "head.keras")
    assert np.array_equal(predict(loaded, rows[0]), predict(model, rows[0]))
    assert loaded.name == "head"


def rewrite_config(path, change):
    """Replaces `config.json` in a `.keras` file by what `change` makes of it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    members["config.json"] = json.dumps(change(config)).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.fixture
def saved(tmp_path):
    build(make_rows()[0], 3).save(tmp_path / "head.keras")
    return tmp_path / "head.keras"


def replace_dropout(part):
    """A change of config that puts `part` in the place of the dropout layer."""

    def change(config):
        layers = config["config"]["layers"]
        here = next(i for i, layer in enumerate(layers) if layer["class_name"] == "Dropout")
        layers[here] = {**layers[here], **part}
        return config

    return change


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ({"class_name": "Lambda"}, "keras.layers.Lambda"),
        ({"class_name": "TFSMLayer"}, "keras.layers.TFSMLayer"),
        ({"class_name": "TorchModuleWrapper"}, "keras.layers.TorchModuleWrapper"),
        ({"class_name": "StringLookup"}, "keras.layers.StringLookup"),
        ({"registered_name": "mine>Dropout"}, "keras.layers.Dropout"),
        ({"class_name": "Thing", "registered_name": "mine>Thing"}, "keras.layers.Thing"),
        ({"module": "os", "class_name": "system"}, "os.system"),
        ({"module": "builtins", "class_name": "function"}, "builtins.function"),
        ({"module": "keras.utils", "class_name": "get_file"}, "keras.utils.get_file"),
        ({"module": None}, "None.Dropout"),
        ({"module": ["keras.layers"]}, "Dropout"),
        ({"class_name": ["Dropout"]}, "Dropout"),
        ({"config": {"rate": {"class_name": "__lambda__", "config": {}}}}, "__lambda__"),
    ],
)
def test_a_file_that_names_anything_unknown_is_not_loaded(saved, monkeypatch, part, name):
    rewrite_config(saved, replace_dropout(part))
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("was loaded"))
    with pytest.raises(RunError, match="is not loaded") as caught:
        load_dense_head(saved)
    assert name in str(caught.value)


def test_a_real_lambda_layer_is_not_loaded(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(RunError, match=r"keras\.layers\.Lambda"):
        load_keras_model_safely(tmp_path / "lambda.keras")


def test_an_own_layer_is_not_loaded_even_if_it_is_registered(tmp_path):
    @keras.saving.register_keras_serializable(package="mine")
    class Own(keras.layers.Layer):
        def call(self, x):
            return x

    keras.Sequential([keras.Input((3,)), Own()]).save(tmp_path / "own.keras")
    with pytest.raises(RunError, match="Own"):
        load_keras_model_safely(tmp_path / "own.keras")


@pytest.mark.parametrize(
    "name",
    ["EfficientNetB0", pytest.param("MobileNetV3Small", marks=pytest.mark.slow), "ConvNeXtTiny"],
)
def test_whole_models_around_a_backbone_load_and_predict_the_same(tmp_path, name):
    backbone = getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=(32, 32, 3), pooling="avg"
    )
    layers = keras.layers
    images = layers.Input((32, 32, 3))
    x = layers.Rescaling([1 / 127.0] * 3, offset=[-1.0, -1.0, -1.0])(images)
    x = layers.RandomFlip("horizontal", seed=1)(x)
    model = keras.Model(images, build(np.eye(4, backbone.output_shape[1]), 3)(backbone(x)))
    model.compile("adamw", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.save(tmp_path / "model.keras")
    loaded = load_keras_model_safely(tmp_path / "model.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    assert predict(loaded, pixels) == pytest.approx(predict(model, pixels), abs=1e-6)


def test_a_damaged_file_is_a_run_error(saved):
    whole = saved.read_bytes()
    for position in range(40, len(whole), len(whole) // 60):
        saved.write_bytes(
            whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :]
        )
        try:
            loaded = load_dense_head(saved)
        except RunError:
            continue
        assert predict(loaded, make_rows()[0]) == pytest.approx(1 / 3), f"byte {position}"
    for length in (0, 100, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:length])
        with pytest.raises(RunError, match="is damaged or no Keras model"):
            load_dense_head(saved)


def test_a_file_that_is_missing_or_no_head_is_a_run_error(tmp_path):
    with pytest.raises(RunError, match="There is no model at"):
        load_dense_head(tmp_path / "head.keras")
    keras.Sequential([keras.Input((4, 4, 3)), keras.layers.ReLU()]).save(tmp_path / "image.keras")
    with pytest.raises(RunError, match="is no dense head"):
        load_dense_head(tmp_path / "image.keras")
    rewrite_config(tmp_path / "image.keras", lambda config: [1])
    with pytest.raises(RunError, match="holds a list"):
        load_dense_head(tmp_path / "image.keras")


def test_views_of_training_images_train_the_head_and_are_not_scored():
    """View 0 of the training images tells nothing of the class, their views tell all."""
    labels = np.arange(40) % 2
    features = np.zeros((40, 4), np.float32)
    features[30:] = np.eye(2, 4)[labels[30:]]
    views = np.repeat(np.eye(2, 4, dtype=np.float32)[labels][:, None], 2, axis=1)
    split = np.where(np.arange(40) < 30, "train", "val")
    found = fit_any(
        features, labels, split=split, head="dense", views=views, epochs=5, learning_rate=0.1
    )
    assert found.metrics["val"].accuracy == 1.0
    assert found.metrics["train"].accuracy == 0.5


def test_a_sweep_tries_it_like_any_other_head(photos, tmp_path):
    """One that never gets far, so that it is not fitted a second time."""
    extract(photos, tmp_path / "f.h5")
    words = ("--head", "dense,class-mean", "--hidden", 4, "--epochs", 1, "--learning-rate", "1e-9")
    outcome = call("fit-head", tmp_path / "f.h5", *words, "--jobs", 1, "--output", "swept")
    assert outcome.exit_code == 0, outcome.stderr
    best, dense = json.loads((tmp_path / "swept/sweep.json").read_text())["settings"]
    assert (best["head"], dense["head"]) == ("class-mean", "dense")
    assert dense["options"] == {"hidden_units": 4, "learning_rate": 1e-9, "epochs": 1}
    assert dense["chosen"].startswith("epoch ")
    assert dense["val_log_loss"] == pytest.approx(np.log(3), abs=1e-3)  # as good as a guess
