"""Says whether a model that Frostline exported gives here what it gave there; if not, why.

    python check.py                         every model of this export whose runtime is here
    python check.py model.onnx              one of them, or a copy or a conversion, wherever it is
    python check.py --answers answers.json  what an app of yours said to the reference images

Needs Python 3.9, numpy and the model's own runtime, nothing else. Exit code 0: all that was checked
gives the same; 1: something does not, or there was nothing to check.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

Outputs = dict[str, np.ndarray]
Run = Callable[[np.ndarray], Outputs]


def open_onnx(path: str) -> tuple[Run, str]:
    import onnxruntime

    return open_onnx_session(path), f"onnxruntime {onnxruntime.__version__}"


def open_onnx_session(model: str | bytes) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    image = session.get_inputs()[0].name

    def run(pixels: np.ndarray) -> Outputs:
        return dict(zip(names, session.run(names, {image: pixels})))

    return run


def open_html(path: str) -> tuple[Run, str]:
    """The model in the page, in the same runtime; a browser runs it in WebAssembly."""
    import onnxruntime

    model = gzip.decompress(base64.b64decode(read_data(path, "model")))
    return open_onnx_session(model), f"onnxruntime {onnxruntime.__version__}"


def read_data(page: str | Path, name: str) -> str:
    """What an HTML page has in its data block of this name."""
    _, _, rest = Path(page).read_text("utf-8").partition(f'<script id="{name}" type="')
    return rest.partition(">")[2].partition("</script>")[0]


def open_openvino(path: str) -> tuple[Run, str]:
    import openvino

    core = openvino.Core()
    read = core.read_model(path)
    hint = "INFERENCE_PRECISION_HINT"  # without it, bfloat16 on processors that have it
    place = ["frostline", hint]
    wanted = read.get_rt_info(place).astype(str) if read.has_rt_info(place) else "f32"
    model = core.compile_model(read, "CPU", {hint: wanted})

    def run(pixels: np.ndarray) -> Outputs:
        found = model(pixels)
        return {port.get_any_name(): found[port] for port in model.outputs}

    return run, f"openvino {openvino.__version__.split('-')[0]}"


def open_litert(path: str) -> tuple[Run, str]:
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    runner = interpreter.get_signature_runner("serving_default")

    def run(pixels: np.ndarray) -> Outputs:
        parts = [runner(image=pixels[row : row + 1]) for row in range(len(pixels))]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return run, f"ai-edge-litert {version('ai-edge-litert')}"


def open_saved_model(path: str) -> tuple[Run, str]:
    import tensorflow as tf

    model = tf.saved_model.load(path)

    def run(pixels: np.ndarray) -> Outputs:
        return {
            name: value.numpy()
            for name, value in model.signatures["serving_default"](
                image=tf.constant(pixels)
            ).items()
        }

    return run, f"tensorflow {tf.__version__}"


def open_keras(path: str) -> tuple[Run, str]:
    import keras

    model = keras.saving.load_model(path)

    def run(pixels: np.ndarray) -> Outputs:
        found = model(pixels.astype(np.float32), training=False)
        return {name: np.asarray(value) for name, value in found.items()}

    return run, f"keras {keras.__version__}"


OPENERS = {
    "onnx": open_onnx,
    "openvino": open_openvino,
    "litert": open_litert,
    "saved-model": open_saved_model,
    "keras": open_keras,
    "html": open_html,
}


PACKAGES = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "litert": "ai-edge-litert",
    "saved-model": "tensorflow",
    "keras": "keras tensorflow",
    "html": "onnxruntime",
}
SUFFIXES = {
    ".onnx": "onnx",
    ".xml": "openvino",
    ".tflite": "litert",
    ".keras": "keras",
    ".html": "html",
}

HERE = Path(__file__).resolve().parent
OWN = "int8"  # whose models say something else than the run: what they said is beside it
TOLERANCE = 1e-4  # of a probability, where an export does not say it
N_SEARCH = 6  # references that a reason is looked for with
_N_ALONE = 8  # images that are given alone, too
_BATCHES_APART = 0.02  # by how much rounding may tell an image alone from one in a batch
_OF_8_BITS = 0.1  # by how much coarse rounding may change a probability
_MOST_OF_AN_APP = 0.05  # where pictures are decoded and resized by another program
_LEAST_ALIKE = 0.9  # share of equal classes from which on few bits are a reason
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet's images, as torchvision has them
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
_MEAN_COLOUR = np.array([123.68, 116.779, 103.939], np.float32)  # as Caffe has it

# What is done to RGB 0..255, float32 `(n, height, width, 3)`, where it should be left alone.
Change = Callable[[np.ndarray], np.ndarray]
SCALES: dict[str, Change] = {
    "scaled to 0..1": lambda pixels: pixels / 255,
    "scaled to -1..1": lambda pixels: pixels / 127.5 - 1,
    "normalized by ImageNet's mean and deviation": lambda x: (x / 255 - _MEAN) / _DEVIATION,
    "less ImageNet's mean colour": lambda pixels: pixels - _MEAN_COLOUR,
}
BGR = "in the order blue, green, red (BGR)"
PLACES: dict[str, Change] = {
    BGR: lambda pixels: pixels[..., ::-1],
    "mirrored": lambda pixels: pixels[:, :, ::-1],
    "upside down": lambda pixels: pixels[:, ::-1],
    "turned by 180 degrees": lambda pixels: pixels[:, ::-1, ::-1],
    "turned by 90 degrees to the left": lambda pixels: np.rot90(pixels, 1, (1, 2)),
    "turned by 90 degrees to the right": lambda pixels: np.rot90(pixels, -1, (1, 2)),
    "with rows for columns": lambda pixels: pixels.transpose(0, 2, 1, 3),
}
_LAYOUT = "with the channels first (NCHW)"


class Export(NamedTuple):
    """What an export says of itself.

    Args:
        folder: that it lies in.
        models: by name of the format, as in `export.json`.
        class_names: in the order of the probabilities.
        pixels: of the references, uint8 `(n, height, width, 3)`.
        probabilities: that the run gives them, `(n, n_classes)`.
        distance: likewise, `(n,)`; None where the run measures none.
        rows: of `mistakes` among the references.
        mistakes: what the run says of references that were prepared wrongly, by what was done.
        own: what 8-bit models said of the references, by name of the format.
        slack: how far what is expected is from what the run says.
    """

    folder: Path
    models: dict[str, Any]
    class_names: list[str]
    pixels: np.ndarray
    probabilities: np.ndarray
    distance: np.ndarray | None
    rows: np.ndarray
    mistakes: dict[str, np.ndarray]
    own: dict[str, Outputs]
    slack: float = 0.0


class Fit(NamedTuple):
    """A reason that explains what a model says, and what is left unexplained."""

    difference: float
    words: list[str]


def read_export(folder: Path) -> Export:
    contents = json.loads((folder / "export.json").read_text("utf-8"))
    with np.load(folder / contents["reference"]) as file:
        arrays = {name: file[name] for name in file.files}
    own: dict[str, Outputs] = {}
    for name, values in arrays.items():
        if name.startswith(f"{OWN}/"):
            _, form, output = name.split("/")
            own.setdefault(form, {})[output] = values
    return Export(
        folder,
        contents["models"],
        contents["class_names"],
        arrays["pixels"],
        arrays["probabilities"],
        arrays.get("distance"),
        arrays["rows"],
        {name: arrays["mistaken"][row] for row, name in enumerate(arrays["mistakes"].tolist())},
        own,
    )


def expect_of(form: str, export: Export) -> Export:
    """An export whose expected numbers are those of a format's model: the run's, or its own."""
    own = export.own.get(form)
    if own is None:
        return export
    return export._replace(
        probabilities=own["probabilities"],
        distance=own.get("distance"),
        slack=differ(own["probabilities"], export.probabilities),
    )


def list_mistakes() -> Iterator[tuple[str, Change]]:
    """Each way in which pixels are often prepared wrongly."""
    yield from SCALES.items()
    yield from PLACES.items()
    for name, scale in SCALES.items():
        yield f"{name} and {BGR}", in_turn(scale, PLACES[BGR])


def in_turn(first: Change, second: Change) -> Change:
    return lambda pixels: second(first(pixels))


def run_in_batches(run: Run, pixels: np.ndarray, size: int = 16) -> Outputs:
    parts = [run(pixels[start : start + size]) for start in range(0, len(pixels), size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def read_labels(path: Path, form: str) -> list[str] | None:
    """The names that a model's file has inside; None where it has none."""
    text = None
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        text = session.get_modelmeta().custom_metadata_map.get("labels.txt")
    elif form == "openvino":
        found = ElementTree.parse(path).find("rt_info/frostline/labels.txt")
        text = None if found is None else found.get("value")
    elif form == "saved-model":
        asset = path / "assets" / "labels.txt"
        text = asset.read_text("utf-8") if asset.is_file() else None
    elif form == "html":
        return [one_line(name) for name in json.loads(read_data(path, "facts"))["class_names"]]
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            inside = [name for name in file.namelist() if Path(name).name == "labels.txt"]
            text = file.read(inside[0]).decode("utf-8") if inside else None
    return None if text is None else text.rstrip("\n").split("\n")


