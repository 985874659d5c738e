"""Embedding alone: Frostline against OpenVINO's own best, LiteRT, model.predict and PyTorch.

Same network, same weights, same pixels in memory. Each peer runs in a process of its own, so that
thread settings do not mix; they take turns, one working at a time, and medians are compared.

    python benchmarks/embed.py --networks efficientnetb0 resnet50 --rounds 5
"""

import argparse
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.common import (  # noqa: E402
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)

PEERS = {
    "frostline": "Frostline, float32",
    "openvino": "OpenVINO's best, float32",
    "frostline bf16": "Frostline, bfloat16",
    "openvino bf16": "OpenVINO's best, bfloat16",
    "tensorflow": "Frostline's second engine (TensorFlow, constants folded)",
    "litert": "LiteRT, a one-thread stream per core",
    "predict": "Keras model.predict, batches of 32",
    "torch": "PyTorch (Keras's backend), batches of 32",
}
OPENVINO_BATCHES = (1, 4, 8)
PREDICT_BATCH = 32
NETWORK = "network.keras"
# To end one while its last callback waits for Python's lock is to wait for ever (seen).
_COMPILED: list[Callable[[np.ndarray], np.ndarray]] = []
PACKAGES = ("tensorflow", "keras", "openvino", "ai-edge-litert", "torch", "numpy")


def build_model(backbone: str, weights: str):
    """The embedding model, as `extract` builds it, with weights from a file."""
    from pipeline.backbones.build import build_embedding_model
    from pipeline.features.extract import make_recipe

    return build_embedding_model(*make_recipe(backbone, weights))


