"""A fine-tuned run's network as a backbone: `extract DATA --backbone run:NAME` and what follows."""

import csv
import hashlib
import io
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import call

import frostline
from pipeline.backbones.build import build_embedding_model
from pipeline.backbones.frost_lines import find_frost_lines
from pipeline.backbones.networks.tuned import resize_tuned
from pipeline.backbones.safe_loading import load_keras_model_safely
from pipeline.backbones.weights.resolve import resolve_recorded_weights
from pipeline.classifier.build import load_classifier
from pipeline.classifier.parity import check_model_parity
from pipeline.errors import BackboneError, WeightsError
from pipeline.features.feature_file import FeatureFile
from pipeline.features.make_recipe import make_recipe
from pipeline.report.gathering.steps import list_steps, spell_in_python
from pipeline.runs.binding import bind_names
from pipeline.runs.manifest import read_manifest, write_manifest
from pipeline.runs.run_folder import open_run
from pipeline.system.keras_on_tensorflow import keras

MODEL = "model.keras"


def change_network(run: Path, factor: float) -> Path:
    """Multiplies the kernels of a run's convolutions, and signs the run as its own again."""
    with zipfile.ZipFile(run / MODEL) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    weights = io.BytesIO(members["model.weights.h5"])
    with h5py.File(weights, "r+") as file:

        def scale(_: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and item.ndim == 4:
                item[...] = item[...] * factor

        file.visititems(scale)
    members["model.weights.h5"] = weights.getvalue()
    with zipfile.ZipFile(run / MODEL, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    manifest = read_manifest(run)
    bound = bind_names(run, manifest.class_names, [MODEL])
    write_manifest(run, replace(manifest, names_and_head_sha256=bound))
    return run


def copy_run(run: Path, target: Path) -> Path:
    return Path(shutil.copytree(run, target))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def tuned(finetuned, tmp_path_factory) -> Path:
    """A fine-tuned run whose network is another one than its parent's."""
    return change_network(copy_run(finetuned, tmp_path_factory.mktemp("own") / "tuned"), 1.02)


@pytest.fixture(scope="module")
def tuned_model(tuned) -> keras.Model:
    """What `tuned` holds, as Keras loads it."""
    return load_keras_model_safely(tuned / MODEL)


@pytest.fixture(scope="module")
def features(tuned, extracted) -> Path:
    """Of the photos, made by the network of `tuned`."""
    path = tuned.parent / "features.h5"
    outcome = call("extract", extracted / "photos", "--backbone", f"run:{tuned}", "--output", path)
    assert outcome.exit_code == 0, outcome.stderr
    return path


@pytest.fixture(scope="module")
def second(features) -> Path:
    """A run with a logistic head on `features`."""
    outcome = call("fit-head", features, "--output", features.parent / "second")
    assert outcome.exit_code == 0, outcome.stderr
    return features.parent / "second"


def test_features_are_those_that_the_head_of_the_tuned_run_takes(tuned_model, features, extracted):
    with FeatureFile(features) as file, FeatureFile(extracted / "features.h5") as frozen:
        pixels = file.contents.probe_pixels.astype(np.float32)
        preprocessed = tuned_model.get_layer("preprocessing")(pixels)
        expected = np.asarray(tuned_model.get_layer("backbone")(preprocessed))
        received = file.read_rows(file.contents.probe_rows)
        before = frozen.read_rows(frozen.contents.probe_rows)
    greatest = np.abs(expected).max()
    assert greatest > 0.1
    assert np.abs(received - expected).max() < 1e-4 * greatest
    assert np.abs(received - before).max() > 0.1 * greatest


def test_the_recipe_knows_the_network_and_not_the_run(tuned, features):
    recipe = frostline.features(features).recipe
    assert (recipe.backbone, recipe.image_size) == ("tuned:efficientnet-lite0", 32)
    assert recipe.weights == f"sha256:{sha256(tuned / MODEL)}"
    assert str(tuned) not in recipe.to_json()
    assert recipe.backbone_in_file_names == "tuned-efficientnet-lite0"


def test_images_come_before_it_as_before_the_tuned_run(tuned, tmp_path):
    run = tmp_path / "runs" / "cropped"
    run.mkdir(parents=True)
    shutil.copy(tuned / MODEL, run)
    manifest = read_manifest(tuned)
    own = replace(
        manifest.recipe,
        image_size=48,
        resize="crop",
        background=(1, 2, 3),
        truncated="keep",
        depth=12,
        pooling="max",
        scale=(0.5, 0.25, 0.125),
    )
    write_manifest(run, replace(manifest, recipe=own))
    recipe, _ = make_recipe("run:cropped", "imagenet")
    assert recipe == replace(own, backbone=recipe.backbone, weights=recipe.weights)
    assert make_recipe(f"run:{run}", "imagenet")[0] == recipe
    other, _ = make_recipe(
        "run:cropped", "imagenet", image_size=64, resize="stretch", background=(0, 0, 0)
    )
    assert (other.image_size, other.resize, other.background) == (64, "stretch", (0, 0, 0))
    with pytest.raises(BackboneError, match=r"Expected: no `pooling`, or `pooling=max`"):
        make_recipe("run:cropped", "imagenet", pooling="avg")


def test_images_of_another_size_pass_through_the_same_weights(finetuned):
    """No epoch of this run won, so its network is the one that it started from."""
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 48, 48, 3)).astype(np.float32)
    received, expected = (
        np.asarray(build_embedding_model(*make_recipe(name, "imagenet", image_size=48))(pixels))
        for name in (f"run:{finetuned}", "efficientnet-lite0")
    )
    np.testing.assert_allclose(received, expected, atol=1e-4 * np.abs(expected).max())


