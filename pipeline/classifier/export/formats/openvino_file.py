"""OpenVINO's own file."""

import tempfile
from pathlib import Path

from pipeline.classifier.export.formats.format import Settings
from pipeline.classifier.export.whole_network import WholeNetwork
from pipeline.system.openvino_runtime import openvino


def write_openvino(network: WholeNetwork, path: Path, settings: Settings) -> list[str]:
    """Writes `model.xml` and `model.bin`, with the metadata as rt_info under `frostline`."""
    graph = network.frozen.graph.as_graph_def()
    with tempfile.TemporaryDirectory(prefix="frostline-export-") as folder:
        frozen = Path(folder, "frozen.pb")
        frozen.write_bytes(graph.SerializeToString())
        model = openvino.Core().read_model(frozen)
        model.input(0).get_tensor().set_names({"image"})
        for place, name in enumerate(sorted(network.output_names)):
            model.output(place).get_tensor().set_names({name})
        for key, value in settings.metadata.items():
            model.set_rt_info(value, ["frostline", key])
        openvino.save_model(model, path, compress_to_fp16=settings.precision == "float16")
    return []
