"""Models in 8 bits: what is lost is counted, told, and not too much."""

import importlib.util
import json
import logging
import shutil
import subprocess
import sys
import zipfile
from dataclasses import asdict, replace
from functools import partial
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import call
from hypothesis import given
from hypothesis import strategies as st
from tiny_export import load_check, make_export

from pipeline.classifier.export import write_models
from pipeline.classifier.export.formats.format import CannotExportError, Settings
from pipeline.classifier.export.formats.registry import FORMATS
from pipeline.classifier.export.images import ImagesOfExport
from pipeline.classifier.export.int8.loss import compare_int8
from pipeline.classifier.export.int8.quantize import quantize
from pipeline.classifier.export.shipped import check

FILES = {"litert": "model.tflite", "openvino": "model.xml"}
BY_FORMAT = ("litert", pytest.param("openvino", marks=pytest.mark.slow))


@pytest.fixture(scope="module", params=BY_FORMAT)
def tried(request, extracted, tmp_path_factory):
    """Name of a format, what the command said, and the folder that it wrote; beside that lies the
    model before it was quantized. With so few images one alone is more than a point, so losses
    are accepted.
    """
    folder = tmp_path_factory.mktemp("int8")
    run = fit_at_64_pixels(extracted, folder)
    how = ("--format", request.param, "--format", "onnx", "--int8", "--accept-loss")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write_models, "quantize", partial(keep_and_quantize, folder / "float32"))
        outcome = call("export", run, *how, "--output", folder / "export")
    return request.param, outcome, folder / "export"


def fit_at_64_pixels(extracted, folder):
    """At 32, where lite0's last maps have one pixel, OpenVINO says something else of an image alone
    than of a batch, and the proof refuses that.
    """
    features = folder / "features.h5"
    size = ("--backbone", "efficientnet-lite0", "--image-size", 64, "--output", features)
    assert call("extract", extracted / "photos", *size).exit_code == 0
    assert call("fit-head", features, "--output", folder / "run").exit_code == 0
    return folder / "run"


def keep_and_quantize(kept, form, source, *rest):
    shutil.copytree(source.parent, kept)
    return quantize(form, source, *rest)


def read_contents(folder):
    return json.loads((folder / "export.json").read_text())


def test_format_without_8_bits_is_refused_by_name_and_the_other_is_written(tried):
    name, outcome, folder = tried
    assert outcome.exit_code == 1
    assert "onnx was refused" in outcome.stderr and "openvino, litert" in outcome.stderr
    contents = read_contents(folder)
    assert (list(contents["models"]), list(contents["refused"])) == ([name], ["onnx"])
    assert contents["software"]["nncf"] and contents["software"]["ai-edge-quantizer"]
    assert not [path for path in folder.iterdir() if "onnx" in path.name]


def test_loss_is_counted_on_all_images_that_were_kept_back(tried):
    """Counted anew, from the references, which all of them are here; that the file says what lies
    beside them is for `check.py` to say.
    """
    name, outcome, folder = tried
    with np.load(folder / "reference" / "reference.npz") as reference:
        pixels, before = reference["pixels"], reference["probabilities"]
        after = reference[f"int8/{name}/probabilities"]
    expected = json.loads((folder / "reference" / "expected.json").read_text())
    labels = [expected["class_names"].index(image["label"]) for image in expected["images"]]
    model = read_contents(folder)["models"][name]
    loss = model["int8"]
    assert (model["precision"], loss["split"], loss["n_images"]) == ("int8", "val", len(pixels))
    assert loss["accuracy_before"] == np.mean(before.argmax(1) == labels)
    assert loss["accuracy_after"] == np.mean(after.argmax(1) == labels)
    assert loss["greatest_difference"] == pytest.approx(abs(after - before).max(), abs=1e-6)
    assert abs(after - before).max() > 1e-4  # it is not the float32 model
    told = expected["images"][0]["int8"][name]["probabilities"]
    np.testing.assert_allclose(told, after[0], atol=1e-6)
    sentence = f"On {len(pixels)} images (val, which also chose the model): accuracy"
    assert f"{name}: {FILES[name]}" in outcome.stderr and sentence in outcome.stderr
    assert f"On {len(pixels)} images" in (folder / "card.md").read_text()


