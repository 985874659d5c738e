"""What goes into the page: a model in fewer bits, a runtime that is the pinned one."""

import gzip
import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from pipeline.classifier.export.formats.html import html_file
from pipeline.classifier.export.formats.html.narrow import narrow

VENDOR = Path(html_file.__file__).parent / "vendor"


def make_product(weights: np.ndarray) -> onnx.ModelProto:
    n_in, n_out = weights.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, n_in])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, n_out])],
        [numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": x})[0]


def test_tensors_get_16_bits_where_they_lose_nothing_and_others_where_it_is_asked_for():
    random = np.random.default_rng(0)
    x = random.normal(0, 1, (5, 64)).astype(np.float32)
    full = random.normal(0, 1, (64, 32)).astype(np.float32)
    half = full.astype(np.float16).astype(np.float32)
    wide = full * 1e5
    for weights, loses_digits, factor, tolerance in (
        (half, False, 0.5, 1e-6),
        (full, False, 1.0, 1e-6),
        (full, True, 0.5, 2e-3),
        (wide, True, 1.0, 1e-6),
    ):
        model = make_product(weights)
        before = model.ByteSize()
        narrow(model, loses_digits=loses_digits)
        assert abs(model.ByteSize() / before - factor) < 0.05
        expected = x @ weights
        assert np.abs(run(model, x) - expected).max() < tolerance * np.abs(expected).max()


def test_the_runtime_is_the_one_that_the_script_makes():
    spec = importlib.util.spec_from_file_location("renew", VENDOR / "renew.py")
    renew = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(renew)
    wasm = gzip.decompress((VENDOR / renew.WASM).read_bytes())
    assert hashlib.sha256(wasm).hexdigest() == renew.WASM_SHA256
    assert hashlib.sha256((VENDOR / renew.SCRIPT).read_bytes()).hexdigest() == renew.SCRIPT_SHA256
    assert html_file.runtime_version() == renew.VERSION
    assert "Permission is hereby granted" in (VENDOR / "LICENSE").read_text()
