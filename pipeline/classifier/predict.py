"""Classifies images, and all images in folders, with the model of a run."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pipeline.classifier.model import (
    Classifier,
    Prediction,
    load_run,
    open_either,
    require_defaults,
)
from pipeline.classifier.sources import list_images
from pipeline.images.dataset import expand_images
from pipeline.images.decoding.read_images import make_limits
from pipeline.runs.run_folder import Run


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
    is_alone: bool = False,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> list[Prediction]:
    """Classifies images with the model of a run.

    Who classifies more than once loads the model first, with `load_run`: that takes the time.

    Args:
        run: a run, its folder, or its model as `load_run` gives it.
        images: paths of images and of folders, whose images are taken in order; or whatever else
            `Classifier.predict` takes.
        max_pixels, max_bytes: what an image may be at most, None for the defaults.
        weights: where the backbone's weights lie now, None for where they came from.
        device: `auto`, `cpu`, `gpu` or `gpu:N`.
        engine: what runs the network, None for what suits the device.
        network_store: see `load_run`.
        is_alone: see `load_run`.
        on_progress: called with a stage, the number done and the number to do.
        on_note: called with what people should know.

    Returns:
        A `Prediction` for each image.

    Raises:
        DatasetError: there is no such file, or no image in a folder.
        RunError, ParityError, WeightsError, DeviceError, EngineError: there is no model to use.
    """
    opened, model = open_either(run)
    if model is not None:
        require_defaults(weights, device, engine)
    found: list[Any] = []
    for image in [images] if isinstance(images, str | os.PathLike) else list_images(images):
        if isinstance(image, str | os.PathLike):
            expanded, notes = expand_images([Path(image)])
            found += expanded
            for note in notes:
                on_note(note)
        else:
            found.append(image)
    is_loaded = model is not None
    model = model or load_run(
        opened,
        weights,
        device,
        engine=engine,
        network_store=network_store,
        is_alone=is_alone,
    )
    limits = make_limits(max_pixels, max_bytes)
    predictions = model.predict(found, limits=limits, on_progress=on_progress)
    for note in () if is_loaded else model.notes:
        on_note(note)
    return predictions
