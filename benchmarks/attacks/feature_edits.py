"""Edits of a feature file by a stranger, who then seals it anew; each with words of the refusal.

The file has 24 rows of 24 features, of images with 3 classes, made by `benchmarks.stand_in`.
"""

import json
from collections.abc import Callable

import h5py
import numpy as np

from benchmarks.stand_in import RECIPE
from pipeline.system.sealed_hdf5 import seal_again

N_IMAGES, N_FEATURES = 24, 24
Edit = Callable[[h5py.File], object]


def change(path, edit):
    """Edits a file and seals it anew, as anybody can."""
    with h5py.File(path, "r+") as file:
        edit(file)
    seal_again(path)


def replace(file, name, **how):
    del file[name]
    return file.create_dataset(name, **how)


def lead_to_passwd(file):
    del file["probe/pixels"]
    shape = file["probe/row"].shape[0], 8, 8, 3
    outside = [("/etc/passwd", 0, int(np.prod(shape)))]
    file.create_dataset("probe/pixels", shape, "u1", external=outside)


def link_outside(file):
    del file["label"]
    file["label"] = h5py.ExternalLink("/tmp/other.h5", "label")


def link_in_a_circle(file):
    del file["label"]
    file["label"] = h5py.SoftLink("/label")


def hold_itself(file):
    file["skipped/again"] = file["/"]


def view_another_file(file):
    layout = h5py.VirtualLayout((N_IMAGES,), "i4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "label", (N_IMAGES,))
    del file["label"]
    file.create_virtual_dataset("label", layout)


def claim_a_million_million_rows(file):
    replace(file, "features", shape=(2**40, N_FEATURES), dtype="f4", chunks=(64, N_FEATURES))


def claim_one_enormous_chunk(file):
    how = {"chunks": (2**24, N_FEATURES), "maxshape": (None, N_FEATURES)}
    replace(file, "features", shape=(N_IMAGES, N_FEATURES), dtype="f4", fletcher32=True, **how)


def unpack_to_eight_gigabytes(file):
    replace(file, "label", shape=(2**31,), dtype="i4", chunks=(2**20,), compression="gzip")


def hold_a_thousand_groups(file):
    for number in range(1000):
        file.create_group(f"group{number}")


def put(name, place, value):
    def edit(file):
        file[name][place] = value

    return edit


def say(name, value):
    def edit(file):
        file.attrs[name] = value

    return edit


def recipe_with(**values):
    return say("recipe", json.dumps({**json.loads(RECIPE.to_json()), **values}))


# What leads out of the file, or claims more than it holds.
GREEDY: list[tuple[Edit, str]] = [
    (lead_to_passwd, "'probe/pixels' keeps its values in another file"),
    (link_outside, "'label' is a link that may lead out of the file"),
    (link_in_a_circle, "'label' is a link that may lead out of the file"),
    (hold_itself, "'skipped/again' is there under another name, too"),
    (view_another_file, "'label' takes its values from other tables"),
    (claim_a_million_million_rows, "'features' claims more"),
    (claim_one_enormous_chunk, "'features' claims more"),
    (unpack_to_eight_gigabytes, "'label' is compressed"),
    (hold_a_thousand_groups, "too many objects"),
]

# Values that make no sense.
SENSELESS: list[tuple[Edit, str]] = [
    (put("label", 3, 3), "'label' should hold -1 to 2, and holds 0 to 3"),
    (put("label", 3, -2), "'label' should hold -1 to 2"),
    (put("split", 0, 3), "'split' should hold -1 to 2"),
    (put("arrival", 0, -1), "'arrival' should hold from 0"),
    (put("probe/row", 0, N_IMAGES), "'probe/row' should hold 0 to 23"),
    (put("probe/row", 0, -1), "'probe/row' should hold 0 to 23"),
    (lambda file: replace(file, "label", data=np.zeros(25, "i4")), "'label' should be int32"),
    (lambda file: replace(file, "label", data=np.zeros(24, "f8")), "and is float64 [24]"),
    (lambda file: replace(file, "digest", data=np.zeros((24, 31), "u1")), "uint8 [24, 31]"),
    (lambda file: replace(file, "size", data=["a"] * 24), "'size' should be int64"),
    (lambda file: file.pop("skipped"), "there is no table 'skipped/path'"),
    (say("class_names", '["a", "a", "b"]'), "different names"),
    (say("class_names", '["a", 1, "b"]'), "Expected `str`, got `int`"),
    (say("class_names", '["a", "\\ud800", "b"]'), "different names"),
    (say("class_names", "[" * 100_000), "damaged in the small tables"),
    (say("class_names", 7), "the attribute 'class_names' should be a text, and is int64"),
    (say("batch_size", "many"), "'batch_size' should be a whole number"),
    (say("batch_size", [1, 2]), "'batch_size' is neither a number nor a text"),
    (say("engines", "[]"), "`engines` is empty"),
    (say("engines", '[{"name": 3}]'), "Expected `str`, got `int`"),
    (say("software", '{"numpy": 2}'), "Expected `str`, got `int`"),
    (say("data_name", "../../outside"), "`data_name` should be the name of a folder"),
    (say("created", 5), "'created' should be a text"),
    (recipe_with(image_size=10**9), "Expected `image_size` from 1 to 4,096"),
    (recipe_with(image_size="8"), "Expected `int`, got `str`"),
    (recipe_with(image_size=16), "probes should be of 16 x 16 pixels"),
    (recipe_with(resize="squeeze"), "Expected `resize` to be one of"),
    (recipe_with(scale=[1.0, 1.0]), "Expected `array` of length 3"),
    (recipe_with(scale=[1.0, 1.0, float("inf")]), "up to 1e+09"),
    (recipe_with(colour="green"), "no fields but a recipe's"),
    (recipe_with(background=[0, 0, 300]), "RGB 0..255"),
    (say("recipe", "[]"), "damaged in the small tables"),
]