def find_probabilities(outputs: Outputs, n_classes: int) -> np.ndarray | None:
    """The output that has a number for each class, by its name or by its shape."""
    tables = [outputs["probabilities"]] if "probabilities" in outputs else list(outputs.values())
    for table in tables:
        flat = table.reshape(len(table), -1)
        if flat.shape[1] == n_classes:
            return flat.astype(np.float64)
    return None


def differ(received: np.ndarray, expected: np.ndarray) -> float:
    """The greatest difference; infinite where something is no number."""
    difference = np.abs(received - expected)
    return float(difference.max()) if np.isfinite(difference).all() else np.inf


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def find_order(received: np.ndarray, expected: np.ndarray, tolerance: float) -> np.ndarray | None:
    """The class of each column, where other columns than expected explain what was received."""
    n_classes = expected.shape[1]
    costs = np.stack([np.abs(expected - column[:, None]).max(axis=0) for column in received.T])
    costs[np.arange(n_classes), np.arange(n_classes)] -= tolerance  # as it was, where both would do
    order = np.full(n_classes, -1)
    is_free = np.ones(n_classes, bool)
    for pair in np.argsort(costs, axis=None, kind="stable"):
        column, name = divmod(int(pair), n_classes)
        if order[column] < 0 and is_free[name]:
            order[column], is_free[name] = name, False
    return order if differ(received, expected[:, order]) <= tolerance else None


