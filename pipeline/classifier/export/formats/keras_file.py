"""Keras's own file."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.classifier.export.formats.format import CannotExportError, Settings
from pipeline.classifier.export.whole_network import WholeNetwork

_FOLDER = "frostline"  # in the file


def write_keras(network: WholeNetwork, path: Path, settings: Settings) -> list[str]:
    """Writes `model.keras`, which Keras loads without Frostline; metadata lie in it as files of
    their own, which Keras passes over.
    """
    foreign = sorted(set(_find_foreign(network.model.get_config())))
    if foreign:
        raise CannotExportError(
            f"Keras alone cannot load it: {', '.join(foreign)} are not among its own layers"
        )
    network.model.save(path)
    with zipfile.ZipFile(path, "a") as file:
        for key, value in settings.metadata.items():
            file.writestr(f"{_FOLDER}/{key}", value)
    return [
        "It takes RGB 0..255 as float32; load it with keras.saving.load_model, and call it with "
        "training=False."
    ]


def _find_foreign(config: object) -> Iterator[str]:
    """Layers and the like that other packages than Keras have, as `module.Class`."""
    if isinstance(config, dict):
        module, name = config.get("module"), config.get("class_name")
        if isinstance(module, str) and name and module.partition(".")[0] != "keras":
            yield f"{module}.{name}"
        config = list(config.values())
    if isinstance(config, list | tuple):
        for part in config:
            yield from _find_foreign(part)
