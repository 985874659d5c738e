"""Networks and images that are the same wherever they are made, and what a CPU gave for them.

    python benchmarks/gpu.py --write-reference reference.npz

writes a small file where TensorFlow is; `gpu.py --reference reference.npz` compares with it where
it is not. EfficientNet-Lite0 has its ImageNet weights. The others are random, drawn by NumPy, since
each backend of Keras draws others from a seed; the file holds the few numbers that make their
features of order 1.
"""

import json
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from pipeline.backbones.weights.resolve import ResolvedWeights
from pipeline.recipe import Recipe

WITH_WEIGHTS = ("efficientnet-lite0",)
RANDOM = ("efficientnetb0", "resnet50")
NETWORKS = WITH_WEIGHTS + RANDOM
SQUARE = 16  # pixels


@dataclass(frozen=True)
class Reference:
    """Features of some images, computed on a CPU in float32.

    Args:
        image_size: side in pixels.
        n_images: of `make_images`.
        engine: what computed.
        features: float32 (n_images, n_features) by network.
        layouts: by random network, name, shape and type of each data set of its weights file.
        vectors: by random network, the values of those data sets that are no kernels.
    """

    image_size: int
    n_images: int
    engine: str
    features: dict[str, np.ndarray]
    layouts: dict[str, list[tuple[str, tuple[int, ...], str]]]
    vectors: dict[str, dict[str, np.ndarray]]


def make_images(n_images: int, side: int, seed: int = 0) -> np.ndarray:
    """Coloured squares with some grain: uint8 (n_images, side, side, 3), the same everywhere."""
    random = np.random.RandomState(seed)  # its numbers never change, unlike those of default_rng
    n_squares = -(-side // SQUARE)
    coarse = random.randint(0, 256, (n_images, n_squares, n_squares, 3))
    smooth = coarse.repeat(SQUARE, 1).repeat(SQUARE, 2)[:, :side, :side]
    grain = random.randint(-16, 17, (n_images, side, side, 1))
    return np.clip(smooth + grain, 0, 255).astype(np.uint8)


def describe_network(
    reference: Reference, name: str, folder: Path, precision: str
) -> tuple[Recipe, ResolvedWeights]:
    """Recipe and weights; the file of random ones is made in the folder where it is not there."""
    from pipeline.features.extract import make_recipe

    weights = "imagenet"
    if name in RANDOM:
        path = folder / f"{name}.weights.h5"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_weights(path, reference.layouts[name], reference.vectors[name])
        weights = str(path)
    return make_recipe(name, weights, image_size=reference.image_size, precision=precision)


def write_reference(path: Path, image_size: int, n_images: int) -> None:
    """Computes the features here, on the CPU, and writes all that is needed to do it elsewhere."""
    layouts, vectors = {}, {}
    for name in RANDOM:
        layouts[name], vectors[name] = _settle_weights(name, image_size)
    reference = Reference(image_size, n_images, "", {}, layouts, vectors)
    features, engine = _compute_features(reference)
    arrays = {f"features/{name}": rows for name, rows in features.items()}
    for name, values in vectors.items():
        arrays |= {f"vectors/{name}/{key}": value for key, value in values.items()}
    facts = {"image_size": image_size, "n_images": n_images, "engine": engine, "layouts": layouts}
    with path.open("wb") as file:
        np.savez_compressed(file, facts=np.array(json.dumps(facts)), **arrays)


def read_reference(path: Path) -> Reference:
    """Inverse of `write_reference`."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    facts = json.loads(str(arrays.pop("facts")))
    features: dict[str, np.ndarray] = {}
    vectors: dict[str, dict[str, np.ndarray]] = {name: {} for name in facts["layouts"]}
    for key, value in arrays.items():
        kind, name, *rest = key.split("/", 2)
        if kind == "features":
            features[name] = value
        else:
            vectors[name][rest[0]] = value
    layouts = {
        name: [(key, tuple(shape), kind) for key, shape, kind in entries]
        for name, entries in facts["layouts"].items()
    }
    return Reference(
        facts["image_size"], facts["n_images"], facts["engine"], features, layouts, vectors
    )


def _compute_features(reference: Reference) -> tuple[dict[str, np.ndarray], str]:
    from pipeline.features.embed import make_embedder

    pixels = make_images(reference.n_images, reference.image_size)
    features = {}
    with tempfile.TemporaryDirectory(prefix="frostline-reference-") as folder:
        for name in NETWORKS:
            recipe, weights = describe_network(reference, name, Path(folder), "float32")
            embed = make_embedder(recipe, weights, "cpu", "tensorflow", 1, is_alone=True)
            features[name] = embed(pixels)
    return features, str(embed.record)


def _settle_weights(name: str, image_size: int):
    """Layout of a network's weights file, and values for all that is no kernel.

    BatchNormalization gets the statistics that its input has, and a summand that keeps most units
    above zero, as in a trained network: otherwise the last bits of the input blow up.
    """
    from pipeline.backbones.build import build_untrained
    from pipeline.backbones.registry import get_backbone
    from pipeline.system.keras_on_tensorflow import keras

    backbone = get_backbone(name)
    model = build_untrained(backbone, image_size)
    with tempfile.TemporaryDirectory(prefix="frostline-reference-") as folder:
        path = Path(folder) / "a.weights.h5"
        model.save_weights(path)
        layout, vectors = _read_weights(path)
        _write_weights(path, layout, vectors)
        model.load_weights(path)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
                layer.beta.assign(np.full(layer.beta.shape, 2.0))
            if isinstance(layer, keras.layers.Normalization):
                layer.set_weights([np.array(x) for x in ([0.5, 0.45, 0.4], [0.05, 0.06, 0.07], 1)])
                layer.finalize_state()
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        pixels = make_images(8, image_size, seed=1).astype(np.float32)
        if backbone.channel_order == "BGR":
            pixels = pixels[..., ::-1]
        model(pixels * np.float32(backbone.scale) + np.float32(backbone.offset), training=True)
        model.save_weights(path)
        return layout, _read_weights(path)[1]


def _read_weights(path: Path):
    layout, vectors = [], {}
    with h5py.File(path, "r") as file:

        def look(key: str, item: h5py.Group | h5py.Dataset) -> None:
            is_group = isinstance(item, h5py.Group)
            layout.append(
                (key, () if is_group else item.shape, "" if is_group else str(item.dtype))
            )
            if not is_group and item.ndim < 2:
                vectors[key] = item[()]

        file.visititems(look)
    return layout, vectors


def _write_weights(path: Path, layout, vectors: dict[str, np.ndarray]) -> None:
    """Kernels are drawn by their names, with the deviation that keeps the scale of what passes."""
    with h5py.File(path, "w") as file:
        for key, shape, kind in layout:
            if not kind:
                file.require_group(key)
            elif key in vectors:
                file[key] = vectors[key]
            else:
                is_depthwise = shape[-1] == 1
                n_inputs = np.prod(shape[:2] if is_depthwise else shape[:-1])
                draw = np.random.RandomState(zlib.crc32(key.encode())).standard_normal
                file[key] = (draw(shape) * np.sqrt(2 / n_inputs)).astype(kind)
