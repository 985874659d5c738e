"""LiteRT (TensorFlow Lite), for phones and small devices; built-in operations only."""

import tempfile
from pathlib import Path

import tensorflow as tf

from pipeline.classifier.export.formats.format import Settings
from pipeline.classifier.export.formats.saved_model import write_saved_model
from pipeline.classifier.export.whole_network import WholeNetwork


def write_litert(network: WholeNetwork, path: Path, settings: Settings) -> list[str]:
    """Writes `model.tflite`, with signature `serving_default`."""
    with tempfile.TemporaryDirectory(prefix="frostline-export-") as folder:
        write_saved_model(network, Path(folder), settings)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        path.write_bytes(converter.convert())
    return []
