"""The JAX engine with JAX, on a CPU: it gives what TensorFlow gives. All of it is slow.

Nothing here is skipped where JAX is missing: `make test-all` installs it.
"""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import call
from networks import random_images, recipe_of, set_statistics

from pipeline.backbones.build import build_backbone
from pipeline.backbones.engines.opening import open_embedder
from pipeline.backbones.engines.recipe_network import describe_network
from pipeline.backbones.registry import get_backbone
from pipeline.backbones.weights.resolve import resolve_weights

pytestmark = pytest.mark.slow
SIZE = 64
PIXELS = random_images(SIZE, 5).astype(np.uint8)


@pytest.fixture(autouse=True, scope="module")
def _with_jax():
    if importlib.util.find_spec("jax") is None:
        pytest.fail("These tests need JAX. Run: pip install -c constraints.txt -e '.[test-all]'")


@pytest.fixture(scope="module")
def describe(tmp_path_factory):
    """The network of a name, with weights that give features of order 1."""
    folder = tmp_path_factory.mktemp("weights")

    def make(name):
        backbone = get_backbone(name)
        if name == "efficientnet-lite0":
            weights = resolve_weights(backbone, "imagenet")
        else:
            path = folder / f"{name}.weights.h5"
            model = build_backbone(backbone, resolve_weights(backbone, "random"), SIZE)
            set_statistics(model, random_images(SIZE, 8))
            model.save_weights(path)
            weights = resolve_weights(backbone, path)
        return describe_network(recipe_of(name, weights.key, SIZE), weights)

    return make


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnetb0", "resnet50"])
def test_it_gives_what_tensorflow_gives(describe, name):
    network = describe(name)
    expected = open_embedder(network, "cpu", engine="tensorflow")(PIXELS)
    greatest = np.abs(expected).max()
    assert greatest > 0.1
    embed = open_embedder(network, "cpu", engine="jax", batch_size=2)
    assert np.abs(embed(PIXELS) - expected).max() <= 1e-4 * greatest
    assert (embed.record.name, embed.record.precision) == ("jax", "float32")


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_16_bits_are_as_near_as_their_tolerance_says(describe, precision):
    network = describe("efficientnet-lite0")
    expected = open_embedder(network, "cpu", engine="tensorflow")(PIXELS)
    recipe = replace(network.recipe, precision=precision)
    reduced = describe_network(recipe, "imagenet")
    embed = open_embedder(reduced, "cpu", engine="jax", batch_size=5)
    difference = np.abs(embed(PIXELS) - expected).max() / np.abs(expected).max()
    assert 1e-4 < difference <= embed.record.tolerance


def test_random_weights_are_tensorflows():
    weights = resolve_weights(get_backbone("mobilenetv2"), "random", seed=7)
    network = describe_network(recipe_of("mobilenetv2", weights.key, SIZE), weights)
    expected = open_embedder(network, "cpu", engine="tensorflow")(PIXELS)
    found = open_embedder(network, "cpu", engine="jax", batch_size=5)(PIXELS)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_equal_images_get_equal_bits_in_every_place_and_process(describe):
    network = describe("efficientnet-lite0")
    rows = open_embedder(network, "cpu", engine="jax", batch_size=4)(PIXELS)
    again = open_embedder(network, "cpu", engine="jax", batch_size=4)
    assert np.array_equal(again(PIXELS[::-1])[::-1], rows)
    assert np.array_equal(again(PIXELS[2:3]), rows[2:3])


@pytest.mark.parametrize("run", ["fitted", "finetuned"])
def test_predict_and_evaluate_give_what_the_usual_engine_gives(run, request):
    folder = request.getfixturevalue(run)
    photos = folder.parent / "photos"
    usual, jax = (
        json.loads(read(call("predict", folder, photos, "--format", "json", "--top", 3, *engine)))
        for engine in ([], ["--engine", "jax"])
    )
    assert len(usual) == len(jax) == 36
    for one, other in zip(usual, jax, strict=True):
        assert one["path"] == other["path"]
        assert one["classes"][0]["name"] == other["classes"][0]["name"]
        found = {entry["name"]: entry["probability"] for entry in other["classes"]}
        expected = {entry["name"]: entry["probability"] for entry in one["classes"]}
        assert found == pytest.approx(expected, abs=1e-3)
    usual, jax = (
        json.loads(read(call("evaluate", folder, photos, "--json", *engine)))
        for engine in ([], ["--engine", "jax"])
    )
    assert usual["accuracy"] == jax["accuracy"]


def test_extract_records_it_and_goes_on_with_the_file_of_another_engine(photos, tmp_path):
    extract = [
        *("extract", photos, "--backbone", "efficientnet-lite0", "--image-size", 32),
        *("--output", tmp_path / "f.h5"),
    ]
    read(call(*extract))
    (photos / "red" / "000.png").rename(tmp_path / "aside.png")
    outcome = call("extract", photos, *extract[2:], "--engine", "jax")
    assert outcome.exit_code == 0, outcome.stderr
    read(call("features", tmp_path / "f.h5", "--verify", "--recompute", 4))


def read(outcome) -> str:
    assert outcome.exit_code == 0, outcome.stderr
    return outcome.stdout
