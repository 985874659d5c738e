"""OpenVINO's own file."""

import tempfile
from pathlib import Path

from pipeline.classifier.export.formats.format import CannotExportError, Settings
from pipeline.classifier.export.whole_network import WholeNetwork
from pipeline.system.openvino_runtime import openvino

PRECISION_HINT = "INFERENCE_PRECISION_HINT"
_HINTS = {"float32": "f32", "float16": "f32", "bfloat16": "bf16"}


def write_openvino(network: WholeNetwork, path: Path, settings: Settings) -> list[str]:
    """Writes `model.xml` and `model.bin`, with the metadata as rt_info under `frostline`.

    OpenVINO computes in bfloat16 wherever the processor has units for it, and no property of a
    file keeps it from that: whoever compiles the model has to say so. What to say lies in the
    metadata, too.
    """
    hint = _HINTS[settings.precision]
    graph = network.frozen.graph.as_graph_def()
    with tempfile.TemporaryDirectory(prefix="frostline-export-") as folder:
        frozen = Path(folder, "frozen.pb")
        frozen.write_bytes(graph.SerializeToString())
        try:
            model = openvino.Core().read_model(frozen)
        except RuntimeError as error:  # all that OpenVINO raises, with a page of text
            words = str(error).strip().splitlines()[-1]
            raise CannotExportError(f"OpenVINO cannot convert it: {words}") from error
        model.input(0).get_tensor().set_names({"image"})
        for place, name in enumerate(sorted(network.output_names)):
            model.output(place).get_tensor().set_names({name})
        for key, value in {**settings.metadata, PRECISION_HINT: hint}.items():
            model.set_rt_info(value, ["frostline", key])
        openvino.save_model(model, path, compress_to_fp16=settings.precision == "float16")
    return [
        f"Compile it with {PRECISION_HINT}={hint}, as check.py does: left alone, OpenVINO computes "
        "in bfloat16 on processors that can, and says something else."
        if hint == "f32"
        else f"Compile it with {PRECISION_HINT}={hint}, as check.py does."
    ]
