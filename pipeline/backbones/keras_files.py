"""Loading Keras weight files strictly: every layer gets its weights, and nothing is left over.

Keras itself passes over what a file holds too much, and matches layers by their order. Here the
counts are checked first. No configuration is read from a file, and nothing in it is executed.
"""

import io
import re
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np

from pipeline.errors import WeightsError


def load_keras_weights(model: keras.Model, path: Path) -> None:
    """Sets the weights of a model from a file of Keras 2 or 3.

    The file may hold the classifier too; it is left out.

    Args:
        model: a built model.
        path: `.weights.h5` or `.keras` as Keras 3 writes them, or the older `.h5` that
            keras.applications publish.

    Raises:
        WeightsError: if it is none of these, is damaged, or does not fit.
    """
    try:
        if path.name.endswith(".keras"):
            with zipfile.ZipFile(path) as archive:
                content = io.BytesIO(archive.read("model.weights.h5"))
        else:
            content = path
        with h5py.File(content, "r") as file:
            _refuse_links(file)
            group = file.get("model_weights", file)
            if "layer_names" in group.attrs or "layer_names0" in group.attrs:
                _load_older(model, group)
                return
            _check_newer(model, file)
        _load_newer(model, path)
    except WeightsError:
        raise
    except Exception as error:
        # HDF5, h5py and Keras have errors of every kind for damaged bytes.
        raise WeightsError(
            f"It cannot be read as a Keras weights file, it may be damaged: {error}. Expected: "
            ".weights.h5 or .keras from Keras 3, or .h5 from keras.applications."
        ) from error


def _refuse_links(file: h5py.File) -> None:
    """A file could point to others through links and external or virtual data sets."""

    strange = []

    def check_link(name, link):
        if not isinstance(link, h5py.HardLink):
            strange.append(name)

    def check_object(name, found):
        if isinstance(found, h5py.Dataset) and (found.external or found.is_virtual):
            strange.append(name)

    # h5py cannot pass on an exception from these.
    file.visititems_links(check_link)
    if not strange:
        file.visititems(check_object)
    if strange:
        raise WeightsError(
            f"Its entry {strange[0]} points elsewhere, which a weights file has no need of; it was "
            "not followed."
        )


def _load_newer(model: keras.Model, path: Path) -> None:
    if not path.name.endswith((".weights.h5", ".keras")):
        raise WeightsError(
            "It is in the format of Keras 3. Rename it so that it ends in .weights.h5."
        )
    try:
        model.load_weights(path)
    except ValueError as error:
        raise WeightsError(f"Keras reports: {error}") from error


def _check_newer(model: keras.Model, file: h5py.File) -> None:
    """Compares the groups with weights in a file of Keras 3 with the model's layers."""
    if "layers" not in file:
        raise WeightsError(
            f"It holds no layers. Expected: a file of model.save_weights() or model.save(). "
            f"Received the groups: {', '.join(list(file)[:6]) or 'none'}."
        )
    received = {name for name, group in file["layers"].items() if _count_datasets(group)}
    layers = _group_names(model)
    expected = {name for name, layer in layers.items() if layer.weights}
    missing = [f"{name} ({layers[name].name})" for name in expected - received]
    # The classifier is one or more Dense layers; a layer without weights may have random state.
    extra = [
        name for name in received - set(layers) if not re.fullmatch(r"(dense|dropout)(_\d+)?", name)
    ]
    if missing or extra:
        raise WeightsError(
            f"Expected {len(expected)} layers with weights, received {len(received)}"
            f"{_listed('; missing', missing)}{_listed('; not expected', extra)}."
        )
    for name in sorted(expected):
        variables = file["layers"][name].get("vars", {})
        # A layer made of layers has none itself; Keras checks those inside.
        if len(variables):
            shapes = [variables[str(number)].shape for number in range(len(variables))]
            _check_shapes(layers[name], shapes, name)


def _group_names(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Keras 3 calls the group of a layer by its class and a number, never by its name."""
    counts, groups = {}, {}
    for layer in model.layers:
        name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
        name = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
        number = counts.get(name, 0)
        counts[name] = number + 1
        groups[f"{name}_{number}" if number else name] = layer
    return groups


def _count_datasets(group: h5py.Group) -> int:
    found = []
    group.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return len(found)


def _load_older(model: keras.Model, group: h5py.Group) -> None:
    """Sets weights from the format of Keras 2: layers in the model's order, names do not count.

    Names cannot count: keras.applications number some layers by what else a process has built.
    """
    saved = [
        (name, arrays) for name in _names(group, "layer_names") if (arrays := _arrays(group[name]))
    ]
    layers = [layer for layer in model.layers if layer.weights]
    while len(saved) > len(layers) and saved[-1][1][0].ndim == 2:
        saved.pop()
    if len(saved) != len(layers):
        raise WeightsError(
            f"Expected {len(layers)} layers with weights, from {layers[0].name} to "
            f"{layers[-1].name}. Received {len(saved)}, from {saved[0][0] if saved else 'none'} to "
            f"{saved[-1][0] if saved else 'none'}."
        )
    for layer, (name, arrays) in zip(layers, saved, strict=True):
        _check_shapes(layer, [array.shape for array in arrays], name)
    for layer, (_, arrays) in zip(layers, saved, strict=True):
        for weight, array in zip(_in_file_order(layer), arrays, strict=True):
            weight.assign(array)
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def _check_shapes(layer: keras.layers.Layer, received: list[tuple], name: str) -> None:
    expected = [tuple(weight.shape) for weight in _in_file_order(layer)]
    if expected != received:
        raise WeightsError(
            f"Layer {layer.name} expects weights of the shapes {expected}. Received {received} "
            f"from {name}."
        )


def _in_file_order(layer: keras.layers.Layer) -> list:
    return layer.trainable_weights + layer.non_trainable_weights


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names, which Keras divides into `NAME0`, `NAME1`, ... when it is long."""
    if attribute in group.attrs:
        parts = [group.attrs[attribute]]
    else:
        parts = []
        while f"{attribute}{len(parts)}" in group.attrs:
            parts.append(group.attrs[f"{attribute}{len(parts)}"])
    return [name.decode() if isinstance(name, bytes) else name for part in parts for name in part]


def _arrays(group: h5py.Group) -> list[np.ndarray]:
    return [np.asarray(group[name]) for name in _names(group, "weight_names")]


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    return f"{what}: {', '.join(sorted(names)[:4])}{', ...' if len(names) > 4 else ''}"