def make_frostline(
    model, precision: str = "float32", engine: str | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    from pipeline.backbones.engines.engine import Network

    return open_frostline(Network(lambda: model, precision), engine)


def open_frostline(network, engine: str | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """The network as `extract` runs it."""
    from pipeline.backbones.engines.opening import open_embedder
    from pipeline.system.parallel import map_batches

    batch_size = 8 if engine == "tensorflow" else None
    embed = open_embedder(network, "cpu", engine=engine, batch_size=batch_size, is_alone=True)
    size = embed.images_per_task

    def run(pixels: np.ndarray) -> np.ndarray:
        tasks = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        return np.concatenate(list(map_batches(embed, tasks, embed.n_streams)))

    return run


def make_predict(model) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: model.predict(pixels, batch_size=PREDICT_BATCH, verbose=0)


def make_openvino(model, precision: str = "f32") -> Callable[[np.ndarray], np.ndarray]:
    """As OpenVINO's benchmark_app: throughput hint, as many requests as it asks for, and of the
    batch sizes the one that is fastest here.
    """
    from pipeline.backbones.engines.engine import Network
    from pipeline.backbones.engines.openvino_cpu import convert_to_openvino

    converted = convert_to_openvino(Network(lambda: model))
    shape = tuple(model.input_shape[1:])
    trial = np.random.default_rng(2).integers(0, 256, (16, *shape), np.uint8)
    runs = [compile_openvino(converted, precision, size) for size in OPENVINO_BATCHES]
    _COMPILED.extend(runs)
    return min(runs, key=lambda run: time_once(run, trial))


def compile_openvino(
    converted, precision: str, batch_size: int
) -> Callable[[np.ndarray], np.ndarray]:
    """OpenVINO's throughput mode for batches of one size; `precision` in its own words."""
    from pipeline.system.openvino_runtime import openvino

    core = openvino.Core()
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
    network = core.read_model(converted.graph, converted.weights)
    network.reshape([batch_size, *list(network.input(0).partial_shape)[1:]])
    compiled = core.compile_model(network, "CPU", hints)
    requests = openvino.AsyncInferQueue(compiled)
    for request in requests:
        # By one thread, as in Frostline's engine: two that make the first array of a tensor at once
        # wait for each other for ever (seen).
        _ = request.get_output_tensor(0).data

    def run(pixels: np.ndarray) -> np.ndarray:
        features = np.empty((len(pixels), compiled.output(0).shape[-1]), np.float32)

        def keep(request, start: int) -> None:
            features[start : start + batch_size] = request.get_output_tensor(0).data

        requests.set_callback(keep)
        for start in range(0, len(pixels), batch_size):
            requests.start_async({0: pixels[start : start + batch_size]}, start)
        requests.wait_all()
        return features

    return run


def time_once(run: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray) -> float:
    """Seconds, the least of three after one to warm up."""
    run(pixels)
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        run(pixels)
        taken.append(time.perf_counter() - started)
    return min(taken)


def make_litert(model) -> Callable[[np.ndarray], np.ndarray]:
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    from pipeline.backbones.engines.device import describe_cpu
    from pipeline.backbones.engines.tensorflow_graph import freeze, trace
    from pipeline.system.parallel import count_cores, map_batches

    frozen = freeze(trace(model, 1, describe_cpu()))
    converted = bytes(tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert())
    idle: queue.SimpleQueue = queue.SimpleQueue()
    for _ in range(count_cores()):
        interpreter = Interpreter(model_content=converted, num_threads=1)
        interpreter.allocate_tensors()
        idle.put(interpreter)

    def run_one(image: np.ndarray) -> np.ndarray:
        interpreter = idle.get()
        try:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
            interpreter.invoke()
            return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        finally:
            idle.put(interpreter)

    def run(pixels: np.ndarray) -> np.ndarray:
        images = [pixels[row : row + 1] for row in range(len(pixels))]
        return np.concatenate(list(map_batches(run_one, images, count_cores())))

    return run


MAKERS = {
    "frostline": make_frostline,
    "frostline bf16": lambda model: make_frostline(model, "mixed_bfloat16"),
    "tensorflow": lambda model: make_frostline(model, engine="tensorflow"),
    "openvino": make_openvino,
    "openvino bf16": lambda model: make_openvino(model, "bf16"),
    "litert": make_litert,
    "predict": make_predict,
    "torch": make_predict,
}


def work(peer: str, backbone: str, weights: str, pixels_path: str, features_path: str) -> None:
    """A peer's process: gets ready, then embeds all pixels for each line on stdin."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    if peer == "torch":
        import keras  # with that backend, on which Frostline itself does not run

        model = keras.saving.load_model(Path(weights).with_name(NETWORK), compile=False)
    else:
        model = build_model(backbone, weights)
    run = MAKERS[peer](model)
    pixels = np.load(pixels_path)
    np.save(features_path, run(pixels))
    print("ready", file=channel)
    for _ in sys.stdin:
        started = time.perf_counter()
        run(pixels)
        print(time.perf_counter() - started, file=channel)


def start(peer: str, arguments: list[str]) -> subprocess.Popen | None:
    """Starts a peer's process and waits until it is ready; None where it is not installed."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if peer == "torch":
        environment["KERAS_BACKEND"] = "torch"
    process = subprocess.Popen(
        [sys.executable, __file__, "--work", peer, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    if process.stdout.readline().strip() == "ready":
        return process
    said = process.stderr.read().strip().splitlines()
    print(f"{PEERS[peer]}: not measured: {said[-1] if said else 'it died'}", file=sys.stderr)
    return None


def save_weights(
    backbone: str, kind: str, folder: Path, photos: Sequence[Path] | None = None
) -> str:
    """Random weights in a file, and the model itself for PyTorch.

    Args:
        kind: `keras` for those that Keras draws, with which features may be next to nothing, and
            `order-one` for such as give features of order 1: BatchNorm statistics of a batch.
        photos: that batch, such as will be looked at; None for noise. (With statistics of noise
            EfficientNetB0's features of smooth images reach 3,400, and Keras itself gives others
            for a batch than for its images one by one.)
    """
    import keras

    from pipeline.backbones.build import build_embedding_model
    from pipeline.features.extract import make_recipe

    model = build_embedding_model(*make_recipe(backbone, "random"))
    inner = model.get_layer("backbone")
    if kind == "order-one":
        for layer in inner.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
        shape = model.input_shape[1:]
        if photos is None:
            pixels = np.random.default_rng(1).integers(0, 256, (16, *shape))
        else:
            pixels = np.stack([np.asarray(Image.open(path).resize(shape[:2])) for path in photos])
        inner(model.get_layer("preprocessing")(pixels.astype(np.float32)), training=True)
    path = folder / f"{kind}.weights.h5"
    inner.save_weights(path)
    model.save(folder / NETWORK)
    return str(path)


def measure(backbone: str, arguments) -> dict:
    """A row of the table: images/s of each peer, and how far their features are from Keras's."""
    from pipeline.backbones.registry import get_backbone

    size = get_backbone(backbone).image_size
    with tempfile.TemporaryDirectory(prefix="frostline-embed-") as name:
        folder = Path(name)
        weights = save_weights(backbone, arguments.weights, folder)
        pixels = np.random.default_rng(0).integers(0, 256, (arguments.images, size, size, 3))
        np.save(folder / "pixels.npy", pixels.astype(np.uint8))
        processes, features = {}, {}
        for peer in arguments.peers:
            path = folder / f"{peer}.npy"
            process = start(peer, [backbone, weights, str(folder / "pixels.npy"), str(path)])
            if process is not None:
                processes[peer], features[peer] = process, np.load(path)
        seconds: dict[str, list[float]] = {peer: [] for peer in processes}
        for _ in range(arguments.rounds):
            for peer, process in processes.items():
                process.stdin.write("\n")
                process.stdin.flush()
                seconds[peer].append(float(process.stdout.readline()))
        for process in processes.values():
            process.stdin.close()
            process.wait()
    return make_row(backbone, arguments.images, seconds, features)


def make_row(
    backbone: str, n_images: int, seconds: dict[str, list[float]], features: dict[str, np.ndarray]
) -> dict:
    row: dict = {"network": backbone}
    for peer, taken in seconds.items():
        row[peer] = n_images / statistics.median(taken)
    for ours, theirs in (("frostline", "openvino"), ("frostline bf16", "openvino bf16")):
        if ours in seconds and theirs in seconds:
            pairs = zip(seconds[ours], seconds[theirs], strict=True)
            row[f"{ours} / {theirs}"] = statistics.median([b / a for a, b in pairs])
    base = features.get("predict", next(iter(features.values())))
    if "frostline" in features:
        difference = float(np.abs(features["frostline"] - base).max())
        row["difference"] = difference / float(np.abs(base).max())
    if "frostline bf16" in features:
        row["bf16 cosine"] = least_cosine(features["frostline bf16"], base)
    return row


def least_cosine(some: np.ndarray, others: np.ndarray) -> float:
    norms = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    return float(((some * others).sum(axis=1) / norms).min())


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--networks", nargs="+", default=["efficientnetb0"])
    parser.add_argument("--weights", choices=("order-one", "keras"), default="order-one")
    parser.add_argument("--images", type=int, help="[default: 128; short: 64]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    arguments = parser.parse_args()
    arguments.images = arguments.images or (64 if arguments.short else 128)
    if arguments.work:
        work(*arguments.work)
        return
    machine = describe_machine(PACKAGES)
    print(f"images/s, {arguments.images} images, medians of {arguments.rounds} rounds")
    print(f"random weights: {arguments.weights}")
    print_machine(machine)
    rows = []
    for network in arguments.networks:
        rows.append(measure(network, arguments))
        print_table(list(rows[-1]), [rows[-1].values()])
    columns = list(dict.fromkeys(name for row in rows for name in row))
    print_table(columns, [[row.get(name) for name in columns] for row in rows])
    for peer in arguments.peers:
        print(f"{peer}: {PEERS[peer]}")
    write_results(arguments.json, machine, rows)


if __name__ == "__main__":
    main()
