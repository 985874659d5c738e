"""Embedding alone: Frostline against model.predict, OpenVINO, PyTorch and plain TFLite.

Same network, same weights, same pixels in memory. Each peer runs in a process of its own, so that
thread settings do not mix; they take turns, one working at a time, and medians are compared.

    python benchmarks/embed.py --rounds 5
"""

import argparse
import os
import statistics
import subprocess
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

PEERS = {
    "frostline": "Frostline (LiteRT, a one-thread stream per core)",
    "folded": "Frostline's second engine (TensorFlow, constants folded)",
    "predict": "Keras model.predict, batches of 32",
    "openvino": "OpenVINO, throughput mode, float32",
    "tflite": "TFLite, one interpreter, a thread per core",
    "torch": "PyTorch (Keras's backend), batches of 32",
}
PREDICT_BATCH = 32
NETWORK = "network.keras"
PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "openvino", "torch", "numpy")


def build_model(backbone: str, weights: str):
    """The embedding model, as `extract` builds it, with weights from a file."""
    from pipeline.backbones.build import build_embedding_model
    from pipeline.features.extract import make_recipe

    return build_embedding_model(*make_recipe(backbone, weights))


def make_frostline(model, engine: str | None = None) -> Callable[[np.ndarray], np.ndarray]:
    from pipeline.backbones.engines.engine import Network
    from pipeline.backbones.engines.registry import open_embedder
    from pipeline.system.parallel import map_batches

    batch_size = 8 if engine == "tensorflow" else None
    embed = open_embedder(
        Network(lambda: model), "cpu", engine=engine, batch_size=batch_size, is_alone=True
    )
    size = embed.images_per_task

    def run(pixels: np.ndarray) -> np.ndarray:
        tasks = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        return np.concatenate(list(map_batches(embed, tasks, embed.n_streams)))

    return run


def make_predict(model) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: model.predict(pixels, batch_size=PREDICT_BATCH, verbose=0)


def make_openvino(model) -> Callable[[np.ndarray], np.ndarray]:
    import openvino
    import tensorflow as tf

    shape = model.input_shape[1:]
    function = tf.function(
        lambda pixels: model(tf.cast(pixels, tf.float32), training=False),
        input_signature=[tf.TensorSpec((1, *shape), tf.uint8)],
    )
    from pipeline.backbones.engines.tensorflow_graph import freeze

    converted = openvino.convert_model(freeze(function).graph.as_graph_def())
    # Without the second hint it takes bfloat16 where the processor has it: 6% off, not 1e-6.
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(converted, "CPU", hints)
    requests = openvino.AsyncInferQueue(compiled)

    def run(pixels: np.ndarray) -> np.ndarray:
        features = np.empty((len(pixels), compiled.output(0).shape[-1]), np.float32)

        def keep(request, row: int) -> None:
            features[row] = request.get_output_tensor(0).data[0]

        requests.set_callback(keep)
        for row in range(len(pixels)):
            requests.start_async({0: pixels[row : row + 1]}, row)
        requests.wait_all()
        return features

    return run


def make_tflite(model) -> Callable[[np.ndarray], np.ndarray]:
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    from pipeline.backbones.engines.litert import convert_to_litert

    shape = model.input_shape[1:]
    function = tf.function(
        lambda pixels: model(tf.cast(pixels, tf.float32), training=False),
        input_signature=[tf.TensorSpec((1, *shape), tf.uint8)],
    )
    interpreter = Interpreter(model_content=convert_to_litert(function), num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    place_in = interpreter.get_input_details()[0]["index"]
    place_out = interpreter.get_output_details()[0]["index"]

    def run(pixels: np.ndarray) -> np.ndarray:
        rows = []
        for row in range(len(pixels)):
            interpreter.set_tensor(place_in, pixels[row : row + 1])
            interpreter.invoke()
            rows.append(interpreter.get_tensor(place_out))
        return np.concatenate(rows)

    return run


MAKERS = {
    "frostline": make_frostline,
    "folded": lambda model: make_frostline(model, "tensorflow"),
    "predict": make_predict,
    "openvino": make_openvino,
    "tflite": make_tflite,
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


def save_weights_of_order_one(backbone: str, folder: Path) -> str:
    """Random weights whose features are of order 1: BatchNorm statistics of one noisy batch."""
    import keras

    from pipeline.backbones.build import build_embedding_model
    from pipeline.features.extract import make_recipe

    model = build_embedding_model(*make_recipe(backbone, "random"))
    inner = model.get_layer("backbone")
    for layer in inner.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    pixels = np.random.default_rng(1).integers(0, 256, (16, *model.input_shape[1:]))
    inner(model.get_layer("preprocessing")(pixels.astype(np.float32)), training=True)
    path = folder / "order-one.weights.h5"
    inner.save_weights(path)
    model.save(folder / NETWORK)
    return str(path)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--backbone", default="efficientnetb0")
    parser.add_argument("--images", type=int, help="[default: 128; short: 64]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    arguments = parser.parse_args()
    arguments.images = arguments.images or (64 if arguments.short else 128)
    if arguments.work:
        work(*arguments.work)
        return
    with tempfile.TemporaryDirectory(prefix="frostline-embed-") as name:
        folder = Path(name)
        weights = save_weights_of_order_one(arguments.backbone, folder)
        pixels = np.random.default_rng(0).integers(0, 256, (arguments.images, 224, 224, 3))
        np.save(folder / "pixels.npy", pixels.astype(np.uint8))
        processes, features = {}, {}
        for peer in arguments.peers:
            path = folder / f"{peer}.npy"
            process = start(
                peer, [arguments.backbone, weights, str(folder / "pixels.npy"), str(path)]
            )
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
    report(arguments, seconds, features)


def report(arguments, seconds: dict[str, list[float]], features: dict[str, np.ndarray]) -> None:
    base = "predict" if "predict" in seconds else next(iter(seconds))
    greatest = float(np.abs(features[base]).max())
    rows = []
    for name, taken in seconds.items():
        rows.append(
            {
                "what": PEERS[name],
                "images/s": arguments.images / statistics.median(taken),
                **{
                    f"times {peer}": statistics.median(
                        [theirs / ours for theirs, ours in zip(seconds[peer], taken, strict=True)]
                    )
                    for peer in (base, "openvino")
                    if peer in seconds
                },
                "greatest difference": float(np.abs(features[name] - features[base]).max())
                / greatest,
            }
        )
    machine = describe_machine(PACKAGES)
    print(f"{arguments.backbone}, {arguments.images} images, median of {arguments.rounds} rounds")
    print(f"greatest feature {greatest:.3g}; differences are relative to it")
    print_machine(machine)
    print_table(list(rows[0]), [row.values() for row in rows])
    write_results(arguments.json, machine, rows)


if __name__ == "__main__":
    main()
