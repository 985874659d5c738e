"""Exports a run: a model for elsewhere in one or several formats, each proven by its runtime."""

import importlib.util
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipeline.classifier.export.beside.write_beside import LABELS_FILE, list_labels, write_beside
from pipeline.classifier.export.contents import (
    FILE_NAME,
    FORMAT,
    Contents,
    ModelInput,
)
from pipeline.classifier.export.formats.format import Format, Settings
from pipeline.classifier.export.formats.registry import find_formats
from pipeline.classifier.export.images import (
    HELD_BACK,
    SCORING,
    TRAINING,
    ImagesOfExport,
    choose_rows,
    read_rows,
)
from pipeline.classifier.export.int8.quantize import QUANTIZERS
from pipeline.classifier.export.write_models import Int8Settings, Material, write_models
from pipeline.classifier.load import load_run
from pipeline.classifier.model import Classifier
from pipeline.errors import ExportError, MissingExtraError, ParameterError
from pipeline.runs.predictions import read_predictions
from pipeline.runs.run_folder import Run, claim_output, new_run, open_run
from pipeline.system.paths import as_path
from pipeline.system.progress import OnProgress
from pipeline.system.quiet_start import no_start_up_talk
from pipeline.system.versions import list_versions

FOLDER_NAME = "export"  # in the run, unless told otherwise
PRECISIONS = ("float32", "float16", "bfloat16")
N_PROVING, N_REFERENCE = 200, 20
# Of int8: a tenth of a point of accuracy takes many images; a range is known after few (300 gave
# EfficientNet-Lite0 on flowers nothing that 100 did not).
N_MEASURED, N_CALIBRATION = 2000, 100
_MOST_BYTES = 2**29  # of pixels that are measured on at once
_MARK = (FILE_NAME, FORMAT)
_QUANTIZERS = ("nncf", "ai-edge-quantizer")
_PACKAGES = ("tensorflow", "keras", "openvino", "onnx", "onnxruntime", "tf2onnx", "ai-edge-litert")


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Args:
        folder: that holds it.
        contents: what its `export.json` says.
        seconds: that it took.
    """

    folder: Path
    contents: Contents
    seconds: float

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "folder": str(self.folder),
            "seconds": self.seconds,
            **self.contents.to_dict(),
        }


def export(
    run: Run | str | os.PathLike[str],
    formats: Sequence[str] | str = ("onnx",),
    *,
    precision: str = "float32",
    int8: bool = False,
    accept_loss: bool = False,
    data: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    on_progress: OnProgress = lambda stage, done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Exported:
    """Writes a run's model for elsewhere; RGB 0..255 goes in, probabilities come out.

    Each format's file is run in its own runtime, in a new process, on images of the run; one that
    does not say what the run says is not left behind.

    Args:
        run: a run, its folder, or its name in `runs/`.
        formats: names of `FORMATS`.
        precision: `float32`, `float16` or `bfloat16`.
        int8: weights and computation in 8 bits, calibrated on training images; what that costs is
            measured on others.
        accept_loss: keep an `int8` model even if it costs more than one point of accuracy.
        data: where the images lie now, None for where they lay when the run was made.
        weights: where the backbone's weights lie now, None for where they came from.
        output: the folder; None for `export` in the run.
        force: replace an older export there.
        on_progress: called with a stage, the number done and the number to do.
        on_note: called with a sentence for people.

    Returns:
        What was written, and which formats were refused, each with its reason.

    Raises:
        ParameterError: no such format or precision.
        ExportError: not one of the formats could be written and proven, or what the run does is
            nothing that one model can do.
        MissingExtraError: a format needs packages that are not installed.
        DatasetError, ParityError: the run's images are not there, or were changed.
        RunError, WeightsError: the model cannot be rebuilt, or the output exists.
        LockedError: another process is writing the same export.
        StorageError: it cannot be written.
    """
    started = time.perf_counter()
    wanted = find_formats([formats] if isinstance(formats, str) else list(formats))
    _require_sense(precision, int8=int8, accept_loss=accept_loss)
    wanted, refused = _sort_out(wanted, precision, int8=int8)
    for form in wanted:
        _require_packages(form, int8=int8)
    opened = run if isinstance(run, Run) else open_run(as_path(run, "run"))
    _require_exportable(opened)
    target = opened.folder / FOLDER_NAME if output is None else as_path(output, "output")
    with claim_output(target, force=force, mark=_MARK):
        classifier = load_run(opened, weights, device="cpu")
        root = Path(opened.manifest.data_root) if data is None else as_path(data, "data")
        if int8:
            material = _gather_for_int8(classifier, root, accept_loss, on_progress)
        else:
            material = _gather(classifier, root, on_progress)
        with no_start_up_talk():
            from pipeline.classifier.export.whole_network import build_whole_network
        network = build_whole_network(opened, None if weights is None else str(weights))
        for note in classifier.notes:
            on_note(note)
        settings = Settings(precision, _describe_inside(opened))
        with new_run(target, "", force=force, mark=_MARK) as (folder, final):
            written = write_models(wanted, network, folder, settings, material, on_progress)
            refused |= written.refused
            if not written.models:
                raise ExportError(_list_refused(refused))
            contents = Contents(
                run=opened.name,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                backbones=[used.recipe.backbone for used in opened.manifest.backbones],
                class_names=opened.class_names,
                input=_describe_input(opened),
                outputs=network.output_names,
                models=written.models,
                refused=refused,
                software=list_versions(_PACKAGES + _QUANTIZERS if int8 else _PACKAGES),
            )
            reference = material.proving.take(material.shown)
            write_beside(folder, contents, classifier, network, reference, written.own_answers)
    return Exported(final, contents, time.perf_counter() - started)


def _require_sense(precision: str, *, int8: bool, accept_loss: bool) -> None:
    """Raises a ParameterError for what cannot be meant."""
    if precision not in PRECISIONS:
        raise ParameterError(
            f"Expected `precision` to be one of {', '.join(PRECISIONS)}. Received: {precision}",
            "precision",
        )
    if int8 and precision != "float32":
        raise ParameterError(
            "Expected `int8=True` or another `precision`, not both: 8 bits are the precision then. "
            f"Received: `int8=True` and `precision={precision}`",
            "int8",
        )
    if accept_loss and not int8:
        raise ParameterError(
            "Expected `accept_loss=True` with `int8=True`, which alone may lose accuracy. "
            "Received: `int8=False`",
            "accept_loss",
        )


def _sort_out(
    wanted: list[Format], precision: str, *, int8: bool
) -> tuple[list[Format], dict[str, str]]:
    """The formats that take a precision, and those that do not, each with the reason.

    Raises:
        ExportError: none of the formats takes it.
    """
    refused = {}
    for form in wanted:
        if int8 and form.name not in QUANTIZERS:
            refused[form.name] = (
                f"nothing here makes 8 bits of it; expected one of {', '.join(QUANTIZERS)}"
            )
        elif precision not in form.precisions:
            refused[form.name] = (
                f"it is not written in {precision}; expected {', '.join(form.precisions)}"
            )
    if len(refused) == len(wanted):
        raise ExportError(_list_refused(refused))
    return [form for form in wanted if form.name not in refused], refused


def _require_packages(form: Format, *, int8: bool) -> None:
    needed = dict.fromkeys(form.packages, form.extra)
    if int8:
        needed[QUANTIZERS[form.name].package] = "int8"
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extras = ",".join(dict.fromkeys(needed[name] for name in missing))
        raise MissingExtraError(
            f"The format {form.name} needs packages that are not installed. Expected: an "
            f"installation with them. Received: `formats={form.name}`, and no "
            f"{', '.join(missing)}\nRun: pip install '.[{extras}]' in Frostline's folder"
        )


def _require_exportable(run: Run) -> None:
    """Raises an ExportError for what no one file can do."""
    if run.manifest.tta is not None:
        raise ExportError(
            "This run averages over views of each image, which no exported model makes. Expected "
            f"a run of plain images. Received: {run.folder}\nFit a head without views."
        )
    ways = {
        (used.recipe.image_size, used.recipe.resize, used.recipe.background)
        for used in run.manifest.backbones
    }
    if len(ways) > 1:
        raise ExportError(
            "The backbones of this run see images of several sizes, and an exported model takes "
            f"one. Expected one size and one `resize`. Received: {len(ways)} in {run.folder}"
        )


def _gather(classifier: Classifier, root: Path, on_progress: OnProgress) -> Material:
    run = classifier.run
    predictions = read_predictions(run)
    rows = choose_rows(predictions, HELD_BACK, N_PROVING)
    proving = read_rows(run, root, predictions, rows, run.recipe, on_progress)
    shown = choose_rows(predictions, HELD_BACK, N_REFERENCE)  # the first of them
    return Material(classifier, proving, np.searchsorted(rows, shown), None)


def _gather_for_int8(
    classifier: Classifier, root: Path, accept_loss: bool, on_progress: OnProgress
) -> Material:
    """Many images that nothing was fitted on, and a few that were."""
    run = classifier.run
    predictions = read_predictions(run)

    def choose(splits: Sequence[int], n_most: int) -> np.ndarray:
        return choose_rows(predictions, splits, n_most, needs_label=True)

    def read(rows: np.ndarray) -> ImagesOfExport:
        return read_rows(run, root, predictions, rows, run.recipe, on_progress)

    n_most = min(N_MEASURED, max(N_REFERENCE, _MOST_BYTES // (3 * run.recipe.image_size**2)))
    rows = choose(SCORING, n_most)
    shown = np.searchsorted(rows, choose(SCORING, N_REFERENCE))
    calibration = read(choose(TRAINING, N_CALIBRATION))
    return Material(classifier, read(rows), shown, Int8Settings(calibration, accept_loss))


def _describe_inside(run: Run) -> dict[str, str]:
    """What a model's file says of itself."""
    recipes = [json.loads(used.recipe.to_json()) for used in run.manifest.backbones]
    return {
        LABELS_FILE: list_labels(run.class_names),
        "run.json": json.dumps({"run": run.name, "recipes": recipes}),
    }


def _describe_input(run: Run) -> ModelInput:
    recipe = run.recipe
    size = recipe.image_size
    return ModelInput(size, size, recipe.resize, recipe.background, "bilinear, antialiased")


def require_nothing_refused(exported: Exported) -> None:
    """For those who take a format that could not be had for an error.

    Raises:
        ExportError: one was refused.
    """
    refused = exported.contents.refused
    if refused:
        raise ExportError(_list_refused(refused))


def _list_refused(refused: dict[str, str]) -> str:
    return "\n".join(f"{name} was refused: {why}" for name, why in refused.items())
