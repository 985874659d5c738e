"""What `check.py` says of the model that was exported, and of copies with one thing wrong."""

import ast
import json
import sys

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_export import CLASSES, compute, load_check, make_export

from benchmarks import altered_onnx
from pipeline.classifier.export.prove import CHECK
from pipeline.classifier.export.shipped import check as shipped

ORDER = [2, 0, 3, 1]
IN_ORDER = "Here: cedar, ash, dogwood, beech. Expected: ash, beech, cedar, dogwood."
REASONS = {
    "BGR": "given pixels in the order blue, green, red (BGR).",
    "mirrored": "given pixels mirrored.",
    "floats 0..1": "given pixels scaled to 0..1.",
    "floats -1..1": "given pixels scaled to -1..1.",
    "scaled too often": "This is what the run says of pixels scaled to 0..1.",
    "channels first": "given pixels with the channels first (NCHW).",
    "no softmax": "the softmax at its end is missing.",
    "softmax twice": "The softmax is taken twice",
    "few bits": "The class is the same for 20 of 20 images. So it is after computation in fewer",
    "NaN": "Some of its numbers are NaN or infinite.",
}


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return make_export(tmp_path_factory.mktemp("trees"))


@pytest.fixture
def say(export, capsys):
    """Runs the export's check in this process; gives its exit code and what it prints."""
    check = load_check(export)

    def run(*arguments):
        code = check.main([str(argument) for argument in arguments])
        return code, capsys.readouterr().out

    return run


def alter(export, path, change):
    onnx.save(altered_onnx.alter(onnx.load(export / "model.onnx"), change), path)
    return path


def test_the_exported_model_is_right(say):
    code, said = say()
    assert code == 0
    assert said.startswith("onnx: model.onnx in onnxruntime ")
    assert said.count("\n") == 1
    assert "right. 20 images, probabilities differ by up to" in said


@pytest.mark.parametrize("name", altered_onnx.ALTERED)
def test_a_copy_with_one_thing_wrong_is_told_what_it_is(export, say, tmp_path, name):
    code, said = say(alter(export, tmp_path / "copy.onnx", altered_onnx.ALTERED[name]))
    assert code == 1
    assert "copy.onnx in onnxruntime" in said
    assert "WRONG" in said
    assert REASONS[name] in said
    assert "copy.onnx is not what was exported" in said
    reasons = [words for words in REASONS.values() if words in said]
    assert reasons == [REASONS[name]]


def test_probabilities_in_another_order_of_the_classes_are_told_with_both_orders(
    export, say, tmp_path
):
    code, said = say(alter(export, tmp_path / "copy.onnx", altered_onnx.swap_columns(ORDER)))
    assert code == 1
    assert f"It has the classes in another order. {IN_ORDER}" in said


def test_names_in_the_file_in_another_order_are_told_with_both_orders(export, say, tmp_path):
    code, said = say(alter(export, tmp_path / "copy.onnx", altered_onnx.swap_labels(ORDER)))
    assert code == 1
    assert f"The classes have other names in the file, or another order of them. {IN_ORDER}" in said


def test_a_copy_that_takes_the_same_values_as_floats_is_right(export, say, tmp_path):
    code, said = say(alter(export, tmp_path / "copy.onnx", altered_onnx.take_floats))
    assert code == 0
    assert "It takes float32 where it was exported for uint8; the values are the same." in said


def test_two_things_wrong_at_once_are_both_told(export, say, tmp_path):
    def change(model):
        altered_onnx.take_bgr(model)
        altered_onnx.take_floats_to_1(model)
        altered_onnx.swap_columns(ORDER)(model)

    code, said = say(alter(export, tmp_path / "copy.onnx", change))
    assert code == 1
    assert "scaled to 0..1 and in the order blue, green, red (BGR)." in said
    assert IN_ORDER in said


def test_few_bits_are_allowed_where_a_tolerance_says_so(export, say, tmp_path):
    path = alter(export, tmp_path / "copy.onnx", altered_onnx.round_coarsely)
    assert say(path, "--tolerance", "0.01")[0] == 0


