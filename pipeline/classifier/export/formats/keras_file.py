"""Keras's own file."""

import zipfile
from pathlib import Path

from pipeline.classifier.export.formats.format import Settings
from pipeline.classifier.export.whole_network import WholeNetwork


def write_keras(network: WholeNetwork, path: Path, settings: Settings) -> list[str]:
    """Writes `model.keras`; metadata lie in it as files of their own, which Keras passes over."""
    network.model.save(path)
    with zipfile.ZipFile(path, "a") as file:
        for key, value in settings.metadata.items():
            file.writestr(f"frostline/{key}", value)
    return []