def test_a_network_that_takes_one_size_says_so():
    def build(size: int) -> keras.Model:
        image = keras.Input((size, size, 3))
        flat = keras.layers.Flatten(name="flat")(image)
        return keras.Model(image, keras.layers.Dense(2, name="positions")(flat))

    with pytest.raises(BackboneError, match=r"positions of this .* fits images of 4 x 4") as raised:
        resize_tuned(build(4), 5, lambda: build(5))
    assert "Received: `image_size=5`" in str(raised.value)


def test_another_layer_of_it_can_be_taken(tuned, tuned_model):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    recipe, weights = make_recipe(f"run:{tuned}", "imagenet", layer="block2b_add", pooling="max")
    received = np.asarray(build_embedding_model(recipe, weights)(pixels))
    network = tuned_model.get_layer("backbone")
    maps = keras.Model(network.inputs[0], network.get_layer("block2b_add").output)
    expected = np.asarray(maps(tuned_model.get_layer("preprocessing")(pixels))).max(axis=(1, 2))
    assert received.shape == (2, 24)
    np.testing.assert_allclose(received, expected, atol=1e-4 * np.abs(expected).max())


def test_a_run_that_was_renamed_is_found(tuned, features):
    renamed = tuned.rename(tuned.with_name("renamed"))
    try:
        outcome = call("features", features, "--recompute", 2)
    finally:
        renamed.rename(tuned)
    assert outcome.exit_code == 0, outcome.stderr
    assert "2 rows embedded again" in " ".join((outcome.stdout + outcome.stderr).split())


def test_a_run_that_is_gone_is_named_with_the_place_where_it_was(tuned, second, extracted):
    image = extracted / "photos" / "green" / "001.png"
    with FeatureFile(second.parent / "features.h5") as file:
        source = file.contents.weights_source
    moved = tuned.rename(tuned.parent.parent / "moved")
    try:
        outcome = call("predict", second, image, "--no-network-store")
        kept = call("predict", second, image)
        again = call("extract", extracted / "photos", "--backbone", f"run:{tuned}")
        found = resolve_recorded_weights(open_run(second).recipe, str(moved))
    finally:
        moved.rename(tuned)
    assert outcome.exit_code == 1
    assert "The fine-tuned run whose network made the features is gone." in outcome.stderr
    assert f"in {Path(source).parent}, where it was" in outcome.stderr.replace("\n", " ")
    assert "say where it is with --weights FOLDER" in outcome.stderr
    assert kept.exit_code == 0, kept.stderr  # the converted network is kept
    assert again.exit_code == 1
    assert "There is no such run" in again.stderr
    assert found.path == moved / MODEL


def test_a_run_that_was_fine_tuned_anew_is_refused_by_name(tuned, second, extracted, tmp_path):
    image = extracted / "photos" / "green" / "001.png"
    kept = tuned.rename(tuned.parent.parent / "kept")
    was = sha256(kept / MODEL)
    try:
        change_network(copy_run(kept, tuned), 1.01)
        outcome = call("predict", second, image, "--no-network-store")
        received = sha256(tuned / MODEL)
        told = copy_run(kept, tuned.parent / "beside")
        hint = call("predict", second, image, "--weights", tuned)
        shutil.rmtree(told)
        shutil.rmtree(tuned)
    finally:
        kept.rename(tuned)
    assert outcome.exit_code == 1
    said = outcome.stderr.replace("\n", " ")
    assert f"{tuned} is another network than the features were made with" in said
    assert was in said
    assert received in said
    assert f"It lies in {told}: say --weights {told}." in hint.stderr.replace("\n", " ")


