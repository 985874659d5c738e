"""What a stranger may put into the files of a run that hold numbers and networks."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.attacks.strangers import READERS, Evil
from benchmarks.attacks.workplace import Tally, Workplace, find_leftovers, judge, name_outcome

Arrays = dict[str, np.ndarray]
Members = dict[str, bytes]
CONFIG, WEIGHTS = "config.json", "model.weights.h5"


def _with(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, name: change(arrays[name])}


def _as_objects(array: np.ndarray) -> np.ndarray:
    return np.array([Evil()] * len(array), object)


HEADS: dict[str, Callable[[Arrays], Arrays]] = {
    "objects": _with("kernel", _as_objects),
    "NaN": _with("kernel", lambda array: np.full_like(array, np.nan)),
    "another shape": _with("kernel", lambda array: array[:-1]),
    "transposed": _with("kernel", lambda array: array.T),
    "text": _with("bias", lambda array: array.astype("U9")),
    "no bias": lambda arrays: {name: part for name, part in arrays.items() if name != "bias"},
    "classes the other way round": _with("kernel", lambda array: array[:, ::-1]),
}
PROBES: dict[str, Callable[[Arrays], Arrays]] = {
    "other pixels": _with("pixels", lambda array: array[::-1]),
    "other features": _with("features", lambda array: array[::-1] + 1),
    "NaN": _with("features", lambda array: np.full_like(array, np.nan)),
    "other sizes": _with("pixels", lambda array: array[:, :16]),
    "none": lambda arrays: {name: part[:0] for name, part in arrays.items()},
}


def attack_arrays(place: Workplace, names: tuple[str, ...]) -> Iterator[Tally]:
    """head.npz and probes.npz that lie."""
    for file, changes in (("head.npz", HEADS), ("probes.npz", PROBES)):
        tally = Tally(f"{file} of {len(changes)} kinds", ", ".join(names))
        for name in names:
            for title, change in changes.items():
                with place.copy("run", "photos") as folder:
                    path = folder / "run" / file
                    with np.load(path) as good:
                        arrays = {key: good[key] for key in good.files}
                    np.savez(path, **change(arrays))
                    (folder / "run" / "parity.json").unlink(missing_ok=True)
                    _refuse(place, READERS[name], folder, tally, f"{name}, {file} {title}")
        yield tally


def _edit(kind: str, **values: object) -> Callable[[Members], Members]:
    """The first layer of a kind, anywhere in the configuration, gets other values."""

    def change(members: Members) -> Members:
        config = json.loads(members[CONFIG])
        _find_layer(config, kind).update(values)
        return {**members, CONFIG: json.dumps(config).encode()}

    return change


def _find_layer(part: object, kind: str) -> dict:
    waiting = [part]
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, dict):
            if part.get("class_name") == kind:
                return part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    raise LookupError(kind)


def _dense_of(units: int) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        config = json.loads(members[CONFIG])
        _find_layer(config, "Dense")["config"]["units"] = units
        return {**members, CONFIG: json.dumps(config).encode()}

    return change


MODELS: dict[str, Callable[[Members], Members]] = {
    "a Lambda": _edit("ReLU", class_name="Lambda", config={"function": "os.system"}),
    "a registered name": _edit("ReLU", registered_name="mine>Evil"),
    "another module": _edit("ReLU", module="os", class_name="system"),
    "4 million units": _dense_of(4_000_000),
    "2^50 units": _dense_of(2**50),
    "a path that leads out": lambda members: {**members, "../../evil": b"x"},
    "a member too many": lambda members: {**members, "assets/x": b"x"},
    "no weights": lambda members: {n: data for n, data in members.items() if n != WEIGHTS},
    "weights that are none": lambda members: {**members, WEIGHTS: b"x" * 1000},
    "a configuration without end": lambda members: {**members, CONFIG: b"[" * 100_000},
    "a configuration of 20 MB": lambda members: {**members, CONFIG: b" " * 20_000_000},
    "other weights": lambda members: {**members, WEIGHTS: _shuffle(members[WEIGHTS])},
}


def _shuffle(data: bytes) -> bytes:
    import h5py

    stream = io.BytesIO(data)
    with h5py.File(stream, "r+") as file:

        def visit(_: str, found: object) -> None:
            if isinstance(found, h5py.Dataset) and found.ndim == 4:
                found[...] = found[...][::-1]

        file.visititems(visit)
    return stream.getvalue()


def attack_models(place: Workplace, names: tuple[str, ...] = ("predict",)) -> Iterator[Tally]:
    """model.keras of a fine-tuned run."""
    tally = Tally(f"model.keras of {len(MODELS)} kinds", ", ".join(names))
    for name in names:
        for title, change in MODELS.items():
            with place.copy("tuned", "photos") as folder:
                (folder / "tuned").rename(folder / "run")
                path = folder / "run" / "model.keras"
                _rewrite(path, change)
                (folder / "run" / "parity.json").unlink(missing_ok=True)
                _refuse(place, READERS[name], folder, tally, f"{name}, model.keras with {title}")
    yield tally


def _rewrite(path: Path, change: Callable[[Members], Members]) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in change(members).items():
            archive.writestr(name, data)


def _refuse(
    place: Workplace, arguments: tuple[str, ...], folder: Path, tally: Tally, title: str
) -> None:
    # In a new Python: what is tried may start TensorFlow, whose threads survive no fork.
    end = place.run(arguments, folder, is_warm=False)
    wrong = judge(end, may=(1,), most_mb=2000)
    if (folder / "was-here").exists():
        wrong.append("EXECUTED")
    if find_leftovers(folder):
        wrong.append(f"left over: {find_leftovers(folder)}")
    tally.add(name_outcome(end), [f"{title}: {one}" for one in wrong])
