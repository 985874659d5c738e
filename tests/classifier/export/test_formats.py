"""Every format of one run that promises something, written once, and looked at with plain tools."""

import shutil
import subprocess
import sys
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import call

from pipeline.classifier.export.contents import DISTANCE, PROBABILITIES
from pipeline.classifier.export.export import export
from pipeline.classifier.export.formats.format import CannotExportError, Settings
from pipeline.classifier.export.formats.registry import FORMATS
from pipeline.classifier.export.prove import run_elsewhere
from pipeline.classifier.export.whole_network import WholeNetwork, build_whole_network
from pipeline.runs.run_folder import open_run

LABELS = "blue\ngreen\nred\n"
NAMES = ("onnx", "openvino", "litert", "saved-model", "keras")


@pytest.fixture(scope="module")
def promising(extracted):
    """A run of lite0 at 32 pixels that says `unlike anything seen`."""
    run = extracted / "promising"
    outcome = call(
        *("fit-head", extracted / "features.h5", "--output", run),
        *("--promise", 0.5, "--unlike", 0.1),
    )
    assert outcome.exit_code == 0, outcome.stderr
    return run


@pytest.fixture(scope="module")
def exported(promising, tmp_path_factory):
    return export(promising, NAMES, output=tmp_path_factory.mktemp("exported") / "all")


@pytest.fixture(scope="module")
def network(promising):
    return build_whole_network(open_run(promising))


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


def test_every_format_says_what_the_run_says(exported):
    assert exported.contents.refused == {}
    assert exported.contents.outputs == [PROBABILITIES, DISTANCE]
    for name in NAMES:
        proof = exported.contents.models[name].proof
        assert proof.greatest_difference <= 1e-4 and proof.same_class == 1.0, name


def test_labels_lie_in_every_file(exported):
    import onnx

    folder = exported.folder
    properties = onnx.load(folder / "model.onnx").metadata_props
    assert {one.key: one.value for one in properties}["labels.txt"] == LABELS
    assert zipfile.ZipFile(folder / "model.tflite").read("labels.txt").decode() == LABELS
    assert zipfile.ZipFile(folder / "model.keras").read("frostline/labels.txt").decode() == LABELS
    assert (folder / "saved_model" / "assets" / "labels.txt").read_text() == LABELS
    inside = ElementTree.parse(folder / "model.xml").find("rt_info/frostline")
    assert inside.find("labels.txt").get("value") == LABELS
    assert inside.find("INFERENCE_PRECISION_HINT").get("value") == "f32"


def test_onnx_takes_any_number_of_images_and_nothing_but_them(exported):
    import onnx

    model = onnx.load(exported.folder / "model.onnx")
    (image,) = model.graph.input
    shape = [side.dim_param or side.dim_value for side in image.type.tensor_type.shape.dim]
    assert (image.name, shape) == ("image", ["n_images", 32, 32, 3])
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [output.name for output in model.graph.output] == [DISTANCE, PROBABILITIES]


def test_onnxruntime_opens_it_without_a_word(exported):
    words = "import onnxruntime, sys; onnxruntime.InferenceSession(sys.argv[1])"
    path = exported.folder / "model.onnx"
    done = subprocess.run([sys.executable, "-c", words, path], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_litert_model_holds_built_in_operations_and_takes_more_images_when_resized(exported, noise):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(exported.folder / "model.tflite"))
    image = interpreter.get_input_details()[0]
    assert image["shape"].tolist() == [1, 32, 32, 3] and image["dtype"] is np.uint8
    runner = interpreter.get_signature_runner("serving_default")
    alone = np.concatenate([runner(image=noise[i : i + 1])[PROBABILITIES] for i in range(3)])
    together = runner(image=noise)[PROBABILITIES]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_distance_is_that_of_the_run(promising, exported, noise):
    from pipeline.classifier.load import load_run
    from pipeline.runs.promise.guard import load_guard

    run = open_run(promising)
    expected = load_guard(run).surroundings.measure(load_run(run, device="cpu").embed(noise))
    assert expected.max() > 0.01
    path = exported.folder / "model.onnx"
    outputs, _ = run_elsewhere(path, "onnx", noise)
    np.testing.assert_allclose(outputs[DISTANCE], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["onnx", "openvino", "litert"])
def test_float16_halves_the_file_and_changes_little(name, network, noise, exported, tmp_path):
    form = FORMATS[name]
    form.import_write()(network, tmp_path / form.file, Settings("float16", {}))
    n_bytes = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert n_bytes < 0.62 * exported.contents.models[name].n_bytes
    outputs, _ = run_elsewhere(tmp_path / form.file, name, noise)
    expected = network.model(noise.astype(np.float32))[PROBABILITIES].numpy()
    assert abs(outputs[PROBABILITIES] - expected).max() < 2e-2


