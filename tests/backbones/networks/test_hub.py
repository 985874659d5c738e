"""Presets of KerasHub, small ones made here."""

import importlib.util
import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import call, make_photos

from pipeline.backbones.build import build_embedding_model
from pipeline.backbones.frost_lines import find_frost_lines, split_at, thaw
from pipeline.backbones.presets import HUB_PREFIX, find_backbone
from pipeline.backbones.safe_loading import load_keras_model_safely
from pipeline.backbones.weights.resolve import resolve_recorded_weights, resolve_weights
from pipeline.errors import BackboneError, MissingExtraError, WeightsError
from pipeline.features.extract import make_recipe
from pipeline.features.feature_file import FeatureFile

SIZE = 32
SAVABLE = ("vit", "dinov2", "resnet", "vit_without_class_token", "deit")
# Keras cannot write what Swin is made of, and MiT comes back with other numbers.
NAMES = (*SAVABLE, "swin", "mit")


def _vit(models, **changes):
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
    return models.ViTBackbone(image_shape=(SIZE, SIZE, 3), patch_size=8, **sizes, **changes)


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """A folder of tiny presets with random weights."""
    import keras_hub

    models, layers = keras_hub.models, keras_hub.layers
    dinov2 = models.DINOV2Backbone(
        **{"patch_size": 8, "num_layers": 2, "hidden_dim": 16, "num_heads": 2},
        **{"intermediate_dim": 32, "image_shape": (SIZE, SIZE, 3), "num_register_tokens": 2},
    )
    resnet = models.ResNetBackbone(
        **{"input_conv_filters": [64], "input_conv_kernel_sizes": [7]},
        **{"stackwise_num_filters": [64, 128], "stackwise_num_blocks": [1, 1]},
        **{"stackwise_num_strides": [1, 2], "block_type": "basic_block"},
    )
    deit = models.DeiTBackbone(
        **{"image_shape": (SIZE, SIZE, 3), "patch_size": 8, "num_layers": 2, "num_heads": 2},
        **{"hidden_dim": 16, "intermediate_dim": 32},
    )
    swin = models.SwinTransformerBackbone(
        **{"image_shape": (SIZE, SIZE, 3), "patch_size": 4, "embed_dim": 16, "depths": [1, 1]},
        **{"num_heads": [2, 2], "window_size": 4},
    )
    mit = models.MiTBackbone(
        **{"image_shape": (SIZE, SIZE, 3), "layerwise_depths": [1, 1], "num_layers": 2},
        **{"layerwise_num_heads": [1, 2], "layerwise_sr_ratios": [2, 1], "hidden_dims": [16, 32]},
        **{"max_drop_path_rate": 0.1, "layerwise_patch_sizes": [7, 3]},
        layerwise_strides=[4, 2],
    )
    size = {"image_size": (SIZE, SIZE)}
    tf_mode = layers.ViTImageConverter(scale=[1 / 127.5] * 3, offset=[-1.0] * 3, **size)
    parts = {
        "vit": (_vit(models), tf_mode),
        "vit_without_class_token": (_vit(models, use_class_token=False), tf_mode),
        "dinov2": (
            dinov2,
            layers.DINOV2ImageConverter(
                scale=[0.0171, 0.0175, 0.0174], offset=[-2.1, -2.0, -1.8], **size
            ),
        ),
        "resnet": (resnet, layers.ResNetImageConverter(scale=1 / 255, **size)),
        "deit": (deit, layers.DeiTImageConverter(scale=1 / 255, **size)),
        "swin": (swin, layers.SwinTransformerImageConverter(scale=1 / 255, **size)),
        "mit": (mit, layers.MiTImageConverter(scale=1 / 255, **size)),
        "bare": (resnet, None),
    }
    folder = tmp_path_factory.mktemp("presets")
    for name, (backbone, converter) in parts.items():
        backbone.save_to_preset(str(folder / name))
        if converter is not None:
            converter.save_to_preset(str(folder / name))
    return folder


def _images(size=SIZE):
    return np.random.default_rng(0).integers(0, 256, (3, size, size, 3)).astype("float32")


def _build(folder, **options):
    recipe, weights = make_recipe(f"hub:{folder}", "imagenet", **options)
    return build_embedding_model(recipe, weights)


