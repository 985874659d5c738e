"""An export made by hand: a network of one layer, which numpy computes, too; no TensorFlow."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipeline.classifier.export.beside.mistakes import Mistaken
from pipeline.classifier.export.beside.reference import write_reference
from pipeline.classifier.export.beside.write_beside import list_labels
from pipeline.classifier.export.contents import (
    Contents,
    ExportedModel,
    ModelInput,
    Proof,
    write_contents,
)
from pipeline.classifier.export.images import ImagesOfExport
from pipeline.classifier.export.prove import CHECK
from pipeline.classifier.export.shipped.check import list_mistakes
from pipeline.system.paths import sha256_of_file

SIDE, N_IMAGES = 8, 20
CLASSES = ["ash", "beech", "cedar", "dogwood"]
INTO = ModelInput(SIDE, SIDE, "stretch", (255, 255, 255), "bilinear, antialiased")


def make_weights() -> np.ndarray:
    """Of each pixel's place and colour."""
    weights = np.random.default_rng(1).normal(0, 0.25, (SIDE, SIDE, 3, len(CLASSES)))
    return weights.astype(np.float32)


def compute(pixels: np.ndarray) -> np.ndarray:
    """Probabilities of RGB 0..255: a scale, a sum over all pixels, a softmax."""
    scores = np.tensordot(pixels / 128.0 - 1, make_weights().astype(np.float64), 3)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def make_model(class_names: list[str]) -> onnx.ModelProto:
    shape = [None, SIDE, SIDE, 3]
    arrays = {
        "scale": np.array(1 / 128, np.float32),
        "offset": np.array(-1, np.float32),
        "flat": np.array([-1, SIDE * SIDE * 3], np.int64),
        "weights": make_weights().reshape(-1, len(CLASSES)),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["centred"]),
        helper.make_node("Reshape", ["centred", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, len(CLASSES)])],
        [numpy_helper.from_array(values, name) for name, values in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    model.metadata_props.add(key="labels.txt", value=list_labels(class_names))
    return model


def make_images(folder: Path) -> ImagesOfExport:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (N_IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    paths = []
    for number in range(N_IMAGES):
        paths.append(folder / f"photo {number} of a tree.png")
        paths[-1].write_bytes(bytes([number]))
    return ImagesOfExport(paths, np.arange(N_IMAGES) % len(CLASSES), pixels, "val")


def make_export(folder: Path, class_names: list[str] = CLASSES) -> Path:
    """Writes what a check needs."""
    photos, export = folder / "photos", folder / "export"
    photos.mkdir(parents=True)
    export.mkdir()
    images = make_images(photos)
    rows = np.arange(0, N_IMAGES, 4)
    changed = {name: change(images.pixels[rows] / 1.0) for name, change in list_mistakes()}
    mistaken = Mistaken(list(changed), rows, np.stack([compute(one) for one in changed.values()]))
    answers = {"probabilities": compute(images.pixels)}
    write_reference(export, images, answers, {}, mistaken, class_names)
    path = export / "model.onnx"
    path.write_bytes(make_model(class_names).SerializeToString())
    proof = Proof(N_IMAGES, 1e-7, 1.0, 1e-4, "onnxruntime 1")
    sha256 = {path.name: sha256_of_file(path)}
    model = ExportedModel(path.name, sha256, path.stat().st_size, "float32", proof)
    (export / "labels.txt").write_text(list_labels(class_names), "utf-8")
    (export / CHECK.name).write_bytes(CHECK.read_bytes())
    contents = Contents(
        *("trees", "2026-01-01T00:00:00+00:00", ["tiny"], class_names, INTO, ["probabilities"]),
        models={"onnx": model},
        refused={},
        software={},
    )
    write_contents(export, contents)
    return export


def load_check(export: Path):
    """The check of an export, as a module."""
    spec = importlib.util.spec_from_file_location("check_of_export", export / CHECK.name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