def test_constants_of_a_dense_head_do_not_become_inputs_of_an_onnx_model(extracted, tmp_path):
    import onnx

    run = tmp_path / "dense"
    how = ("--head", "dense", "--hidden", 0, "--epochs", 1, "--output", run)
    outcome = call("fit-head", extracted / "features.h5", *how)
    assert outcome.exit_code == 0, outcome.stderr
    form = FORMATS["onnx"]
    network = build_whole_network(open_run(run))
    form.import_write()(network, tmp_path / form.file, Settings("float32", {}))
    model = onnx.load(tmp_path / form.file)
    assert [one.name for one in model.graph.input] == ["image"]


def test_operations_that_onnx_lacks_are_named_in_one_line(promising, tmp_path, caplog):
    """Keras compiles a convolution in groups by XLA, and tf2onnx leaves that in the graph."""
    from pipeline.system.keras_on_tensorflow import keras

    image = keras.Input((32, 32, 3))
    grouped = keras.layers.Conv2D(3, 3, groups=3)(image)
    rows = keras.layers.GlobalAveragePooling2D()(grouped)
    outputs = {PROBABILITIES: keras.layers.Dense(3, "softmax")(rows)}
    network = WholeNetwork(open_run(promising), keras.Model(image, outputs))
    with pytest.raises(CannotExportError, match="ONNX has no operations for StatefulPartitioned"):
        FORMATS["onnx"].import_write()(network, tmp_path / "model.onnx", Settings("float32", {}))
    assert not list(tmp_path.iterdir())
    assert caplog.text == ""


def test_network_with_swish_becomes_what_tensorflow_saves(promising, tmp_path):
    """Keras gives swish a gradient of its own, which TensorFlow then refuses to save."""
    from pipeline.system.keras_on_tensorflow import keras

    image = keras.Input((32, 32, 3))
    rows = keras.layers.GlobalAveragePooling2D()(
        keras.layers.Conv2D(3, 3, activation="swish")(image)
    )
    outputs = {PROBABILITIES: keras.layers.Dense(3, "softmax")(rows)}
    network = WholeNetwork(open_run(promising), keras.Model(image, outputs))
    write = FORMATS["saved-model"].import_write()
    write(network, tmp_path / "saved_model", Settings("float32", {}))
    assert (tmp_path / "saved_model/saved_model.pb").is_file()


def test_precision_that_a_format_lacks_is_refused_by_name(promising, tmp_path):
    outcome = call(
        *("export", promising, "--format", "keras", "--precision", "float16"),
        *("--output", tmp_path / "none"),
    )
    assert outcome.exit_code == 1
    assert "keras" in outcome.stderr and "float16" in outcome.stderr
    assert not (tmp_path / "none").exists()


def test_export_in_a_run_goes_with_the_run_when_it_is_fitted_anew(extracted, exported, tmp_path):
    run = tmp_path / "again"
    how = ("fit-head", extracted / "features.h5", "--output", run)
    assert call(*how).exit_code == 0
    shutil.copytree(exported.folder, run / "export")
    assert "again" in call("runs", tmp_path).stdout
    outcome = call(*how, "--force")
    assert outcome.exit_code == 0, outcome.stderr
    assert not (run / "export").exists()


def test_head_without_layers_is_refused_in_words_of_an_export(extracted, tmp_path):
    run = tmp_path / "neighbours"
    outcome = call("fit-head", extracted / "features.h5", "--head", "neighbours", "--output", run)
    assert outcome.exit_code == 0, outcome.stderr
    outcome = call("export", run, "--format", "keras")
    assert outcome.exit_code == 1
    assert "Expected a linear or a dense head. Received: neighbours" in outcome.stderr
    assert "fine-tune" not in outcome.stderr
    assert not (run / "export").exists()


def test_images_that_are_gone_are_asked_for_before_any_network_is_built(promising, tmp_path):
    missing = tmp_path / "elsewhere"
    missing.mkdir()
    outcome = call("export", promising, "--data", missing, "--output", tmp_path / "none")
    assert outcome.exit_code == 1 and "--data" in outcome.stderr
    assert not (tmp_path / "none").exists()


def test_operation_that_litert_lacks_is_named(tmp_path):
    import tensorflow as tf

    from pipeline.classifier.export.formats.litert_file import convert

    @tf.function(input_signature=[tf.TensorSpec((4,), tf.float32)])
    def digamma(x):
        return tf.math.digamma(x)

    module = tf.Module()
    module.serve = digamma
    tf.saved_model.save(module, str(tmp_path), signatures=digamma)
    with pytest.raises(CannotExportError, match="no built-in operation for Digamma"):
        convert(tf.lite.TFLiteConverter.from_saved_model(str(tmp_path)))


def test_layer_that_keras_lacks_is_named(tmp_path):
    import keras_hub

    from pipeline.classifier.export.formats.keras_file import write_keras
    from pipeline.system.keras_on_tensorflow import keras

    inputs = keras.Input((4, 8))
    layer = keras_hub.layers.SinePositionEncoding()
    model = keras.Model(inputs, layer(inputs))
    network = type("Network", (), {"model": model})
    with pytest.raises(CannotExportError, match="SinePositionEncoding"):
        write_keras(network, tmp_path / "model.keras", Settings("float32", {}))
    assert not list(tmp_path.iterdir())