def explain_scores(
    received: np.ndarray, expected: np.ndarray, class_names: list[str], tolerance: float
) -> Fit | None:
    """What has to be done to what a model says, so that it says what is expected."""
    if not np.isfinite(received).all():
        return None
    is_share = received.min() >= -1e-3 and received.max() <= 1 + 1e-3
    readings: list[tuple[list[str], np.ndarray]] = [([], received)]
    if not is_share:
        words = "It gives scores, not probabilities: the softmax at its end is missing."
        readings.append(([words], softmax(received)))
    elif differ(received, softmax(expected)) <= tolerance:
        twice = "The softmax is taken twice: once in the model, once behind it."
        return Fit(differ(received, softmax(expected)), [twice])
    for reasons, table in readings:
        difference = differ(table, expected)
        if difference <= tolerance:
            return Fit(difference, reasons)
        order = find_order(table, expected, tolerance)
        if order is not None:
            difference = differ(table, expected[:, order])
            return Fit(difference, [*reasons, describe_order(order.tolist(), class_names)])
    return None


def describe_order(order: list[int], class_names: list[str]) -> str:
    here = [class_names[place] for place in order]
    return "It has the classes in another order. " + compare_names(here, class_names)


def compare_names(here: list[str], expected: list[str], n_shown: int = 10) -> str:
    """Both lists, or of long ones the places where they differ."""
    if len(here) == len(expected) > n_shown:
        places = [place for place, name in enumerate(here) if name != expected[place]]
        shown = "; ".join(f"{p}: {here[p]}, not {expected[p]}" for p in places[:n_shown])
        rest = len(places) - n_shown
        return f"By place, from 0: {shown}{f'; and {rest} more' if rest > 0 else ''}."
    return (
        f"Here: {', '.join(here[: 2 * n_shown])}. Expected: {', '.join(expected[: 2 * n_shown])}."
    )


