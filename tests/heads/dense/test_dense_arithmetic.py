"""The dense head without Keras says what Keras says, and only for the file that it belongs to."""

import subprocess
import sys

import numpy as np
import pytest

from pipeline.heads.dense.arithmetic import (
    ARITHMETIC,
    SavedDenseHead,
    find_arithmetic,
    load_dense,
    read_arithmetic,
)
from pipeline.heads.dense.head import DenseHead
from pipeline.heads.dense.training import build_dense_head
from pipeline.system.keras_on_tensorflow import keras

NAMES = ["a", "b", "c"]
FEATURES = np.random.default_rng(0).normal(3, 2, (20, 5)).astype(np.float32)


def make_head(hidden_units: int, seed: int = 0) -> DenseHead:
    """Untrained but for its last layer, which would say the same of everything."""
    spread = np.array([1.0, 2.0, 0.0, 1e-4, 30.0])
    model = build_dense_head(np.full(5, 3.0), spread, 3, hidden_units=hidden_units)
    random = np.random.default_rng(seed)
    kernel, _ = model.layers[-1].get_weights()
    model.layers[-1].set_weights([random.normal(size=kernel.shape), random.normal(size=3)])
    return DenseHead(model)


@pytest.mark.parametrize("hidden_units", [0, 4])
def test_arithmetic_is_what_keras_computes(hidden_units, tmp_path):
    head = make_head(hidden_units)
    head.save(tmp_path)
    loaded = load_dense(tmp_path, NAMES)
    assert isinstance(loaded, SavedDenseHead)
    expected = head.model.predict(FEATURES, verbose=0)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(loaded.predict_proba(FEATURES), expected, atol=1e-5)
    np.testing.assert_array_equal(loaded.to_keras().predict(FEATURES, verbose=0), expected)


def test_arithmetic_of_another_file_or_damaged_is_not_believed(tmp_path):
    make_head(0).save(tmp_path)
    arithmetic = (tmp_path / ARITHMETIC).read_bytes()
    other = make_head(0, seed=1)
    other.model.save(tmp_path / "head.keras")
    assert read_arithmetic(tmp_path / "head.keras") is None
    expected = other.model.predict(FEATURES, verbose=0)
    np.testing.assert_allclose(load_dense(tmp_path, NAMES).predict_proba(FEATURES), expected)
    other.save(tmp_path)
    assert read_arithmetic(tmp_path / "head.keras") is not None
    (tmp_path / ARITHMETIC).write_bytes(arithmetic[:-40])
    assert read_arithmetic(tmp_path / "head.keras") is None


def test_a_head_of_other_layers_is_left_to_keras():
    layers = keras.layers
    odd = keras.Sequential([layers.Input((5,)), layers.Dense(4, activation="tanh"),
                            layers.Dense(3, activation="softmax")])  # fmt: skip
    assert find_arithmetic(odd) is None


def test_predicting_with_it_imports_neither_keras_nor_tensorflow(tmp_path):
    make_head(4).save(tmp_path)
    code = (
        "import sys, pathlib, numpy as np\n"
        "from pipeline.heads.registry import HEADS\n"
        f"head = HEADS['dense'].import_load()(pathlib.Path({str(tmp_path)!r}), {NAMES!r})\n"
        "print(head.predict_proba(np.zeros((1, 5), np.float32)).sum())\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
