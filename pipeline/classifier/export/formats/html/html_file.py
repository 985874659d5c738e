"""Writes the page: the ONNX model, the runtime in WebAssembly and the labels, packed into HTML."""

import base64
import gzip
import re
import tempfile
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from pipeline.classifier.export.contents import PROBABILITIES
from pipeline.classifier.export.formats.format import CannotExportError, Settings
from pipeline.classifier.export.formats.html.made_pictures import make_test_picture
from pipeline.classifier.export.formats.html.narrow import narrow
from pipeline.classifier.export.formats.onnx_file import write_onnx
from pipeline.classifier.export.whole_network import WholeNetwork
from pipeline.report.page_frame import read_template, render_page
from pipeline.runs.manifest import Manifest
from pipeline.runs.run_folder import Run

EASY_BYTES = 25_000_000  # of a page that a phone opens with ease
MOST_BYTES = 250_000_000  # browsers hold no text of 512 MB, and phones far less
N_FIRST = 8  # names of classes at the top of the page
_N_TRIED, _N_REFERENCE = 8, 2  # test pictures
_SCRIPTS = (
    *("unpack", "fit_pixels", "classifier", "check_device", "pictures", "camera", "answers"),
    "page",
)
_RUNTIME = "vendor/ort-wasm-simd-threaded.wasm.gz"
_SPLITS = {
    "test": "images kept back for testing",
    "folds": "images, each by a head that had not seen it",
    "val": "images that it did not learn from but was chosen by",
    "train": "images that it learned from, which flatters it",
}
_RESIZED = {
    "stretch": "stretched to a square",
    "crop": "the middle square of them",
    "pad": "filled up to a square",
}


@dataclass(frozen=True)
class PageContents:
    """What the template writes out itself.

    Args:
        first_names: of classes; of `n_further` the names stand in the answers alone.
        facts: names and values, for those who want to know.
    """

    title: str
    n_classes: int
    first_names: list[str]
    n_further: int
    facts: list[tuple[str, str]]


def write_html(network: WholeNetwork, path: Path, settings: Settings) -> list[str]:
    """Writes `model.html`.

    Raises:
        CannotExportError: it would be too large for a browser.
    """
    page = draw_page(network.run, _make_model(network, settings), settings.precision)
    n_bytes = len(page.encode())
    if n_bytes > MOST_BYTES:
        raise CannotExportError(
            f"the page would be {n_bytes / 1e6:,.0f} MB, more than browsers open with certainty; "
            f"expected {MOST_BYTES / 1e6:,.0f} MB at most"
        )
    path.write_text(page, "utf-8")
    if n_bytes <= EASY_BYTES:
        return []
    return [
        f"The page is {n_bytes / 1e6:.0f} MB, which takes a phone long to open; up to "
        f"{EASY_BYTES / 1e6:.0f} MB are easy."
    ]


def draw_page(run: Run, model: bytes, precision: str) -> str:
    """The page, HTML.

    Args:
        model: the ONNX file.
        precision: of its weights.
    """
    scripts = (_read(f"templates/scripts/{name}.js") for name in _SCRIPTS)
    return render_page(
        _read_template,
        "page.html.j2",
        _describe(run, precision),
        _state_facts(run, _choose_references(model, run.recipe.image_size)),
        read_template("styles/base.css") + _read("templates/page.css"),
        "\n".join([_read("vendor/ort.js"), *scripts]),
        {
            "model": _pack(model),
            "runtime": _encode(_read_bytes(_RUNTIME)),
            "licence": _read("vendor/LICENSE"),
            "runtime_version": runtime_version(),
        },
    )


def runtime_version() -> str:
    """Of ONNX Runtime Web."""
    found = re.search(r"ONNX Runtime Web v([\d.]+)", _read("vendor/ort.js"))
    if found is None:
        raise ValueError("Expected a version in the first lines of vendor/ort.js. Received none")
    return found[1]


def _make_model(network: WholeNetwork, settings: Settings) -> bytes:
    """The ONNX file; float16 is of its weights alone."""
    with tempfile.TemporaryDirectory(prefix="frostline-export-") as folder:
        path = Path(folder, "model.onnx")
        write_onnx(network, path, replace(settings, precision="float32"))
        model = onnx.load(path)
    narrow(model, loses_digits=settings.precision == "float16")
    made: bytes = model.SerializeToString()
    return made


def _choose_references(model: bytes, size: int) -> list[dict[str, Any]]:
    """Test pictures of which the model is least sure, where a difference shows most."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    made = []
    for seed in range(1, _N_TRIED + 1):
        pixels = make_test_picture(seed, size)[np.newaxis]
        (probabilities,) = session.run([PROBABILITIES], {"image": pixels})
        made.append({"seed": seed, "probabilities": probabilities[0].tolist()})
    return sorted(made, key=lambda one: max(one["probabilities"]))[:_N_REFERENCE]


def _state_facts(run: Run, references: list[dict[str, Any]]) -> dict[str, Any]:
    """What the scripts read."""
    recipe, promise = run.recipe, run.manifest.promise
    return {
        "class_names": run.class_names,
        "input": {
            "size": recipe.image_size,
            "resize": recipe.resize,
            "background": recipe.background,
        },
        "promise": promise
        and {
            "least_confidence": promise.least_confidence,
            "greatest_distance": promise.greatest_distance,
        },
        "reference": references,
    }


def _describe(run: Run, precision: str) -> PageContents:
    manifest, recipe = run.manifest, run.recipe
    backbones = " and ".join(used.recipe.backbone for used in manifest.backbones)
    facts = [
        ("Name", run.name),
        ("Made", manifest.created[:10]),
        ("Right answers", _describe_score(manifest)),
        *([("Promise", manifest.promise.describe())] if manifest.promise else []),
        ("Network", f"{backbones}, weights in {precision}"),
        ("Pictures", f"{recipe.image_size} x {recipe.image_size}, {_RESIZED[recipe.resize]}"),
        ("Runs in", f"ONNX Runtime Web {runtime_version()}, on this device"),
    ]
    names = run.class_names
    first = names if len(names) <= N_FIRST + 1 else names[:N_FIRST]
    return PageContents(
        f"What is this? {run.name}", len(names), first, len(names) - len(first), facts
    )


def _describe_score(manifest: Manifest) -> str:
    split = manifest.scored_split
    scores = manifest.metrics[split]
    low, high = scores.accuracy_interval
    return (
        f"{scores.accuracy:.1%} of {scores.n_samples:,} {_SPLITS[split]} "
        f"(95% interval {low:.1%} to {high:.1%})"
    )


def _pack(data: bytes) -> str:
    return _encode(gzip.compress(data, 9, mtime=0))


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _read_bytes(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()


def _read_template(name: str) -> str:
    return _read(f"templates/{name}")


def _read(name: str) -> str:
    return _read_bytes(name).decode()