def explain_by_mistakes(received: np.ndarray, export: Export, tolerance: float) -> Fit | None:
    """The known mistake after which the run itself says what was received, or nearly."""
    fits = []
    for name, expected in export.mistakes.items():
        fit = explain_scores(received[export.rows], expected, export.class_names, tolerance)
        if fit is not None:
            words = f"This is what the run says of pixels {name}."
            advice = "Something in the model or before it does that, and should not."
            fits.append(Fit(fit.difference, [words, *fit.words, advice]))
    return min(fits, default=None)


def list_forms(pixels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Pixels in each form that a model may take them in."""
    floats = pixels.astype(np.float32)
    changes = [("", lambda pixels: pixels), *list_mistakes()]
    for name, change in changes:
        for layout in ("", _LAYOUT):
            words = " and ".join(filter(None, (name, layout)))
            kinds = [floats] if any(scale in name for scale in SCALES) else [pixels, floats]
            for kind in kinds if words else []:
                changed = change(kind)
                yield (
                    words,
                    np.ascontiguousarray(changed.transpose(0, 3, 1, 2) if layout else changed),
                )


def explain_by_forms(run: Run, export: Export, tolerance: float) -> Fit | None:
    """The form of the pixels in which a model says what is expected."""
    expected = export.probabilities[export.rows]
    for name, pixels in list_forms(export.pixels[export.rows]):
        try:
            outputs = run_in_batches(run, pixels, 1)
        except Exception:  # each runtime has its own ways to say: not in this form
            continue
        received = find_probabilities(outputs, expected.shape[1])
        fit = received is not None and explain_scores(
            received, expected, export.class_names, tolerance
        )
        if fit:
            words = f"It says what is expected if it is given pixels {name}."
            advice = "It was exported for RGB 0..255, height by width by 3: convert it anew so."
            return Fit(fit.difference, [words, *fit.words, advice])
    return None


def describe_unknown(received: np.ndarray, expected: np.ndarray, form: str) -> list[str]:
    """What can be said where no known mistake explains it."""
    if not np.isfinite(received).all():
        return ["Some of its numbers are NaN or infinite."]
    same = int((received.argmax(axis=1) == expected.argmax(axis=1)).sum())
    n_images = len(expected)
    if same < _LEAST_ALIKE * n_images:
        return [
            f"The class is the same for {same} of {n_images} images, and none of the mistakes that "
            "are known explains it. It may be another model, or get other pixels.",
        ]
    lines = [
        f"The class is the same for {same} of {n_images} images. So it is after computation in "
        "fewer bits (float16, bfloat16, int8), or another resizing of the images. If that is "
        "meant, --tolerance allows it.",
    ]
    if form == "openvino":
        lines.append(
            "OpenVINO computes in bfloat16 where a processor can, unless it is told "
            "INFERENCE_PRECISION_HINT = f32."
        )
    return lines


def judge(
    received: np.ndarray, export: Export, tolerance: float, form: str, run: Run | None
) -> tuple[bool, str, list[str]]:
    """Whether probabilities are as expected, how far they are, and why not."""
    expected = export.probabilities
    difference = differ(received, expected)
    said = f"{len(expected)} images, probabilities differ by up to {difference:.1g}"
    said += f" (allowed: {tolerance:g})"
    if difference <= tolerance:
        return True, said, []
    most = max(tolerance, 1e-3) if run is not None else _MOST_OF_AN_APP
    loose = min(most, difference / 5)  # what a reason may leave unexplained
    fit = explain_scores(received, expected, export.class_names, loose)
    if fit is None and run is not None:
        fit = explain_by_forms(run, export, loose)
    if fit is None:
        fit = explain_by_mistakes(received, export, min(most + export.slack, difference / 5))
    words = describe_unknown(received, expected, form) if fit is None else fit.words
    return False, said, words


def check_model(path: Path, form: str, export: Export, tolerance: float) -> tuple[bool, list[str]]:
    """Runs a model on the references."""
    run, runtime = OPENERS[form](str(path))
    head = f"{form}: {path.name} in {runtime}"
    names = check_names(path, form, export)
    notes = [*names, *check_file(path, form, export)]
    try:
        outputs, kind = run_as_it_takes(run, export.pixels)
    except Exception as error:  # each runtime has its own
        fit = explain_by_forms(run, export, max(tolerance, 1e-3))
        words = [f"It does not run on RGB 0..255: {shorten(error)}"] if fit is None else fit.words
        return False, [f"{head}: WRONG.", *words, *notes]
    received = find_probabilities(outputs, len(export.class_names))
    if received is None:
        shapes = ", ".join(f"{name} {value.shape}" for name, value in outputs.items())
        n_classes = len(export.class_names)
        words = [f"It is another model: no output has {n_classes} numbers. Outputs: {shapes}"]
        return False, [f"{head}: WRONG.", *words, *notes]
    is_right, said, words = judge(received, export, tolerance, form, run)
    if is_right and kind != "uint8":
        words = [f"It takes {kind} where it was exported for uint8; the values are the same."]
    if is_right and export.distance is not None:
        is_right, more = check_distance(outputs, export.distance, tolerance)
        words = [*words, *more]
    is_right = is_right and not names
    return is_right, [f"{head}: {'right' if is_right else 'WRONG'}. {said}.", *words, *notes]


def check_names(path: Path, form: str, export: Export) -> list[str]:
    """What is wrong with the names of the classes in a model's file."""
    labels = read_labels(path, form)
    if labels is None or labels == [one_line(name) for name in export.class_names]:
        return []
    words = compare_names(labels, export.class_names)
    return [f"The classes have other names in the file, or another order of them. {words}"]


def run_as_it_takes(run: Run, pixels: np.ndarray) -> tuple[Outputs, str]:
    """What a model says, and the kind of numbers that it takes."""
    try:
        return run_in_batches(run, pixels, 1), "uint8"
    except Exception as error:  # each runtime has its own
        try:
            return run_in_batches(run, pixels.astype(np.float32), 1), "float32"
        except Exception:
            raise error from None


def check_distance(
    outputs: Outputs, expected: np.ndarray, tolerance: float
) -> tuple[bool, list[str]]:
    if "distance" not in outputs:
        words = "The output `distance` is missing: it cannot say what is unlike anything seen."
        return False, [words]
    difference = differ(outputs["distance"].reshape(-1), expected)
    words = f"Distances differ by up to {difference:.1g} (allowed: {tolerance:g})."
    return difference <= tolerance, [] if difference <= tolerance else [words]


def check_file(path: Path, form: str, export: Export) -> list[str]:
    """Says whether it is the file that was exported."""
    known = export.models.get(form, {}).get("sha256", {})
    for name, sha256 in known.items():
        inside = path.joinpath(*Path(name).parts[1:])
        file = inside if path.is_dir() else path.with_suffix(Path(name).suffix)
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            return [f"{file.name} is not what was exported: changed, converted or another."]
    return []


def one_line(name: str) -> str:
    """A name as `labels.txt` has it: a line, in UTF-8."""
    kept = "".join(
        letter if (letter + "x").splitlines() == [letter + "x"] else ascii(letter)[1:-1]
        for letter in name
    )
    return kept.encode("utf-8", "backslashreplace").decode("utf-8")


def shorten(error: Exception) -> str:
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return words if len(words) <= 300 else words[:297] + "..."


def find_form(path: Path) -> str:
    if (path / "saved_model.pb").is_file():
        return "saved-model"
    return SUFFIXES.get(path.suffix.lower(), "")


def check_all(
    export: Export, wanted: list[tuple[Path, str]], tolerance: float | None
) -> Iterator[tuple[bool | None, list[str]]]:
    """For each model whether it is right, None where its runtime is not here, and words."""
    for path, form in wanted:
        model = export.models.get(form, {})
        allowed = model.get("proof", {}).get("tolerance", TOLERANCE)
        if form not in OPENERS:
            yield None, [f"{form or path.name}: left out; of no format that this program can run."]
            continue
        try:
            expected = expect_of(form, export)
            yield check_model(path, form, expected, allowed if tolerance is None else tolerance)
        except ImportError as error:
            hint = f"pip install {PACKAGES.get(form, form)}"
            yield None, [f"{form}: left out; its runtime is not here ({error}). {hint}"]
        except Exception as error:  # each runtime has its own
            yield False, [f"{form}: WRONG. {path.name} cannot be opened: {shorten(error)}"]


def check_labels(export: Export) -> list[str]:
    """What is wrong with `labels.txt`."""
    path = export.folder / "labels.txt"
    expected = [one_line(name) for name in export.class_names]
    if not path.is_file():
        return ["labels.txt is missing."]
    labels = path.read_text("utf-8").rstrip("\n").split("\n")
    if labels == expected:
        return []
    return [f"labels.txt: WRONG. {compare_names(labels, expected)}"]


def check_answers(path: Path, export: Export, tolerance: float | None) -> tuple[bool, list[str]]:
    """Probabilities that another program gave: an .npy, or JSON with a list for each image."""
    rows = np.load(path) if path.suffix == ".npy" else json.loads(path.read_text("utf-8"))
    received = np.array(rows, np.float64)
    if received.shape != export.probabilities.shape:
        return False, [
            f"{path.name}: WRONG. Expected {len(export.pixels)} lists, one for each reference "
            f"in its order, of {len(export.class_names)} probabilities. Received: "
            f"{' by '.join(map(str, received.shape))}"
        ]
    meant = min(
        (expect_of(form, export) for form in export.models),
        key=lambda one: differ(received, one.probabilities),
        default=export,
    )
    allowed = _OF_8_BITS if meant.slack else 1e-3
    is_right, said, words = judge(
        received, meant, allowed if tolerance is None else tolerance, "", None
    )
    return is_right, [f"{path.name}: {'right' if is_right else 'WRONG'}. {said}.", *words]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Says whether a model that Frostline exported gives here what it gave there; "
        "if not, why."
    )
    parser.add_argument(
        "models",
        nargs="*",
        type=Path,
        help="Files or folders of models; without any, those of this export.",
    )
    parser.add_argument(
        "--answers",
        type=Path,
        help="Instead of a model, what an app said to the reference images: an .npy or JSON, "
        "a list of probabilities for each.",
    )
    parser.add_argument(
        "--tolerance", type=float, help="What a probability may differ by; as proven if not given."
    )
    return parser.parse_args(arguments)


