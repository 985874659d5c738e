"""Loading Keras weight files strictly: every layer gets its weights, and nothing is left over.

Keras itself passes over what a file holds too much, and matches layers by their order. Here the
counts and shapes are checked first, before any number is read. No configuration is read from a
file, and nothing in it is executed.
"""

import io
import re
import zipfile
from collections.abc import Collection
from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import WeightsError
from pipeline.system.keras_on_tensorflow import keras

# A file may hold so many times its own size, in zipped, compressed or unwritten numbers. Trained
# weights shrink by a tenth or so, and pruned ones, mostly zeros, hardly by more than ten times.
MAX_INFLATION = 20
# Below it nobody minds: a network that is small, or all zeros, may shrink as it likes.
ALWAYS_ALLOWED_BYTES = 2**26


def load_keras_weights(model: keras.Model, path: Path, top_layers: Collection[str] = ()) -> None:
    """Sets the weights of a model from a file of Keras 2 or 3.

    The file may hold the classifier too; it is left out. A classifier is made of Dense layers, or
    of 1x1 convolutions that `top_layers` allow for.

    Args:
        model: a built model.
        path: `.weights.h5` or `.keras` as Keras 3 writes them, or the older `.h5` that
            keras.applications publish.
        top_layers: names of layers that the file may hold and the model does not.

    Raises:
        WeightsError: if it is none of these, is damaged, does not fit, or holds numbers that are
            not finite. The model may then have some of the file's weights.
    """
    try:
        content = _read_archive(path) if path.name.endswith(".keras") else path
        with h5py.File(content, "r") as file:
            n_bytes = _refuse_links(file)
            _refuse_inflation(n_bytes, path)
            group = file.get("model_weights", file)
            is_older = "layer_names" in group.attrs or "layer_names0" in group.attrs
            if is_older:
                _load_older(model, group, top_layers)
            else:
                _check_newer(model, file, top_layers)
        if not is_older:
            _load_newer(model, path)
        _refuse_what_is_not_finite(model)
    except WeightsError:
        raise
    except Exception as error:
        # HDF5, h5py and Keras have errors of every kind for damaged bytes.
        raise WeightsError(
            f"It cannot be read as a Keras weights file, it may be damaged: {error}. Expected: "
            ".weights.h5 or .keras from Keras 3, or .h5 from keras.applications."
        ) from error


def _read_archive(path: Path) -> io.BytesIO:
    with zipfile.ZipFile(path) as archive:
        record = archive.getinfo("model.weights.h5")
        _refuse_inflation(record.file_size, path)
        # Never more than that, whatever follows.
        with archive.open(record) as file:
            return io.BytesIO(file.read(record.file_size))


def _refuse_inflation(n_bytes: int, path: Path) -> None:
    received = path.stat().st_size
    if n_bytes > max(MAX_INFLATION * received, ALWAYS_ALLOWED_BYTES):
        raise WeightsError(
            f"It claims to hold {n_bytes} bytes of weights. Expected: at most {MAX_INFLATION} "
            f"times its size. Received: a file of {received} bytes. It may be damaged or made to "
            "fill the memory; save the weights again, without compression."
        )


def _refuse_what_is_not_finite(model: keras.Model) -> None:
    for weight in model.weights:
        if not np.isfinite(np.asarray(weight)).all():
            raise WeightsError(
                f"Its weights {weight.path} are not all finite. Expected: numbers. Received: NaN "
                "or infinity, perhaps from a training that went astray. Use an earlier checkpoint."
            )


def _refuse_links(file: h5py.File) -> int:
    """A file could point to others through links and external or virtual data sets.

    Returns:
        How many bytes all its data sets would take in memory.
    """
    strange: list[str] = []
    sizes: list[int] = []

    def check_link(name: str, link: object) -> None:
        if not isinstance(link, h5py.HardLink):
            strange.append(name)

    def check_object(name: str, found: h5py.Group | h5py.Dataset) -> None:
        if isinstance(found, h5py.Dataset):
            sizes.append(found.nbytes)
            if found.external or found.is_virtual:
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
    return sum(sizes)