def test_labels_txt_in_another_order_is_wrong_though_the_model_is_right(tmp_path, capsys):
    export = make_export(tmp_path)
    (export / "labels.txt").write_text("cedar\nash\ndogwood\nbeech\n")
    code = load_check(export).main([])
    said = capsys.readouterr().out
    assert code == 1
    assert f"labels.txt: WRONG. {IN_ORDER}" in said
    assert "right. 20 images" in said


def test_another_model_altogether_is_told(export, say, tmp_path):
    model = onnx.load(export / "model.onnx")
    weights = next(one for one in model.graph.initializer if one.name == "weights")
    others = np.random.default_rng(9).normal(0, 0.25, (192, len(CLASSES))).astype(np.float32)
    weights.CopyFrom(onnx.numpy_helper.from_array(others, "weights"))
    onnx.save(model, tmp_path / "copy.onnx")
    code, said = say(tmp_path / "copy.onnx")
    assert code == 1
    assert "none of the mistakes that are known explains it. It may be another model" in said


def test_a_model_of_another_number_of_classes_is_told(export, say, tmp_path):
    def change(model):
        altered_onnx.swap_columns([0, 1, 2])(model)
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3

    code, said = say(alter(export, tmp_path / "copy.onnx", change))
    assert code == 1
    assert "no output has 4 numbers. Outputs: probabilities (20, 3)" in said


def test_a_file_that_is_no_model_is_one_line_and_no_traceback(say, tmp_path):
    (tmp_path / "copy.onnx").write_bytes(b"nothing of the kind")
    code, said = say(tmp_path / "copy.onnx")
    assert code == 1
    assert "WRONG. copy.onnx cannot be opened:" in said
    assert said.count("\n") == 1


def test_a_model_whose_runtime_is_missing_is_left_out_and_nothing_was_checked(say, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, said = say()
    assert code == 1
    assert "onnx: left out; its runtime is not here" in said
    assert "pip install onnxruntime" in said
    assert said.endswith("Nothing was checked.\n")


def test_a_file_of_no_known_format_is_left_out(say, tmp_path):
    (tmp_path / "model.mlmodel").write_bytes(b"")
    code, said = say(tmp_path / "model.mlmodel")
    assert code == 1
    assert "model.mlmodel: left out; of no format that this program can run." in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pixels: pixels, None),
        (lambda pixels: pixels[..., ::-1], "pixels in the order blue, green, red (BGR)."),
        (lambda pixels: pixels / 255, "pixels scaled to 0..1."),
        (lambda pixels: np.rot90(pixels, 1, (1, 2)), "pixels turned by 90 degrees to the left."),
    ],
)
def test_what_an_app_said_is_compared_and_told_apart(export, say, tmp_path, change, words):
    with np.load(export / "reference" / "reference.npz") as arrays:
        answers = compute(change(arrays["pixels"].astype(np.float64)))
    (tmp_path / "answers.json").write_text(json.dumps(answers.tolist()))
    code, said = say("--answers", tmp_path / "answers.json")
    assert code == (1 if words else 0)
    assert (f"This is what the run says of {words}" if words else "right. 20 images") in said


def test_answers_of_another_shape_are_told(say, tmp_path):
    np.save(tmp_path / "answers.npy", np.zeros((3, 4)))
    code, said = say("--answers", tmp_path / "answers.npy")
    assert code == 1
    assert "Expected 20 lists, one for each reference in its order, of 4 probabilities." in said
    assert "Received: 3 by 4" in said


@given(st.integers(2, 30).flatmap(lambda n: st.permutations(range(n))), st.integers(0, 99))
def test_any_order_of_the_classes_is_found(order, seed):
    expected = np.random.default_rng(seed).dirichlet(np.ones(len(order)), 20)
    found = shipped.find_order(expected[:, order], expected, 1e-6)
    assert found.tolist() == list(order)


@given(st.integers(0, 999))
def test_columns_that_are_others_are_taken_for_no_other_order(seed):
    random = np.random.default_rng(seed)
    tables = random.dirichlet(np.ones(5), (2, 20))
    assert shipped.find_order(tables[0], tables[1], 1e-3) is None


def test_it_is_python_of_3_9_and_imports_nothing_but_numpy_at_once():
    tree = ast.parse(CHECK.read_text(), feature_version=(3, 9))
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
    assert names - sys.stdlib_module_names == {"numpy"}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    zips = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "zip"]
    assert not any(word.arg == "strict" for call in zips for word in call.keywords)  # of 3.10
