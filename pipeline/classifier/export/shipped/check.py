"""Says whether a model that Frostline exported gives here what it gave there.

    python check.py

Needs numpy and the model's own runtime, nothing else.
"""

import sys
from collections.abc import Callable

import numpy as np

Outputs = dict[str, np.ndarray]
Run = Callable[[np.ndarray], Outputs]


def open_onnx(path: str) -> tuple[Run, str]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    image = session.get_inputs()[0].name

    def run(pixels: np.ndarray) -> Outputs:
        return dict(zip(names, session.run(names, {image: pixels}), strict=True))

    return run, f"onnxruntime {onnxruntime.__version__}"


def open_openvino(path: str) -> tuple[Run, str]:
    import openvino

    core = openvino.Core()
    read = core.read_model(path)
    hint = "INFERENCE_PRECISION_HINT"  # without it, bfloat16 on processors that have it
    wanted = read.get_rt_info(["frostline", hint]).astype(str)
    model = core.compile_model(read, "CPU", {hint: wanted})

    def run(pixels: np.ndarray) -> Outputs:
        found = model(pixels)
        return {port.get_any_name(): found[port] for port in model.outputs}

    return run, f"openvino {openvino.__version__.split('-')[0]}"


def open_litert(path: str) -> tuple[Run, str]:
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    runner = interpreter.get_signature_runner("serving_default")

    def run(pixels: np.ndarray) -> Outputs:
        parts = [runner(image=pixels[row : row + 1]) for row in range(len(pixels))]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return run, f"ai-edge-litert {version('ai-edge-litert')}"


def open_saved_model(path: str) -> tuple[Run, str]:
    import tensorflow as tf

    model = tf.saved_model.load(path)

    def run(pixels: np.ndarray) -> Outputs:
        return {
            name: value.numpy()
            for name, value in model.signatures["serving_default"](
                image=tf.constant(pixels)
            ).items()
        }

    return run, f"tensorflow {tf.__version__}"


def open_keras(path: str) -> tuple[Run, str]:
    import keras

    model = keras.saving.load_model(path)

    def run(pixels: np.ndarray) -> Outputs:
        found = model(pixels.astype(np.float32), training=False)
        return {name: np.asarray(value) for name, value in found.items()}

    return run, f"keras {keras.__version__}"


OPENERS = {
    "onnx": open_onnx,
    "openvino": open_openvino,
    "litert": open_litert,
    "saved-model": open_saved_model,
    "keras": open_keras,
}


def run_in_batches(run: Run, pixels: np.ndarray, size: int = 16) -> Outputs:
    parts = [run(pixels[start : start + size]) for start in range(0, len(pixels), size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["run"]:
        model, form, pixels, outputs = arguments[1:]
        run, runtime = OPENERS[form](model)
        found = run_in_batches(run, np.load(pixels))
        np.savez(outputs, **found)  # type: ignore[arg-type]
        print(runtime)
        return 0
    raise SystemExit("not yet")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
