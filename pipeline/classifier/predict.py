"""Classifies images, and all images in folders, with the model of a run."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.backbones.engines.opening import require_device
from pipeline.classifier.contact_sheet import FILES, require_files, write_contact_sheet
from pipeline.classifier.load import load_run, open_either, require_defaults
from pipeline.classifier.model import Classifier
from pipeline.classifier.prediction import Prediction
from pipeline.classifier.sources import list_images, make_source
from pipeline.errors import ImageError
from pipeline.images.dataset import expand_images
from pipeline.images.decoding.read_images import Limits, make_limits
from pipeline.recipe import Recipe
from pipeline.runs.outcome_folder import claim_outcome
from pipeline.runs.run_folder import Run
from pipeline.system.paths import as_path
from pipeline.system.progress import OnProgress


def predict(
    run: Run | Classifier | str | os.PathLike[str],
    images: Iterable[Any] | str | os.PathLike[str],
    *,
    max_pixels: int | None = None,
    max_bytes: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    engine: str | None = None,
    network_store: bool = True,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    is_alone: bool = False,
    on_progress: OnProgress = lambda stage, done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> list[Prediction]:
    """Classifies images with the model of a run.

    Who classifies more than once loads the model first, with `load_run`: that takes the time.

    Args:
        run: a run, its folder, or its model as `load_run` gives it.
        images: paths of images and of folders, whose images are taken in order; a list of images
            (a CSV), alone; or whatever else `Classifier.predict` takes.
        max_pixels, max_bytes: what an image may be at most, None for the defaults.
        weights: where the backbone's weights lie now, None for where they came from.
        device: `auto`, `cpu`, `gpu` or `gpu:N`.
        engine: what runs the network, None for the one that made the run's features, where these
            were made on a device of the kind, and else what suits the device.
        network_store: see `load_run`.
        output: a folder for a contact sheet, `contact-sheet.html` with thumbnails by class, and
            `predictions.csv`; None to write nothing.
        force: an older contact sheet of that name may be replaced.
        is_alone: see `load_run`.
        on_progress: called with a stage, the number done and the number to do.
        on_note: called with what people should know.

    Returns:
        A `Prediction` for each image. Where not one can be used, no model is loaded to say so.

    Raises:
        ParameterError: the device's name is none, or a contact sheet of images without files.
        RunError: the output exists.
        DatasetError: there is no such file, or no image in a folder.
        RunError, ParityError, WeightsError, DeviceError, EngineError: there is no model to use.
    """
    require_device(device, engine)
    opened, model = open_either(run)
    if model is not None:
        require_defaults(weights, device, engine)
    target = None if output is None else as_path(output, "output")
    with claim_outcome(target, FILES, force=force):
        found, notes = _find_images(images)
        if target is not None:
            require_files(found)
        for note in notes:
            on_note(note)
        how = LoadOptions(weights, device, engine, network_store, is_alone)
        limits = make_limits(max_pixels, max_bytes)
        predictions = predict_or_refuse(opened, model, how, found, limits, on_progress, on_note)
        if target is not None:
            write_contact_sheet(target, predictions, opened, force=force, on_progress=on_progress)
    return predictions


def _find_images(images: Iterable[Any] | str | os.PathLike[str]) -> tuple[list[Any], list[str]]:
    """The images, those in folders too, and what to say of them."""
    found: list[Any] = []
    notes: list[str] = []
    given = [images] if isinstance(images, str | os.PathLike) else list_images(images)
    for image in given:
        if isinstance(image, str | os.PathLike):
            expanded, more = expand_images([Path(image)], may_be_list=len(given) == 1)
            found += expanded
            notes += more
        else:
            found.append(image)
    return found, notes


@dataclass(frozen=True)
class LoadOptions:
    """How to load a run's model, as in `load_run`."""

    weights: str | os.PathLike[str] | None
    device: str
    engine: str | None
    network_store: bool
    is_alone: bool

    def load(self, run: Run, n_images: int) -> Classifier:
        """Loads it, for so many images."""
        return load_run(
            run,
            self.weights,
            self.device,
            engine=self.engine,
            network_store=self.network_store,
            is_alone=self.is_alone,
            n_images=n_images,
        )


def predict_or_refuse(
    run: Run,
    model: Classifier | None,
    how: LoadOptions,
    images: list[Any],
    limits: Limits,
    on_progress: OnProgress,
    on_note: Callable[[str], None],
) -> list[Prediction]:
    """Classifies images; an answer of nothing but reasons costs no model.

    Args:
        model: of the run, if it is loaded already; None to load it where it is needed, with what
            it notes.
        how: to load it.
    """
    is_loaded = model is not None
    refused = None if is_loaded else _find_all_refused(images, run.recipe, limits)
    if refused is not None:
        return refused
    model = model or how.load(run, len(images))
    predictions = model.predict(images, limits=limits, on_progress=on_progress)
    for note in () if is_loaded else model.notes:
        on_note(note)
    return predictions


def _find_all_refused(images: list[Any], recipe: Recipe, limits: Limits) -> list[Prediction] | None:
    """The reasons why not one of the images can be used; None where one can.

    Images are read up to the first that can be used.
    """
    refused = []
    for place, image in enumerate(images):
        source = make_source(image, place)
        digest, pixels = source.read(recipe, limits)
        if not isinstance(pixels, str):
            return None
        refused.append(Prediction(source.path, None, None, pixels, digest))
    return refused


def require_some_usable(predictions: list[Prediction]) -> None:
    """For those who take an answer of nothing but reasons for a mistake.

    Raises:
        ImageError: not one of the images could be used.
    """
    if predictions and all(prediction.reason is not None for prediction in predictions):
        n = len(predictions)
        which = "This file cannot" if n == 1 else f"Not one of these {n:,} files can"
        raise ImageError(f"{which} be used as an image. The results say why.")