def _load_newer(model: keras.Model, path: Path) -> None:
    if not path.name.endswith((".weights.h5", ".keras")):
        raise WeightsError(
            "It is in the format of Keras 3. Rename it so that it ends in .weights.h5."
        )
    try:
        model.load_weights(path)
    except ValueError as error:
        raise WeightsError(f"Keras reports: {error}") from error


def _check_newer(model: keras.Model, file: h5py.File, top_layers: Collection[str]) -> None:
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
    # Its convolutions come last, so theirs are the next numbers.
    n_convolutions = sum(type(layer) is keras.layers.Conv2D for layer in model.layers)
    classifiers = {
        _group_name("conv2d", n_convolutions + number) for number in range(len(top_layers))
    }
    extra = [
        name
        for name in received - set(layers)
        # A layer without weights may have random state.
        if not re.fullmatch(r"(dense|dropout)(_\d+)?", name)
        and not (name in classifiers and _is_1x1(file["layers"][name].get("vars/0")))
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
            arrays = [variables[str(number)] for number in range(len(variables))]
            _check_arrays(layers[name], arrays, name)


def _group_names(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Keras 3 calls the group of a layer by its class and a number, never by its name."""
    counts: dict[str, int] = {}
    groups = {}
    for layer in model.layers:
        name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
        name = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
        number = counts.get(name, 0)
        counts[name] = number + 1
        groups[_group_name(name, number)] = layer
    return groups


def _group_name(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def _is_1x1(kernel: h5py.Dataset | None) -> bool:
    return kernel is not None and kernel.ndim == 4 and kernel.shape[:2] == (1, 1)


def _count_datasets(group: h5py.Group) -> int:
    found = []
    group.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return len(found)


def _load_older(model: keras.Model, group: h5py.Group, top_layers: Collection[str]) -> None:
    """Sets weights from the format of Keras 2: layers in the model's order, names do not count.

    Names cannot count: keras.applications number some layers by what else a process has built. Only
    the classifier's are always the same, but for `Logits` in capitals by Keras 2.
    """
    top_names = {name.lower() for name in top_layers}
    saved = [
        (name, arrays) for name in _names(group, "layer_names") if (arrays := _arrays(group[name]))
    ]
    layers = [layer for layer in model.layers if layer.weights]
    while len(saved) > len(layers):
        name, (kernel, *_) = saved[-1]
        if kernel.ndim != 2 and not (name.lower() in top_names and _is_1x1(kernel)):
            break
        saved.pop()
    if len(saved) != len(layers):
        raise WeightsError(
            f"Expected {len(layers)} layers with weights, from {layers[0].name} to "
            f"{layers[-1].name}. Received {len(saved)}, from {saved[0][0] if saved else 'none'} to "
            f"{saved[-1][0] if saved else 'none'}."
        )
    for layer, (name, arrays) in zip(layers, saved, strict=True):
        _check_arrays(layer, arrays, name)
    for layer, (_, arrays) in zip(layers, saved, strict=True):
        for weight, array in zip(_in_file_order(layer), arrays, strict=True):
            weight.assign(array[()])
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def _check_arrays(layer: keras.layers.Layer, arrays: list[h5py.Dataset], name: str) -> None:
    weights = _in_file_order(layer)
    expected = [tuple(weight.shape) for weight in weights]
    received = [array.shape for array in arrays]
    if expected != received:
        raise WeightsError(
            f"Layer {layer.name} expects weights of the shapes {expected}. Received {received} "
            f"from {name}."
        )
    for weight, array in zip(weights, arrays, strict=True):
        # Only counters, as that of Normalization, are whole numbers.
        if "float" in weight.dtype and array.dtype.kind != "f":
            raise WeightsError(
                f"Layer {layer.name} expects floating-point weights. Received: {array.dtype} from "
                f"{array.name}. Save the weights as floats; quantized ones cannot be used."
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


def _arrays(group: h5py.Group) -> list[h5py.Dataset]:
    """Not read yet: a file of a few kilobytes can claim any shape."""
    return [group[name] for name in _names(group, "weight_names")]


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    return f"{what}: {', '.join(sorted(names)[:4])}{', ...' if len(names) > 4 else ''}"
