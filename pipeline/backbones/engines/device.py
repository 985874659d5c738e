"""Where to compute: which devices there are, what they call themselves, and how TensorFlow is set
up for them. TensorFlow is imported only by the functions that ask it.
"""

import importlib.util
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.backbones.engines.tensorflow_trial import find_obstacle
from pipeline.errors import DeviceError, ParameterError
from pipeline.system.parallel import count_cores
from pipeline.system.quiet_start import no_start_up_talk
from pipeline.system.tensorflow_gpus import hide_gpus, set_up_gpus, show_gpus

CPU_BATCH_SIZE = 4
GPU_BATCH_SIZE = 128
# Decoding threads that keep a GPU busy; the device itself runs one batch after the other.
GPU_STREAMS = 8
# A batch that does not fit the memory is halved so often.
N_HALVINGS = 2
_MEMORY_WORDS = (
    "RESOURCE_EXHAUSTED",
    "ResourceExhaustedError",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DNN library initialization failed",
    "Failed to determine best cudnn convolution algorithm",
)
_CPU_FACTS = Path("/proc/cpuinfo")
_GPU_NODES = tuple(map(Path, ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")))


@dataclass(frozen=True)
class Device:
    """Where to compute.

    Args:
        name: its library's name of it in this process, `/CPU:0` or `/GPU:N`.
        description: words for people.
        model: what the device calls itself, such as `AMD EPYC 7B13`.
        compute_capability: of a GPU, such as `9.0`; empty for a CPU.
        seen_by: the library that computes on it, of a GPU: `tensorflow` or `jax`.
        notes: what people should know of how it was chosen.
        number: which of the machine's devices of its kind it is, from 0.
    """

    name: str
    description: str
    model: str = ""
    compute_capability: str = ""
    seen_by: str = "tensorflow"
    notes: tuple[str, ...] = ()
    number: int = 0

    @property
    def is_gpu(self) -> bool:
        return "GPU" in self.name

    @property
    def kind(self) -> str:
        """`cpu` or `gpu`."""
        return "gpu" if self.is_gpu else "cpu"

    @property
    def asked_as(self) -> str:
        """What to ask for in another process: `cpu` or `gpu:N`."""
        return f"gpu:{self.number}" if self.is_gpu else "cpu"

    @property
    def batch_size(self) -> int:
        """Images per call that suit it."""
        return GPU_BATCH_SIZE if self.is_gpu else CPU_BATCH_SIZE

    @property
    def n_streams(self) -> int:
        """Calls side by side that suit it."""
        return GPU_STREAMS if self.is_gpu else count_cores()


def describe_cpu() -> Device:
    """This machine's CPU, without asking TensorFlow."""
    return Device("/CPU:0", f"CPU, {count_cores()} cores", read_cpu_model())


def read_cpu_model() -> str:
    """What the CPU calls itself; its architecture where the system does not say."""
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", _CPU_FACTS.read_text("utf-8"), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def require_device_name(wanted: object) -> tuple[str, int]:
    """Reads `auto`, `cpu`, `gpu` or `gpu:N`; TensorFlow is not asked.

    Returns:
        The kind and the number.

    Raises:
        ParameterError: it is none of these.
    """
    found = re.fullmatch(r"(auto|cpu|gpu)|gpu:(\d+)", wanted) if isinstance(wanted, str) else None
    if found is None:
        raise ParameterError(
            f"Unknown device. Expected auto, cpu, gpu or gpu:N. Received: `device={wanted}`",
            "device",
        )
    return found[1] or "gpu", int(found[2] or 0)


def may_have_gpu() -> bool:
    """Whether there is any sign of a GPU that could be used, without starting what would use it.

    On Linux a driver's device nodes tell (NVIDIA's, AMD's, and WSL's); elsewhere TensorFlow uses
    one only with a package of the maker's.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1"):
        return False
    if platform.system() == "Linux":
        return any(path.exists() for path in _GPU_NODES)
    return importlib.util.find_spec("tensorflow-plugins") is not None


def choose_device(
    wanted: str = "auto", *, sees_others: bool = False, is_proven: bool = False
) -> Device:
    """Finds the device for `auto`, `cpu`, `gpu` or `gpu:N`; TensorFlow is asked only of GPUs.

    It is the only one that TensorFlow sees from then on, and on a GPU float32 is float32: the
    10 bits of TF32 move EfficientNet-Lite0's features by 3e-3 of the greatest.

    Args:
        wanted: which.
        sees_others: let TensorFlow see the other GPUs, too.
        is_proven: the process that started this one has tried it.

    Returns:
        The device; a CPU says why it is no GPU, where there is one.

    Raises:
        DeviceError: a GPU was asked for and cannot be used.
    """
    kind, number = require_device_name(wanted)
    if kind == "cpu" or not may_have_gpu():
        if kind == "gpu":
            raise DeviceError(_describe_missing(0, number, wanted))
        if may_have_gpu():
            hide_gpus()
        return describe_cpu()
    with no_start_up_talk():  # CUDA says on stderr that it is not there
        import tensorflow as tf

        set_up_gpus()
        gpus = tf.config.list_physical_devices("GPU")
    if number >= len(gpus):
        return _refuse(kind, _describe_missing(len(gpus), number, wanted))
    found = describe_gpu(number)
    reason = "" if is_proven else find_obstacle(found)
    if reason:
        return _refuse(
            kind,
            f"TensorFlow cannot use {found.description}: {reason}. Expected a GPU that it can "
            f"compute on. Received: `device={wanted}`\nJAX serves newer cards: "
            "`pip install '.[jax]'` (Linux). Or compute on the CPU: `device=cpu`.",
        )
    if not sees_others and not show_gpus([gpus[number]]):
        visible = tf.config.get_visible_devices("GPU")
        if gpus[number] not in visible:
            return _refuse(
                kind,
                f"TensorFlow runs in this process already, and without {found.description}. "
                f"Expected a process in which it has not begun. Received: `device={wanted}`\n"
                "Choose the device before anything is computed, or start a new process.",
            )
        found = replace(found, name=f"/GPU:{visible.index(gpus[number])}")
    use_tf32(is_on=False)
    return found


def use_tf32(*, is_on: bool) -> None:
    """Whether this process's GPU makes products of float32 of 10 bits, as it does by itself."""
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(is_on)


def _refuse(kind: str, text: str) -> Device:
    """Raises for a GPU that was asked for; else the CPU, with the reason."""
    if kind == "gpu":
        raise DeviceError(text)
    hide_gpus()
    return replace(describe_cpu(), notes=(text,))


def _describe_missing(n_gpus: int, number: int, wanted: str) -> str:
    if n_gpus == 0 and may_have_gpu():
        return (
            "There is a GPU in this machine that TensorFlow cannot use: it sees 0 GPU(s). Expected "
            f"its driver and the CUDA libraries. Received: `device={wanted}`\nCheck `nvidia-smi`, "
            "and install the libraries with `pip install '.[gpu]'` (Linux)."
        )
    return (
        f"TensorFlow sees {n_gpus} GPU(s). Expected GPU {number} to be there. "
        f"Received: `device={wanted}`\n"
        "Check `nvidia-smi`, install the CUDA libraries with `pip install '.[gpu]'` "
        "(Linux), or leave out `device`."
    )


def describe_gpu(number: int) -> Device:
    """One of the GPUs that TensorFlow sees in this machine."""
    import tensorflow as tf

    gpu = tf.config.list_physical_devices("GPU")[number]
    details = tf.config.experimental.get_device_details(gpu)
    model = details.get("device_name", "unknown model")
    capability = ".".join(map(str, details.get("compute_capability", ())))
    return Device("/GPU:0", f"GPU {number}, {model}", model, capability, number=number)


def use_one_thread_per_operation() -> bool:
    """Sets TensorFlow up for many one-thread streams; holds for the whole process.

    Returns:
        False where TensorFlow runs already with other settings, which it cannot change.
    """
    with no_start_up_talk():
        import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(count_cores())
    except RuntimeError:
        return False
    return True


@contextmanager
def memory_errors(batch_size: int) -> Iterator[None]:
    """Says which batch size to try where the device's memory is too small for one.

    Raises:
        DeviceError: so it is.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        if not tells_of_memory(f"{type(error).__name__} {error}"):
            raise
        raise too_little_memory(batch_size) from error


def too_little_memory(batch_size: int) -> DeviceError:
    """The error for a batch that does not fit the device, with the size to try."""
    smaller = max(1, batch_size // 2)
    return DeviceError(
        f"Not enough memory for a batch of {batch_size} images. Expected it to fit the "
        f"device. Received: `batch_size={batch_size}`\nTry `batch_size={smaller}`"
        + (", or a smaller image size at extraction." if batch_size == 1 else ".")
    )


def describe_halving(asked: int, batch_size: int) -> str:
    """Says that batches are smaller than they were to be."""
    return (
        f"A batch of {asked} images does not fit the device's memory; batches of {batch_size} are "
        "computed instead."
    )


def tells_of_memory(text: str) -> bool:
    """Whether an accelerator's error is for want of memory, in whichever words.

    cuDNN says so of the workspace that it could not get, too.
    """
    return any(words in text for words in _MEMORY_WORDS)