@pytest.mark.parametrize("name", NAMES)
def test_features_are_what_kerashub_gives_for_the_converted_images(name, presets):
    import keras_hub

    backbone = keras_hub.models.Backbone.from_preset(str(presets / name))
    converter = keras_hub.layers.ImageConverter.from_preset(str(presets / name))
    output = np.asarray(backbone(converter(_images())))
    if output.ndim == 4:
        expected = output.mean((1, 2))
    else:
        has_no_class_token = name in ("swin", "vit_without_class_token")
        expected = output.mean(1) if has_no_class_token else output[:, 0]
    greatest = np.abs(expected).max()
    assert greatest > 0.1
    received = np.asarray(_build(presets / name)(_images()))
    assert received.shape == expected.shape
    assert np.abs(received - expected).max() <= 1e-5 * greatest


def test_a_preset_in_a_folder_is_known_without_tensorflow(presets):
    code = """
import sys
from pipeline.features.extract import make_recipe
recipe, weights = make_recipe("hub:" + sys.argv[1], "imagenet")
print(recipe.backbone, recipe.weights, recipe.image_size, recipe.scale[0], recipe.offset[0])
print([m for m in ("tensorflow", "keras", "keras_hub") if m in sys.modules])
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(presets / "vit")],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    recipe, imported = result.stdout.splitlines()
    assert recipe.startswith("hub:vit sha256:")
    assert recipe.endswith(f" {SIZE} {1 / 127.5} -1.0")
    assert imported == "[]"


def test_the_key_follows_weights_and_configuration_and_not_the_folder(presets, tmp_path):
    def key(folder):
        return resolve_weights(find_backbone(f"hub:{folder}"), "imagenet").key

    recipe, weights = make_recipe(f"hub:{presets / 'vit'}", "imagenet")
    moved = tmp_path / "moved" / "vit"
    shutil.copytree(presets / "vit", moved)
    assert key(moved) == recipe.weights
    assert resolve_recorded_weights(recipe, str(moved)).source == str(moved)
    config = json.loads((moved / "config.json").read_text())
    config["config"]["layer_norm_epsilon"] = 1e-3
    (moved / "config.json").write_text(json.dumps(config))
    assert key(moved) != recipe.weights
    with pytest.raises(WeightsError, match="other weights"):
        resolve_recorded_weights(recipe, str(moved))
    shutil.copy(presets / "vit" / "config.json", moved)
    data = bytearray((moved / "model.weights.h5").read_bytes())
    data[-1] ^= 1
    (moved / "model.weights.h5").write_bytes(data)
    assert key(moved) != recipe.weights
    assert weights.source == str(presets / "vit")


@pytest.mark.parametrize("spelling", ["{name}", "hub:{name}", "./{name}/", "{folder}/{name}"])
def test_a_preset_that_was_moved_is_named_by_any_path(spelling, presets, tmp_path, monkeypatch):
    recipe, _ = make_recipe(f"hub:{presets / 'vit'}", "imagenet")
    shutil.copytree(presets / "vit", tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    found = resolve_recorded_weights(recipe, spelling.format(name="moved", folder=tmp_path))
    assert (found.key, found.source) == (recipe.weights, str(tmp_path / "moved"))


@pytest.mark.parametrize("prefix", ["", "hub:"])
def test_a_preset_that_is_gone_is_an_error_that_says_how_to_name_its_folder(
    prefix, presets, tmp_path
):
    recipe, _ = make_recipe(f"hub:{presets / 'vit'}", "imagenet")
    with pytest.raises(WeightsError, match=rf"(?s){tmp_path}/gone.*`weights=FOLDER`"):
        resolve_recorded_weights(recipe, f"{prefix}{tmp_path / 'gone'}")


def _write_preset(folder, converter, config=None):
    """A folder with all that is read before KerasHub builds the network."""
    folder.mkdir()
    config = {"config": {"image_shape": [SIZE, SIZE, 3]}} if config is None else config
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "image_converter.json").write_text(json.dumps(converter))
    (folder / "model.weights.h5").write_bytes(b"weights")
    return f"hub:{folder}"


@pytest.mark.parametrize(
    ("converter", "what"),
    [
        ([], "image_converter"),
        ({}, "image_converter"),
        ({"config": None}, "image_converter"),
        ({"config": {"scale": "x"}}, "scale"),
        ({"config": {"scale": [1.0, None, 1.0]}}, "scale"),
        ({"config": {"scale": [1.0, 1.0]}}, "scale"),
        ({"config": {"scale": float("nan")}}, "scale"),
        ({"config": {"offset": {"a": 1}}}, "offset"),
        ({"config": {"offset": 10**400}}, "offset"),
        ({"config": {"image_size": "big"}}, "image_size"),
        ({"config": {"image_size": [224]}}, "image_size"),
        ({"config": {"image_size": [-1, -1]}}, "image_size"),
    ],
)
def test_a_preset_that_says_nonsense_is_refused_by_name(converter, what, tmp_path):
    name = _write_preset(tmp_path / "preset", converter)
    with pytest.raises(BackboneError, match=rf"(?s)cannot be understood.*{what}.*{name}"):
        find_backbone(name)


@pytest.mark.parametrize("config", [[], 3, {"config": {"image_shape": "x"}}])
def test_a_configuration_that_is_no_networks_is_refused_by_name(config, tmp_path):
    name = _write_preset(tmp_path / "preset", {"config": {}}, config)
    with pytest.raises(BackboneError, match=rf"(?s)cannot be understood.*{name}"):
        find_backbone(name)


@pytest.mark.parametrize("weight_map", [None, [], {"a": 1}, {"a": [["x"]]}])
def test_a_list_of_weights_that_names_no_files_is_refused_by_name(weight_map, tmp_path):
    name = _write_preset(tmp_path / "preset", {"config": {}})
    (tmp_path / "preset" / "model.weights.h5").unlink()
    (tmp_path / "preset" / "model.weights.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(BackboneError, match=r"(?s)names of files.*model\.weights\.json"):
        resolve_weights(find_backbone(name), "imagenet")


def test_one_number_holds_for_all_channels_and_sides(tmp_path):
    converter = {"image_size": 48, "scale": [0.5], "offset": -1}
    backbone = find_backbone(_write_preset(tmp_path / "preset", {"config": converter}))
    assert backbone.image_size == 48
    assert (backbone.scale, backbone.offset) == ((0.5, 0.5, 0.5), (-1.0, -1.0, -1.0))
    not_square = _write_preset(tmp_path / "b", {"config": {"image_size": [64, 48]}}, {"config": {}})
    assert find_backbone(not_square).image_size is None


@pytest.mark.parametrize("name", SAVABLE)
def test_a_presets_network_is_cut_thawed_saved_and_loaded_like_any_other(name, presets, tmp_path):
    model = _build(presets / name)
    backbone = model.get_layer("backbone")
    expected = np.asarray(backbone(_images() / 255))
    lines = find_frost_lines(backbone)
    assert len(lines) >= 2
    for line in lines:
        trunk, top = split_at(backbone, line.name)
        joined = np.asarray(top(trunk(_images() / 255)))
        assert np.abs(joined - expected).max() <= 1e-5 * np.abs(expected).max()
        assert thaw(backbone, line.name) == line.trainable_parameters_above
    model.save(tmp_path / "model.keras")
    again = load_keras_model_safely(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(again(_images())), np.asarray(model(_images())))


def test_layer_pooling_and_image_size_hold_for_presets_too(presets):
    assert _build(presets / "resnet", image_size=64).output_shape == (None, 128)
    assert _build(presets / "resnet", layer="stack0_block0_out").output_shape == (None, 64)
    tokens = _build(presets / "vit", layer="vit_encoder", pooling="flatten")
    assert tokens.output_shape == (None, 17 * 16)
    mean = _build(presets / "vit", layer="vit_encoder")(_images())
    by_hand = np.asarray(tokens(_images())).reshape(3, 17, 16).mean(1)
    np.testing.assert_allclose(mean, by_hand, rtol=1e-4, atol=1e-5)
    with pytest.raises(BackboneError, match=r"one row of 16 numbers.*`pooling='none'`"):
        _build(presets / "vit", pooling="max")
    with pytest.raises(BackboneError, match=r"64 x 64 pixels(?s:.*)leave out `image_size`"):
        _build(presets / "vit", image_size=64)


def test_extraction_from_a_preset_names_it_and_a_second_one_has_nothing_to_do(presets, tmp_path):
    photos = make_photos(tmp_path / "photos", n_per_class=3)
    outcome = call("extract", photos, "--backbone", f"hub:{presets / 'dinov2'}")
    assert outcome.exit_code == 0, outcome.stderr
    (path,) = (tmp_path / "cache").glob("photos-hub-dinov2-*.h5")
    with FeatureFile(path) as file:
        assert file.contents.recipe.backbone == "hub:dinov2"
        assert file.read_all().shape == (9, 16)
    before = path.stat().st_mtime_ns
    assert call("extract", photos, "--backbone", f"hub:{presets / 'dinov2'}").exit_code == 0
    assert path.stat().st_mtime_ns == before
    assert call("fit-head", path, "--output", tmp_path / "run").exit_code == 0
    outcome = call("predict", tmp_path / "run", photos / "red", "--format", "csv")
    assert outcome.exit_code == 0, outcome.stderr
    assert len(outcome.stdout.splitlines()) == 1 + 3


@pytest.mark.parametrize("name", ["swin", pytest.param("mit", marks=pytest.mark.slow)])
def test_fine_tuning_what_cannot_be_saved_is_refused_before_it_starts(name, presets, tmp_path):
    photos = make_photos(tmp_path / "photos", n_per_class=6)
    outcome = call(
        *("extract", photos, "--backbone", f"hub:{presets / name}"),
        *("--output", tmp_path / "features.h5"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert call("fit-head", tmp_path / "features.h5", "--output", tmp_path / "run").exit_code == 0
    outcome = call("finetune", tmp_path / "run", "--output", tmp_path / "tuned", "--epochs", 1)
    assert outcome.exit_code == 1
    assert "cannot be saved and read back" in outcome.stderr
    assert f"--backbone hub:{name}" in outcome.stderr
    assert "stay with the frozen head" in outcome.stderr
    assert "epoch" not in outcome.stderr
    assert not (tmp_path / "tuned").exists()


def test_a_deit_is_fine_tuned_and_its_run_predicts(presets, tmp_path):
    photos = make_photos(tmp_path / "photos", n_per_class=6)
    features, run, tuned = tmp_path / "features.h5", tmp_path / "run", tmp_path / "tuned"
    for arguments in (
        ("extract", photos, "--backbone", f"hub:{presets / 'deit'}", "--output", features),
        ("fit-head", features, "--output", run),
        ("finetune", run, "--unfreeze", "deit_encoder", "--epochs", 1, "--output", tuned),
        ("predict", tuned, photos / "red", "--format", "csv"),
    ):
        outcome = call(*arguments)
        assert outcome.exit_code == 0, outcome.stderr
    assert len(outcome.stdout.splitlines()) == 1 + 6


def test_what_is_no_image_preset_is_refused_with_what_would_do(presets, tmp_path):
    with pytest.raises(BackboneError, match=r"(?s)image_converter\.json.*save_to_preset"):
        find_backbone(f"hub:{presets / 'bare'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"no config\.json.*save_to_preset"):
        find_backbone(f"hub:{tmp_path / 'empty'}")
    with pytest.raises(WeightsError, match=r"(?s)cannot be had.*hub:no-such-preset"):
        find_backbone("hub:no-such-preset")
    with pytest.raises(WeightsError, match="brings its own weights"):
        make_recipe(f"hub:{presets / 'vit'}", "random")
    (presets / "bare" / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be read as JSON"):
        find_backbone(f"hub:{presets / 'bare'}")


def test_without_kerashub_the_error_says_what_to_install(photos, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "keras_hub" else find_spec(name)
    )
    outcome = call("extract", photos, "--backbone", "hub:vit_base_patch16_224_imagenet")
    assert outcome.exit_code == 1
    assert "pip install '.[hub]'" in outcome.stderr
    assert "tensorflow-text" in outcome.stderr


def test_a_kerashub_that_cannot_be_imported_is_the_same_error(monkeypatch):
    """tensorflow-text 2.21.0 raises TensorFlow's own error beside TensorFlow 2.21."""
    from pipeline.backbones import presets

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "keras_hub":
                raise keras.src.backend.tensorflow.core.tf.errors.NotFoundError(
                    None, None, "undefined symbol"
                )

    monkeypatch.delitem(sys.modules, "keras_hub", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=r"(?s)undefined symbol.*pip install '\.\[hub\]'"):
        presets.import_keras_hub()


def test_names_without_the_prefix_are_those_of_the_table():
    assert find_backbone("vgg").name == "vgg16"
    assert not find_backbone("vgg").name.startswith(HUB_PREFIX)
