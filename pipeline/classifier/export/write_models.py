"""Writes a run's model in each format, proves each in its own runtime, and leaves none behind that
does not say what the run says.
"""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.classifier.export.beside.reference import answer
from pipeline.classifier.export.contents import DISTANCE, PROBABILITIES, ExportedModel, Proof
from pipeline.classifier.export.formats.format import CannotExportError, Format, Settings
from pipeline.classifier.export.images import ImagesOfExport
from pipeline.classifier.export.int8.loss import MOST_LOST, Int8Loss, compare_int8
from pipeline.classifier.export.int8.quantize import quantize
from pipeline.classifier.export.prove import compare, run_elsewhere
from pipeline.classifier.model import Classifier
from pipeline.errors import ExportError
from pipeline.system.paths import sha256_of_file
from pipeline.system.progress import OnProgress
from pipeline.system.quiet_start import no_start_up_talk

if TYPE_CHECKING:
    from pipeline.classifier.export.whole_network import WholeNetwork

# What a probability may differ by, and how many of the images must have the same class: in float32
# two classes may be as probable as each other, and then either answer is as good.
_BOUNDS = {"float32": (1e-4, 0.0), "float16": (2e-2, 0.995), "bfloat16": (2e-2, 0.995)}
# An 8-bit model says something else than the run. Elsewhere it has to say what it said here, but
# for rounding, which is coarse: other kernels of LiteRT, and OpenVINO with the rest in bfloat16,
# gave probabilities that differed by up to 0.054 (EfficientNet-Lite0 on flowers).
_INT8_ELSEWHERE = 0.1

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Int8Settings:
    """How a model is made 8 bits.

    Args:
        calibration: training images.
        accept_loss: keep it even where it costs more than a point of accuracy.
    """

    calibration: ImagesOfExport
    accept_loss: bool


@dataclass(frozen=True)
class Material:
    """What all formats are written and proven with.

    Args:
        proving: images of the run.
        shown: places of the references among them.
        int8: None where models keep their precision.
    """

    classifier: Classifier
    proving: ImagesOfExport
    shown: np.ndarray
    int8: Int8Settings | None


@dataclass(frozen=True)
class Written:
    """What came of all formats that were asked for.

    Args:
        models: that were written and proven, by name of the format.
        refused: why others were not.
        own_answers: of 8-bit models to the references, by name of the output.
    """

    models: dict[str, ExportedModel] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    own_answers: dict[str, Outputs] = field(default_factory=dict)


def write_models(
    wanted: list[Format],
    network: "WholeNetwork",
    folder: Path,
    settings: Settings,
    material: Material,
    on_progress: OnProgress,
) -> Written:
    """Writes them into a folder; of a format that is refused nothing stays there."""
    expected = answer(material.classifier, material.proving.pixels)
    written = Written()
    for place, form in enumerate(wanted):
        on_progress("Exporting", place, len(wanted))
        try:
            notes = _write(form, network, folder, settings, material.int8, on_progress)
            outputs, runtime = run_elsewhere(folder / form.file, form.name, material.proving.pixels)
            loss = None
            if material.int8 is None:
                proof = _prove(form, outputs, expected, runtime, settings, material)
            else:
                proof, loss = _measure(form, outputs, expected, runtime, material, material.int8)
                notes = [loss.describe(), *notes]
                written.own_answers[form.name] = {
                    name: values[material.shown] for name, values in outputs.items()
                }
        except (CannotExportError, ExportError) as error:
            _remove(folder, form)
            written.refused[form.name] = str(error)
            continue
        files = _list_files(folder, form)
        written.models[form.name] = ExportedModel(
            file=form.file,
            sha256={str(file.relative_to(folder)): sha256_of_file(file) for file in files},
            n_bytes=sum(file.stat().st_size for file in files),
            precision=settings.precision if loss is None else "int8",
            proof=proof,
            notes=notes,
            int8=loss,
        )
    on_progress("Exporting", len(wanted), len(wanted))
    return written


def _write(
    form: Format,
    network: "WholeNetwork",
    folder: Path,
    settings: Settings,
    int8: Int8Settings | None,
    on_progress: OnProgress,
) -> list[str]:
    """Writes a format's file; gives sentences for people."""
    with no_start_up_talk():
        write = form.import_write()
    if int8 is None:
        return write(network, folder / form.file, settings)
    with tempfile.TemporaryDirectory(prefix="frostline-export-") as place:
        whole = Path(place, form.file)
        notes = write(network, whole, settings)
        calibration = int8.calibration.pixels
        more = quantize(form.name, whole, folder / form.file, calibration, on_progress)
    return [*more, *notes]


def _prove(
    form: Format,
    outputs: Outputs,
    expected: Outputs,
    runtime: str,
    settings: Settings,
    material: Material,
) -> Proof:
    """What a format's file said elsewhere beside what the run says.

    Raises:
        ExportError: it is something else.
    """
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


def _measure(
    form: Format,
    outputs: Outputs,
    expected: Outputs,
    runtime: str,
    material: Material,
    int8: Int8Settings,
) -> tuple[Proof, Int8Loss]:
    """What 8 bits cost, as it was seen elsewhere.

    Raises:
        ExportError: too much, or there are no probabilities.
    """
    proof = compare(outputs, expected, _INT8_ELSEWHERE, runtime)
    if not np.isfinite(proof.greatest_difference):
        raise ExportError(
            f"What was written as {form.name} in 8 bits gives no probabilities. Expected numbers "
            f"for {proof.n_images} images. Received: NaN, or none, from {runtime}"
        )
    distance = None
    if DISTANCE in expected:
        distance = float(np.abs(outputs[DISTANCE] - expected[DISTANCE]).max())
    loss = compare_int8(
        expected[PROBABILITIES],
        outputs[PROBABILITIES],
        material.proving.labels,
        material.proving.split,
        len(int8.calibration),
        distance,
    )
    if loss.is_too_much and not int8.accept_loss:
        n_images = loss.n_images
        few = f" Of {n_images} images one alone is more than a point." if n_images < 100 else ""
        raise ExportError(
            f"What was written as {form.name} in 8 bits loses too much. Expected at most "
            f"{100 * MOST_LOST:g} point of accuracy less than in float32. Received: "
            f"{loss.describe()}{few}\nWhat may help: another format, or `precision=float16` "
            "instead. `accept_loss=True` keeps it as it is"
        )
    return proof, loss


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
