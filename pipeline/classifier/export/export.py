"""Exports a run: a model for elsewhere in one or several formats, each proven by its runtime."""

import importlib.util
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.classifier.export.beside.reference import answer
from pipeline.classifier.export.beside.write_beside import LABELS_FILE, list_labels, write_beside
from pipeline.classifier.export.contents import (
    FILE_NAME,
    FORMAT,
    Contents,
    ExportedModel,
    ModelInput,
    Proof,
)
from pipeline.classifier.export.formats.format import CannotExportError, Format, Settings
from pipeline.classifier.export.formats.registry import find_formats
from pipeline.classifier.export.images import (
    HELD_BACK,
    ImagesOfExport,
    choose_rows,
    read_rows,
)
from pipeline.classifier.export.prove import compare, run_elsewhere
from pipeline.classifier.load import load_run
from pipeline.classifier.model import Classifier
from pipeline.errors import ExportError, MissingExtraError, ParameterError
from pipeline.runs.predictions import read_predictions
from pipeline.runs.run_folder import Run, claim_output, new_run, open_run
from pipeline.system.paths import as_path, sha256_of_file
from pipeline.system.progress import OnProgress
from pipeline.system.quiet_start import no_start_up_talk
from pipeline.system.versions import list_versions

if TYPE_CHECKING:
    from pipeline.classifier.export.whole_network import WholeNetwork

FOLDER_NAME = "export"  # in the run, unless told otherwise
PRECISIONS = ("float32", "float16", "bfloat16")
N_PROVING, N_REFERENCE = 200, 20
# What a probability may differ by, and how many of the images must have the same class: in float32
# two classes may be as probable as each other, and then either answer is as good.
_BOUNDS = {"float32": (1e-4, 0.0), "float16": (2e-2, 0.995), "bfloat16": (2e-2, 0.995)}
_MARK = (FILE_NAME, FORMAT)
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


@dataclass(frozen=True)
class _Material:
    """What all formats are written and proven with."""

    classifier: Classifier
    proving: ImagesOfExport
    reference: ImagesOfExport


