import hashlib
import json
from dataclasses import asdict, fields, replace

import pytest

from pipeline.recipe import EngineRecord, Recipe

RECIPE = Recipe(
    backbone="b",
    weights="random:0",
    image_size=32,
    resize="stretch",
    background=(255, 255, 255),
    decoder_version=1,
    channel_order="RGB",
    scale=(1.0, 1.0, 1.0),
    offset=(0.0, 0.0, 0.0),
    layer="top",
    pooling="avg",
    precision="float32",
    truncated="skip",
)
OTHER = {
    "backbone": "c",
    "weights": "random:1",
    "image_size": 33,
    "resize": "pad",
    "background": (0, 0, 0),
    "decoder_version": 2,
    "channel_order": "BGR",
    "scale": (1.0, 1.0, 2.0),
    "offset": (0.0, 0.0, 1.0),
    "layer": "fc2",
    "pooling": "max",
    "precision": "mixed_float16",
    "truncated": "keep",
    "depth": 12,
}


@pytest.mark.parametrize("name", [field.name for field in fields(Recipe)])
def test_every_field_changes_the_id(name):
    other = replace(RECIPE, **{name: OTHER[name]})
    assert other.id != RECIPE.id
    assert RECIPE.differences(other) == [f"{name}: {getattr(RECIPE, name)} -> {OTHER[name]}"]


WRONG = {
    "weights": ("random:x", "sha256:00", "", "imagenet"),
    "image_size": (0, -1, 4097, 2**62),
    "resize": ("squash",),
    "background": ((0, 0, 256), (-1, 0, 0)),
    "channel_order": ("XYZ",),
    "scale": ((1e10, 0.0, 0.0),),
    "offset": ((0.0, float("nan"), 0.0),),
    "pooling": ("median",),
    "precision": ("float8",),
    "truncated": ("perhaps",),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_recipe_that_makes_no_sense_is_refused_wherever_it_comes_from(name):
    for value in WRONG[name]:
        with pytest.raises(ValueError, match=f"Expected.*`{name}`"):
            replace(RECIPE, **{name: value})
        values = {**json.loads(RECIPE.to_json()), name: value}
        with pytest.raises(ValueError, match=f"Expected.*`{name}`"):
            Recipe.from_json(json.dumps(values))


def test_recipe_survives_json():
    for recipe in (RECIPE, replace(RECIPE, depth=12)):
        assert Recipe.from_json(recipe.to_json()) == recipe


def test_the_full_depth_has_the_id_that_recipes_had_before_there_was_another():
    without = {key: value for key, value in asdict(RECIPE).items() if key != "depth"}
    text = json.dumps(without, sort_keys=True, separators=(",", ":"))
    assert RECIPE.id == hashlib.sha256(text.encode()).hexdigest()
    assert Recipe.from_json(text) == RECIPE


RECORD = EngineRecord("litert", "2.1.0", "cpu", "AMD EPYC 7B13", "", "float32", 2, 1)


def test_engine_record_survives_json_and_what_a_newer_version_adds():
    assert EngineRecord.from_json(RECORD.to_json()) == RECORD
    newer = {**json.loads(RECORD.to_json()), "colour": "green"}
    assert EngineRecord.from_json(json.dumps(newer)).to_json() == RECORD.to_json()


def test_engines_are_told_apart_by_what_decides_bits():
    assert str(RECORD) == "litert 2.1.0 on AMD EPYC 7B13"
    assert str(EngineRecord()) == "an unknown engine"
    assert replace(RECORD, n_threads=8) == RECORD
    assert replace(RECORD, batch_size=8) != RECORD
    assert replace(RECORD, batch_size=8).computes_like(RECORD)
    for change in ({"name": "x"}, {"version": "3"}, {"device": "gpu"}, {"device_name": "Xeon"}):
        assert not replace(RECORD, **change).computes_like(RECORD)
