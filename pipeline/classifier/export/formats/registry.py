"""All formats."""

from pipeline.classifier.export.formats.format import Format
from pipeline.errors import ParameterError

_HERE = "pipeline.classifier.export.formats"

FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format(
            "openvino",
            "model.xml",
            f"{_HERE}.openvino_file:write_openvino",
            precisions=("float32", "float16", "bfloat16"),
            packages=("openvino",),
            extra="",
        ),
        Format(
            "onnx",
            "model.onnx",
            f"{_HERE}.onnx_file:write_onnx",
            precisions=("float32", "float16"),
            packages=("tf2onnx", "onnx", "onnxruntime"),
            extra="export",
        ),
        Format(
            "litert",
            "model.tflite",
            f"{_HERE}.litert_file:write_litert",
            precisions=("float32", "float16"),
            packages=("ai_edge_litert",),
            extra="export",
        ),
        Format(
            "saved-model",
            "saved_model",
            f"{_HERE}.saved_model:write_saved_model",
            precisions=("float32",),
            packages=(),
            extra="",
        ),
        Format(
            "keras",
            "model.keras",
            f"{_HERE}.keras_file:write_keras",
            precisions=("float32",),
            packages=(),
            extra="",
        ),
        Format(
            "html",
            "model.html",
            f"{_HERE}.html.html_file:write_html",
            precisions=("float32", "float16"),
            packages=("tf2onnx", "onnx", "onnxruntime"),
            extra="export",
        ),
    )
}


def find_formats(names: list[str]) -> list[Format]:
    """The formats of these names, each once.

    Raises:
        ParameterError: there is none of a name, or none is asked for.
    """
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise ParameterError(
            f"Expected `formats` to be some of {', '.join(FORMATS)}. Received: "
            f"{', '.join(unknown) or 'none'}",
            "formats",
        )
    return [FORMATS[name] for name in dict.fromkeys(names)]