def export(
    run: Run | str | os.PathLike[str],
    formats: Sequence[str] | str = ("onnx",),
    *,
    precision: str = "float32",
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
    wanted, refused = _sort_out(wanted, precision)
    for form in wanted:
        _require_packages(form)
    opened = run if isinstance(run, Run) else open_run(as_path(run, "run"))
    _require_exportable(opened)
    target = opened.folder / FOLDER_NAME if output is None else as_path(output, "output")
    with claim_output(target, force=force, mark=_MARK):
        material = _gather(opened, data, weights, on_progress=on_progress)
        with no_start_up_talk():
            from pipeline.classifier.export.whole_network import build_whole_network
        network = build_whole_network(opened, None if weights is None else str(weights))
        for note in material.classifier.notes:
            on_note(note)
        settings = Settings(precision, _describe_inside(opened))
        with new_run(target, "", force=force, mark=_MARK) as (folder, final):
            models, more = _write_all(wanted, network, folder, settings, material, on_progress)
            refused |= more
            if not models:
                raise ExportError(_list_refused(refused))
            contents = Contents(
                run=opened.name,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                backbones=[used.recipe.backbone for used in opened.manifest.backbones],
                class_names=opened.class_names,
                input=_describe_input(opened),
                outputs=network.output_names,
                models=models,
                refused=refused,
                software=list_versions(_PACKAGES),
            )
            write_beside(folder, contents, material.classifier, network, material.reference)
    return Exported(final, contents, time.perf_counter() - started)


def _sort_out(wanted: list[Format], precision: str) -> tuple[list[Format], dict[str, str]]:
    """The formats that take a precision, and those that do not, each with the reason.

    Raises:
        ParameterError: no such precision.
        ExportError: none of the formats takes it.
    """
    if precision not in PRECISIONS:
        raise ParameterError(
            f"Expected `precision` to be one of {', '.join(PRECISIONS)}. Received: {precision}",
            "precision",
        )
    refused = {
        form.name: f"it is not written in {precision}; expected {', '.join(form.precisions)}"
        for form in wanted
        if precision not in form.precisions
    }
    if len(refused) == len(wanted):
        raise ExportError(_list_refused(refused))
    return [form for form in wanted if form.name not in refused], refused


def _require_packages(form: Format) -> None:
    missing = [name for name in form.packages if importlib.util.find_spec(name) is None]
    if missing:
        absent = ", ".join(missing)
        raise MissingExtraError(
            f"The format {form.name} needs packages that are not installed. Expected: an "
            f"installation with them. Received: `formats={form.name}`, and no {absent}\n"
            f"Run: pip install '.[{form.extra}]' in Frostline's folder"
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


def _gather(
    run: Run,
    data: str | os.PathLike[str] | None,
    weights: str | os.PathLike[str] | None,
    *,
    on_progress: OnProgress,
) -> _Material:
    root = Path(run.manifest.data_root) if data is None else as_path(data, "data")
    predictions = read_predictions(run)
    rows = choose_rows(predictions, HELD_BACK, N_PROVING)
    proving = read_rows(run, root, predictions, rows, run.recipe, on_progress)
    shown = choose_rows(predictions, HELD_BACK, N_REFERENCE)  # the first of them
    return _Material(
        classifier=load_run(run, weights, device="cpu"),
        proving=proving,
        reference=proving.take(np.searchsorted(rows, shown)),
    )


def _write_all(
    wanted: list[Format],
    network: "WholeNetwork",
    folder: Path,
    settings: Settings,
    material: _Material,
    on_progress: OnProgress,
) -> tuple[dict[str, ExportedModel], dict[str, str]]:
    """The models that were written and proven, and why others were not, by name of the format."""
    expected = answer(material.classifier, material.proving.pixels)
    models: dict[str, ExportedModel] = {}
    refused: dict[str, str] = {}
    for place, form in enumerate(wanted):
        on_progress("Exporting", place, len(wanted))
        try:
            with no_start_up_talk():
                write = form.import_write()
            notes = write(network, folder / form.file, settings)
            proof = _prove(form, folder, settings, material, expected)
        except (CannotExportError, ExportError) as error:
            _remove(folder, form)
            refused[form.name] = str(error)
            continue
        files = _list_files(folder, form)
        models[form.name] = ExportedModel(
            file=form.file,
            sha256={str(file.relative_to(folder)): sha256_of_file(file) for file in files},
            n_bytes=sum(file.stat().st_size for file in files),
            precision=settings.precision,
            proof=proof,
            notes=notes,
        )
    on_progress("Exporting", len(wanted), len(wanted))
    return models, refused


def _prove(
    form: Format,
    folder: Path,
    settings: Settings,
    material: _Material,
    expected: dict[str, np.ndarray],
) -> Proof:
    """Runs a format's file elsewhere.

    Raises:
        ExportError: it says something else than the run.
    """
    outputs, runtime = run_elsewhere(folder / form.file, form.name, material.proving.pixels)
    backbones = material.classifier.run.manifest.backbones
    is_exact = all(used.recipe.precision == "float32" for used in backbones)
    tolerance, least = _BOUNDS[settings.precision if is_exact else "float16"]
    proof = compare(outputs, expected, tolerance, runtime)
    if not proof.greatest_difference <= tolerance or proof.same_class < least:
        raise ExportError(
            f"What was written as {form.name} does not say what the run says. Expected "
            f"probabilities within {tolerance:g}, and the same class in {least:.1%} or more of "
            f"{proof.n_images} images. Received: {proof.greatest_difference:.2g} and "
            f"{proof.same_class:.1%}, from {proof.runtime}"
        )
    return proof


def _list_files(folder: Path, form: Format) -> list[Path]:
    """The files of a format: all in its folder, or its file and those of the same stem."""
    path = folder / form.file
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path, *([path.with_suffix(".bin")] if path.suffix == ".xml" else [])]


def _remove(folder: Path, form: Format) -> None:
    """Takes away what a format wrote that is not to be left behind."""
    path = folder / form.file
    if path.is_dir():
        shutil.rmtree(path)
    for file in (path, path.with_suffix(".bin")):
        file.unlink(missing_ok=True)


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