def test_a_network_that_was_exchanged_under_its_manifest_is_refused(tuned, extracted, tmp_path):
    run = copy_run(tuned, tmp_path / "exchanged")
    with (run / MODEL).open("ab") as file:
        file.write(b"more")
    outcome = call("extract", extracted / "photos", "--backbone", f"run:{run}")
    assert outcome.exit_code == 1
    assert "This run was changed after it was written" in outcome.stderr
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("backbone", "more", "said"),
    [
        ("run:{fitted}", (), "Its features are those of efficientnet-lite0, as they came."),
        ("run:nosuch", (), "There is no such run."),
        ("tuned:efficientnet-lite0", (), "Say --backbone run:NAME"),
        ("run:{tuned}", ("--weights", "random"), "A fine-tuned run brings its own weights."),
        ("run:{tuned}", ("--pooling", "max"), "or --pooling avg; or a --layer below"),
    ],
)
def test_what_cannot_be_is_refused_in_words(fitted, tuned, extracted, backbone, more, said):
    name = backbone.format(fitted=fitted, tuned=tuned)
    outcome = call("extract", extracted / "photos", "--backbone", name, *more)
    assert outcome.exit_code == 1
    assert said in " ".join(outcome.stderr.split())


def test_its_frost_lines_are_those_of_the_network_that_was_tuned(tuned, tuned_model):
    outcome = call("backbones", f"run:{tuned}", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    received = [(line["name"], line["shape"]) for line in json.loads(outcome.stdout)]
    expected = find_frost_lines(tuned_model.get_layer("backbone"))
    assert received == [(line.name, list(line.shape)) for line in expected]
    assert received[1] == ("block7a", [1, 1, 192])


def test_a_head_on_them_can_be_fine_tuned(second):
    run = open_run(second)
    model = load_classifier(run, to_be_saved=True)
    assert check_model_parity(run, model, is_gpu=False, data_root=None).difference < 1e-4
    assert "block7a_project_conv" in [layer.name for layer in model.get_layer("backbone").layers]


@pytest.mark.slow
def test_a_head_on_them_is_fine_tuned_and_exported_and_its_network_used_again(second, extracted):
    third, photos = second.parent / "third", extracted / "photos"
    steps = (
        ("finetune", second, "--unfreeze", "block7a", "--epochs", 1, "--output", third),
        ("export", third, "--format", "keras", "--output", "third.keras"),
        ("extract", photos, "--backbone", f"run:{third}", "--output", "third.h5"),
        ("fit-head", "third.h5", "--output", "fourth"),
        ("evaluate", "fourth", photos),
        ("report", "fourth"),
    )
    for step in steps:
        outcome = call(*step)
        assert outcome.exit_code == 0, (step, outcome.stderr)
    assert frostline.features("third.h5").recipe.backbone == "tuned:efficientnet-lite0"


def test_the_steps_to_a_head_on_them_begin_with_those_to_the_tuned_run(tuned, second, extracted):
    steps = [spell_in_python(step) for step in list_steps(open_run(second))]
    assert [step.split("(")[0].removeprefix("frostline.") for step in steps] == [
        *("extract", "fit_head", "finetune"),
        *("extract", "fit_head"),
    ]
    photos, output = str(extracted / "photos"), str(second.parent / "features.h5")
    assert steps[3] == f"frostline.extract({photos!r}, backbone='run:{tuned}', output={output!r})"


def test_images_that_trained_the_network_and_now_score_a_head_are_counted(tuned, features, second):
    usual = " ".join(open_run(second).manifest.notes)
    other = call("fit-head", features, "--seed", 5, "--output", "other")
    assert "trained the network behind these features" not in usual
    trained = {path for path, split in _read_splits(tuned) if split == "train"}
    scored = [path for path, split in _read_splits(Path("other")) if split == "val"]
    n_seen = len(trained & set(scored))
    assert n_seen > 0
    said = f"{n_seen} of {len(scored)} images of val trained the network behind these features"
    assert said in " ".join(other.stderr.split())


def _read_splits(run: Path) -> list[tuple[str, str]]:
    with (run / "predictions.csv").open(newline="") as file:
        return [(row["path"], row["split"]) for row in csv.DictReader(file)]


def test_scikit_learn_takes_it_too(tuned, features, extracted):
    paths = sorted((extracted / "photos").rglob("*.png"))[:3]
    rows = frostline.FrozenFeatures(f"run:{tuned}").fit_transform(paths)
    with FeatureFile(features) as file:
        places = [file.contents.images.paths.index(f"blue/{path.name}") for path in paths]
        np.testing.assert_array_equal(rows, file.read_rows(np.array(places)))


def test_weights_are_found_only_where_they_are_the_same(tuned, features):
    recipe = frostline.features(features).recipe
    other = replace(recipe, weights=f"sha256:{'0' * 64}")
    with pytest.raises(WeightsError, match="another network than the features were made with"):
        resolve_recorded_weights(other, str(tuned))