def write_outputs(model: str, form: str, pixels: str, outputs: str) -> int:
    """What `export` itself proves a model with.

    Images alone have to give what they give in a batch: in 8 bits at 32 pixels most did not, in
    OpenVINO 2026.4.
    """
    run, runtime = OPENERS[form](model)
    images = np.load(pixels)
    alone = run_in_batches(run, images[:_N_ALONE], 1)
    found = run_in_batches(run, images)
    for name, rows in found.items():
        apart = float(np.abs(alone[name] - rows[:_N_ALONE]).max())
        if apart > _BATCHES_APART:
            print(
                f"it says something else of an image alone than of the same image among others: "
                f"{name} differ by {apart:.2g}",
                file=sys.stderr,
            )
            return 1
    np.savez(outputs, **found)  # type: ignore[arg-type]
    print(runtime)
    return 0


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["run"] and len(arguments) == 5:
        return write_outputs(*arguments[1:])
    asked = parse(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow tells of its start
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # odd names
    export = read_export(HERE)
    wrong = check_labels(export)
    found: list[tuple[bool | None, list[str]]] = [(False, wrong)] if wrong else []
    if asked.answers is not None:
        found.append(check_answers(asked.answers, export, asked.tolerance))
    else:
        wanted = [(path, find_form(path)) for path in asked.models] or [
            (HERE / model["file"], name) for name, model in export.models.items()
        ]
        found += check_all(export, wanted, asked.tolerance)
    for _, (first, *others) in found:
        print(first, *(f"  {line}" for line in others), sep="\n")
    results = [is_right for is_right, _ in found if is_right is not None]
    if not results:
        print("Nothing was checked.")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