def test_weights_lie_in_8_bits_and_names_inside(tried):
    name, _, folder = tried
    n_weights = 3_400_000  # of efficientnet-lite0 without its classifier, to two digits
    file = folder / {"litert": "model.tflite", "openvino": "model.bin"}[name]
    assert n_weights < file.stat().st_size < 1.25 * n_weights
    if name == "litert":
        labels = zipfile.ZipFile(file).read("labels.txt").decode()
    else:
        inside = ElementTree.parse(folder / "model.xml").find("rt_info/frostline")
        labels = inside.find("labels.txt").get("value")
        assert inside.find("INFERENCE_PRECISION_HINT").get("value") == "f32"
    assert labels == "blue\ngreen\nred\n"


def test_check_of_an_8_bit_export_is_right_here(tried):
    check = tried[2] / "check.py"
    done = subprocess.run([sys.executable, check], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count(": right.")) == (0, 1), done.stdout + done.stderr


@pytest.mark.parametrize("tried", ["litert"], indirect=True)
def test_litert_computes_in_8_bits_with_built_in_operations(tried):
    from ai_edge_litert.interpreter import Interpreter

    from pipeline.classifier.export.formats.litert_file import list_foreign_operations

    _, outcome, folder = tried
    path = folder / "model.tflite"
    assert list_foreign_operations(path.read_bytes()) == []
    interpreter = Interpreter(str(path))
    (into,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (into["dtype"], out["dtype"]) == (np.uint8, np.float32)
    kinds = [tensor["dtype"] for tensor in interpreter.get_tensor_details()]
    assert kinds.count(np.int8) > 100 and kinds.count(np.float32) < 20
    assert "in float32: CONV_2D, FULLY_CONNECTED, SOFTMAX." in outcome.stderr


def test_broken_calibration_is_refused_and_nothing_is_left(tried, monkeypatch, tmp_path):
    """Pixels scaled to 0..1 and cut to whole numbers, the classical mistake: all black."""
    name, _, folder = tried
    with np.load(folder / "reference" / "reference.npz") as reference:
        pixels, before = reference["pixels"], reference["probabilities"]
    monkeypatch.setattr(write_models, "answer", lambda *_: {"probabilities": before})
    images = ImagesOfExport([], before.argmax(axis=1), pixels, "val")
    broken = write_models.Int8Settings(replace(images, pixels=pixels // 255), accept_loss=False)
    written = write_models.write_models(
        [replace(FORMATS[name], write_at=f"{__name__}:copy_float32")],
        folder.parent / "float32",
        tmp_path,
        Settings("float32", {}),
        write_models.Material(None, images, np.arange(3), broken),
        lambda *_: None,
    )
    assert written.models == {}
    assert "loses too much" in written.refused[name] and "became wrong" in written.refused[name]
    assert list(tmp_path.iterdir()) == []


def copy_float32(kept, path, settings):
    """Stands in for the conversion, which was done before."""
    shutil.copytree(kept, path.parent, dirs_exist_ok=True)
    return []


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_command_with_a_broken_calibration_writes_nothing(fitted, tmp_path, monkeypatch, name):
    def quantize_black(form, source, target, pixels, on_progress):
        return quantize(form, source, target, 0 * pixels, on_progress)

    monkeypatch.setattr(write_models, "quantize", quantize_black)
    how = ("--format", name, "--int8", "--output", tmp_path / "export")
    outcome = call("export", fitted, *how)
    assert outcome.exit_code == 1
    assert f"{name} was refused" in outcome.stderr and "--accept-loss" in outcome.stderr
    assert list(tmp_path.iterdir()) == []


def make_tiny_openvino(path):
    """Two convolutions, a mean, a product, a softmax; a distance of sorts, which is a mean, too."""
    from pipeline.system.openvino_runtime import openvino

    ops = openvino.opset13
    random = np.random.default_rng(0)

    def draw(*shape):
        return ops.constant(random.normal(0, 0.4, shape).astype(np.float32))

    image = ops.parameter([-1, 8, 8, 3], np.uint8, "image")
    image.output(0).set_names({"image"})
    scaled = ops.multiply(ops.convert(image, np.float32), ops.constant(np.float32(1 / 128)))
    found = ops.transpose(scaled, ops.constant(np.array([0, 3, 1, 2])))
    for name, weights in (("first", draw(8, 3, 3, 3)), ("second", draw(8, 8, 3, 3))):
        found = ops.relu(ops.convolution(found, weights, [1, 1], [0, 0], [0, 0], [1, 1], name=name))
    means = ops.reduce_mean(found, ops.constant(np.array([2, 3])))
    scores = ops.matmul(means, draw(8, 3), False, False, name="scores")
    softmax = ops.softmax(scores, 1)
    softmax.output(0).set_names({"probabilities"})
    squares = ops.matmul(means, means, False, True, name="squares")
    distance = ops.reduce_mean(squares, ops.constant(np.array([1])))
    distance.output(0).set_names({"distance"})
    model = openvino.Model([softmax, distance], [image], "tiny")
    model.set_rt_info("of the run", ["frostline", "run.json"])
    openvino.save_model(model, path, compress_to_fp16=False)


def test_openvino_computes_all_but_the_first_and_the_last_layer_in_8_bits(tmp_path, capfd):
    make_tiny_openvino(tmp_path / "model.xml")
    pixels = np.random.default_rng(1).integers(0, 256, (16, 8, 8, 3), np.uint8)
    logger_class, seen = logging.getLoggerClass(), []
    target = tmp_path / "int8.xml"
    notes = quantize(
        "openvino", tmp_path / "model.xml", target, pixels, lambda *at: seen.append(at)
    )
    assert seen[-1] == ("Calibrating", 16, 16)
    assert "calibrated on 16 training images" in " ".join(notes)
    assert (capfd.readouterr(), logging.getLoggerClass()) == (("", ""), logger_class)
    root = ElementTree.parse(target)
    assert root.find("rt_info/frostline/run.json").get("value") == "of the run"
    layers = {one.get("id"): one for one in root.findall("layers/layer")}
    edges = [(e.get("from-layer"), e.get("to-layer")) for e in root.findall("edges/edge")]
    in_8_bits = {
        layers[there].get("name")
        for here, there in edges
        if layers[here].get("type") == "FakeQuantize"
    }
    assert "second" in in_8_bits and not {"first", "scores", "squares"} & in_8_bits
    before, after = (
        check.open_openvino(path)[0](pixels)["probabilities"]
        for path in (tmp_path / "model.xml", target)
    )
    assert 0 < abs(after - before).max() < 0.02


def test_what_a_quantizer_cannot_do_is_a_reason_to_refuse(tmp_path):
    (tmp_path / "model.xml").write_bytes(b"no model")
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    with pytest.raises(CannotExportError, match="it cannot be made 8 bits: "):
        quantize("openvino", tmp_path / "model.xml", tmp_path / "new", pixels, lambda *at: None)
    assert [path.name for path in tmp_path.iterdir()] == ["model.xml"]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (("--accept-loss",), "--int8"),
        (("--int8", "--precision", "float16"), "--precision"),
        (("--int8", "--format", "onnx", "--format", "html"), "html was refused"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(fitted, tmp_path, how, words):
    outcome = call("export", fitted, "--output", tmp_path / "none", *how)
    assert outcome.exit_code != 0 and words in outcome.stderr
    assert not (tmp_path / "none").exists()


def test_quantizer_that_is_missing_is_named_with_its_extra(fitted, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "nncf" else find(name)
    )
    outcome = call("export", fitted, "--format", "openvino", "--int8", "--output", tmp_path / "no")
    assert outcome.exit_code == 1
    assert "nncf" in outcome.stderr and "pip install '.[int8]'" in outcome.stderr


def test_of_a_model_in_8_bits_check_expects_what_that_one_said(tmp_path):
    """The tiny export's model as if it were of 8 bits: the run had said something else."""
    export = make_export(tmp_path)
    check_there = load_check(export)
    path = export / "reference" / "reference.npz"
    with np.load(path) as file:
        arrays = dict(file)
    own = arrays["probabilities"]
    arrays["int8/onnx/probabilities"] = own
    arrays["probabilities"] = np.full_like(own, 1 / own.shape[1])
    np.savez(path, **arrays)
    (told,) = check_there.check_all(
        check_there.read_export(export), [(export / "model.onnx", "onnx")], None
    )
    assert told[0] is True
    (export / "answers.json").write_text(json.dumps((own + 0.01).tolist()))
    is_right, words = check_there.check_answers(
        export / "answers.json", check_there.read_export(export), None
    )
    assert is_right, words
    (export / "answers.json").write_text(json.dumps(own[:, ::-1].tolist()))
    is_right, words = check_there.check_answers(
        export / "answers.json", check_there.read_export(export), None
    )
    assert not is_right and "another order" in " ".join(words)


class MadeUp:
    """A quantizer and a runtime that are quick: what comes out of the file is given."""

    def __init__(self, monkeypatch, before, after):
        labels = before.argmax(axis=1)
        n_images = len(labels)
        images = ImagesOfExport([], labels, np.zeros((n_images, 2, 2, 3), np.uint8), "test")
        self.images = images
        outputs = {"probabilities": after}
        monkeypatch.setattr(write_models, "answer", lambda *_: {"probabilities": before})
        monkeypatch.setattr(write_models, "run_elsewhere", lambda *_: (outputs, "a runtime 1.0"))
        monkeypatch.setattr(write_models, "_write", self.write)

    def write(self, form, network, folder, settings, int8, on_progress):
        (folder / form.file).write_bytes(b"model")
        return []

    def export(self, folder, *, accept_loss):
        material = write_models.Material(
            None, self.images, np.arange(3), write_models.Int8Settings(self.images, accept_loss)
        )
        settings = Settings("float32", {})
        return write_models.write_models(
            [FORMATS["litert"]], None, folder, settings, material, lambda *_: None
        )


def answer_with(n_wrong, n_images=200):
    """Probabilities of two classes, all for the first one, but for so many images."""
    rows = np.tile(np.float32([0.9, 0.1]), (n_images, 1))
    rows[:n_wrong] = [0.2, 0.8]
    return rows


@pytest.mark.parametrize(("n_wrong", "accept_loss"), [(2, False), (3, True)])
def test_a_point_may_be_lost_and_more_where_it_is_accepted(
    tmp_path, monkeypatch, n_wrong, accept_loss
):
    made = MadeUp(monkeypatch, answer_with(0), answer_with(n_wrong))
    written = made.export(tmp_path, accept_loss=accept_loss)
    loss = written.models["litert"].int8
    assert (loss.became_wrong, loss.n_images) == (n_wrong, 200)
    assert f"{-n_wrong / 2:+.1f} points" in written.models["litert"].notes[0]
    assert (tmp_path / "model.tflite").exists()


@pytest.mark.parametrize(
    ("after", "accept_loss", "words"),
    [
        (answer_with(3), False, "-1.5 points"),
        (np.full((200, 2), np.nan, np.float32), True, "no probabilities"),
    ],
)
def test_more_than_a_point_or_no_numbers_leave_nothing(
    tmp_path, monkeypatch, after, accept_loss, words
):
    made = MadeUp(monkeypatch, answer_with(0), after)
    written = made.export(tmp_path, accept_loss=accept_loss)
    assert written.models == {} and words in written.refused["litert"]
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), min_size=1))
def test_more_than_one_image_in_a_hundred_lost_net_is_too_much(rows):
    labels, before, after = np.array(rows).T
    one_hot = np.eye(3)
    loss = compare_int8(one_hot[before], one_hot[after], labels, "val", 100)
    n_lost = sum(old == label for label, old, _ in rows) - sum(
        new == label for label, _, new in rows
    )
    assert loss.is_too_much == (100 * n_lost > len(rows))
    assert loss.interval[0] <= -n_lost / len(rows) <= loss.interval[1]
    assert loss.same_class == np.mean([old == new for _, old, new in rows])
    assert json.loads(json.dumps(asdict(loss)))["became_wrong"] == loss.became_wrong


def test_a_model_that_takes_an_image_alone_for_another_is_no_model(tmp_path, monkeypatch, capsys):
    def differ(pixels):
        return {"probabilities": np.full((len(pixels), 2), 0.5 if len(pixels) == 1 else 0.4)}

    np.save(tmp_path / "pixels.npy", np.zeros((3, 2, 2, 3), np.uint8))
    for run, code in ((differ, 1), (lambda pixels: {"distance": np.zeros(len(pixels))}, 0)):
        monkeypatch.setitem(check.OPENERS, "onnx", lambda path, run=run: (run, "a runtime 1.0"))
        places = (str(tmp_path / name) for name in ("pixels.npy", f"{code}.npz"))
        assert check.main(["run", "model", "onnx", *places]) == code
        assert (tmp_path / f"{code}.npz").is_file() == (code == 0)
    assert "alone than of the same image among others" in capsys.readouterr().err


@pytest.mark.slow
def test_8_bits_that_openvino_computes_otherwise_for_one_image_are_refused(fitted, tmp_path):
    how = ("--format", "openvino", "--int8", "--accept-loss", "--output", tmp_path / "out")
    outcome = call("export", fitted, *how)
    assert outcome.exit_code == 1
    assert "of an image alone" in outcome.stderr
    assert not (tmp_path / "out").exists()
