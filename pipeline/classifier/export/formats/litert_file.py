"""LiteRT (TensorFlow Lite), for phones and small devices; built-in operations only."""

import re
import tempfile
import zipfile
from pathlib import Path

import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from pipeline.classifier.export.formats.format import CannotExportError, Settings
from pipeline.classifier.export.formats.saved_model import write_saved_model
from pipeline.classifier.export.whole_network import WholeNetwork


def write_litert(network: WholeNetwork, path: Path, settings: Settings) -> list[str]:
    """Writes `model.tflite`, with signature `serving_default`.

    It takes one image, or as many as its input is resized to.
    """
    with tempfile.TemporaryDirectory(prefix="frostline-export-") as folder:
        write_saved_model(network, Path(folder), settings)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if settings.precision == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        model = convert(converter)
    path.write_bytes(model)
    append_files(path, settings.metadata)
    notes = ["It holds built-in operations only, no Flex."]
    if settings.precision == "float16":
        notes.append("Weights are float16; what is computed is float32.")
    return notes


def convert(converter: tf.lite.TFLiteConverter) -> bytes:
    """The model's bytes.

    Raises:
        CannotExportError: it needs operations that are not built in.
    """
    try:
        model = bytes(converter.convert())
    except Exception as error:  # of whatever kind: ConverterError is no public name
        raise CannotExportError(_explain(str(error))) from error
    if foreign := list_foreign_operations(model):
        raise CannotExportError(f"LiteRT has no built-in operation for {', '.join(foreign)}")
    return model


def list_foreign_operations(model: bytes) -> list[str]:
    """Names of operations that are not built into LiteRT: custom ones and TensorFlow's (Flex)."""
    codes = schema.Model.GetRootAs(model, 0)
    found = [codes.OperatorCodes(place) for place in range(codes.OperatorCodesLength())]
    return sorted(
        code.CustomCode().decode()
        for code in found
        if code.BuiltinCode() == schema.BuiltinOperator.CUSTOM
    )


def append_files(path: Path, files: dict[str, str]) -> None:
    """Puts files behind a model, as TensorFlow Lite's metadata have labels: a zip archive that
    `unzip` and Python's `zipfile` read in place, and that runtimes pass over.
    """
    with zipfile.ZipFile(path, "a") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def _explain(words: str) -> str:
    """The converter's page of text in a sentence."""
    names = sorted(set(re.findall(r"tf\.(\w+)\(", words)) | set(re.findall(r"Flex(\w+)", words)))
    if names:
        return f"LiteRT has no built-in operation for {', '.join(names)}"
    return f"TensorFlow's converter cannot do it: {words.strip().splitlines()[0]}"
