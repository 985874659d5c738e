"""What a model in 8 bits costs and gains: accuracy, size, images a second; and whether a broken
calibration is refused.

    python benchmarks/int8.py DATA_OR_RUN...

Of a folder of images features are extracted and a head is fitted first (efficientnet-lite0).
Precisions take turns, a round each, in one process; the machine ought to have nothing else to do.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.common import (  # noqa: E402
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)

PACKAGES = ("openvino", "nncf", "ai-edge-litert", "ai-edge-quantizer", "tensorflow", "keras")
INT8_FORMATS = ("openvino", "litert")
N_TIMED, N_ROUNDS = 64, 7
# What is done to the training images, which ought to be left alone, on the way to the quantizer.
BROKEN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "divided by 255": lambda pixels: pixels // 255,
    "darkened to a tenth": lambda pixels: pixels // 10,
}


def make_run(data: Path, folder: Path) -> Path:
    """A run of lite0 on a folder of images; a run stays what it is."""
    import frostline

    if (data / "manifest.json").is_file():
        return data
    features = frostline.extract(data, backbone="efficientnet-lite0", output=folder / "f.h5").path
    return frostline.fit_head(features, output=folder / "run").folder


def export_int8(run: Path, folder: Path, n_calibration: int) -> list[list]:
    """A row for each format: what 8 bits cost."""
    import frostline
    from pipeline.classifier.export import export as exporting

    exporting.N_CALIBRATION = n_calibration
    contents = frostline.export(
        run, INT8_FORMATS, int8=True, accept_loss=True, output=folder
    ).contents
    rows = []
    for form, model in contents.models.items():
        loss = model.int8
        low, high = (100 * end for end in loss.interval)
        rows.append(
            [
                run.name,
                form,
                n_calibration,
                loss.n_images,
                f"{loss.accuracy_before:.1%}",
                f"{loss.accuracy_after:.1%}",
                f"{100 * (loss.became_right - loss.became_wrong) / loss.n_images:+.1f} points",
                f"{low:+.1f} to {high:+.1f}",
                f"{loss.same_class:.1%}",
                round(loss.greatest_difference, 3),
                "too much" if loss.is_too_much else "kept",
            ]
        )
    return rows


def export_broken(run: Path, folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> list[str]:
    """For each format whether a model that was calibrated on changed images is refused."""
    import frostline
    from pipeline.classifier.export import write_models
    from pipeline.errors import ExportError

    quantize = write_models.quantize

    def quantize_wrongly(form, source, target, pixels, on_progress):
        return quantize(form, source, target, change(pixels), on_progress)

    write_models.quantize = quantize_wrongly
    try:
        made = frostline.export(run, INT8_FORMATS, int8=True, output=folder).contents
    except ExportError as error:
        return [line for line in str(error).splitlines() if "was refused" in line]
    finally:
        write_models.quantize = quantize
    written = [f"{form} was written: {model.notes[0]}" for form, model in made.models.items()]
    return [*written, *(f"{form} was refused: {why}" for form, why in made.refused.items())]


def open_openvino(path: Path, hint: str) -> Callable[[np.ndarray], None]:
    """Runs images one by one, as many at once as OpenVINO finds best."""
    from pipeline.system.openvino_runtime import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "THROUGHPUT"}
    queue = openvino.AsyncInferQueue(core.compile_model(core.read_model(path), "CPU", settings))

    def run(pixels: np.ndarray) -> None:
        for row in range(len(pixels)):
            queue.start_async(pixels[row : row + 1])
        queue.wait_all()

    return run


def open_litert(path: Path) -> Callable[[np.ndarray], None]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=len(os.sched_getaffinity(0)))
    runner = interpreter.get_signature_runner("serving_default")

    def run(pixels: np.ndarray) -> None:
        for row in range(len(pixels)):
            runner(image=pixels[row : row + 1])

    return run


def time_all(run: Path, folder: Path, int8: Path) -> list[list]:
    """Size and images a second of each precision, side by side."""
    import frostline

    plain = frostline.export(run, INT8_FORMATS, output=folder).folder
    models = {
        ("openvino", "float32"): (plain / "model.bin", open_openvino(plain / "model.xml", "f32")),
        ("openvino", "bfloat16"): (plain / "model.bin", open_openvino(plain / "model.xml", "bf16")),
        ("openvino", "int8"): (int8 / "model.bin", open_openvino(int8 / "model.xml", "f32")),
        ("litert", "float32"): (plain / "model.tflite", open_litert(plain / "model.tflite")),
        ("litert", "int8"): (int8 / "model.tflite", open_litert(int8 / "model.tflite")),
    }
    with np.load(plain / "reference" / "reference.npz") as reference:
        pixels = np.resize(reference["pixels"], (N_TIMED, *reference["pixels"].shape[1:]))
    rates: dict[tuple[str, str], list[float]] = {key: [] for key in models}
    for _ in range(N_ROUNDS + 1):  # the first one warms up
        for key, (_, call) in models.items():
            start = time.perf_counter()
            call(pixels)
            rates[key].append(N_TIMED / (time.perf_counter() - start))
    medians = {key: statistics.median(found[1:]) for key, found in rates.items()}
    return [
        [
            *key,
            round(path.stat().st_size / 1e6, 1),
            round(medians[key]),
            round(medians[key] / medians[key[0], "float32"], 2),
        ]
        for key, (path, _) in models.items()
    ]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("places", nargs="+", type=Path, metavar="DATA_OR_RUN")
    parser.add_argument(
        "--calibration", type=int, nargs="+", default=[100, 300], help="how many training images"
    )
    asked = parser.parse_args()
    machine = describe_machine(PACKAGES)
    print_machine(machine)
    losses, refusals, speeds = [], [], []
    with tempfile.TemporaryDirectory() as place:
        for number, data in enumerate(asked.places):
            folder = Path(place, str(number))
            folder.mkdir()
            run = make_run(data, folder)
            sizes = asked.calibration[:1] if asked.short else asked.calibration
            for n_calibration in sizes:
                rows = export_int8(run, folder / f"int8-{n_calibration}", n_calibration)
                losses += [[data.name, *row[1:]] for row in rows]
            for name, change in BROKEN.items():
                said = export_broken(run, folder / f"broken-{len(refusals)}", change)
                refusals += [[data.name, name, line] for line in said]
            if not speeds:
                speeds = time_all(run, folder / "plain", folder / f"int8-{sizes[0]}")
    names = ["data", "format", "calibrated on", "images", "float32", "int8", "difference"]
    print_table([*names, "95% interval", "same class", "greatest", "rule"], losses)
    print_table(["data", "training images", "outcome"], refusals)
    print_table(["format", "precision", "MB", "images/s", "times float32"], speeds)
    results = {"losses": losses, "refusals": refusals, "speeds": speeds}
    write_results(asked.json, machine, results)


if __name__ == "__main__":
    main()
