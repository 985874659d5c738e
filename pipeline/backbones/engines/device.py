"""Where to compute: which devices there are, what they call themselves, and how TensorFlow is set
up for them. TensorFlow is imported only by the functions that ask it.
"""

import importlib.util
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DeviceError, ParameterError
from pipeline.system.parallel import count_cores
from pipeline.system.quiet_start import no_start_up_talk

CPU_BATCH_SIZE = 4
GPU_BATCH_SIZE = 128
# Decoding threads that keep a GPU busy; the device itself runs one batch after the other.
GPU_STREAMS = 8
_MEMORY_WORDS = (
    "RESOURCE_EXHAUSTED",
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
        name: TensorFlow's name of it, `/CPU:0` or `/GPU:N`.
        description: words for people.
        model: what the device calls itself, such as `AMD EPYC 7B13`.
        compute_capability: of a GPU, such as `9.0`; empty for a CPU.
        seen_by: the library that computes on it, of a GPU: `tensorflow` or `jax`.
        notes: what people should know of how it was chosen.
    """

    name: str
    description: str
    model: str = ""
    compute_capability: str = ""
    seen_by: str = "tensorflow"
    notes: tuple[str, ...] = ()

    @property
    def is_gpu(self) -> bool:
        return "GPU" in self.name

    @property
    def kind(self) -> str:
        """`cpu` or `gpu`."""
        return "gpu" if self.is_gpu else "cpu"

    @property
    def number(self) -> int:
        """Which of its kind it is, from 0."""
        return int(self.name.rpartition(":")[2])

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


def choose_device(wanted: str = "auto") -> Device:
    """Finds the device for `auto`, `cpu`, `gpu` or `gpu:N`; TensorFlow is asked only of GPUs.

    Args:
        wanted: which.

    Raises:
        DeviceError: a GPU was asked for and is not there.
    """
    kind, index = require_device_name(wanted)
    if kind == "cpu" or (kind == "auto" and not may_have_gpu()):
        return describe_cpu()
    with no_start_up_talk():  # CUDA says on stderr that it is not there
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        with suppress(RuntimeError):  # it is in use already, so its memory is set up
            tf.config.experimental.set_memory_growth(gpu, True)
    if kind == "auto" and not gpus:
        return describe_cpu()
    if index >= len(gpus):
        raise DeviceError(
            f"TensorFlow sees {len(gpus)} GPU(s). Expected GPU {index} to be there. "
            f"Received: `device={wanted}`\n"
            "Check `nvidia-smi`, install the CUDA libraries with `pip install '.[gpu]'` "
            "(Linux), or leave out `device`."
        )
    details = tf.config.experimental.get_device_details(gpus[index])
    model = details.get("device_name", "unknown model")
    capability = ".".join(map(str, details.get("compute_capability", ())))
    return Device(f"/GPU:{index}", f"GPU {index}, {model}", model, capability)


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
    except tf.errors.ResourceExhaustedError as error:
        raise too_little_memory(batch_size) from error


def too_little_memory(batch_size: int) -> DeviceError:
    """The error for a batch that does not fit the device, with the size to try."""
    smaller = max(1, batch_size // 2)
    return DeviceError(
        f"Not enough memory for a batch of {batch_size} images. Expected it to fit the "
        f"device. Received: `batch_size={batch_size}`\nTry `batch_size={smaller}`"
        + (", or a smaller image size at extraction." if batch_size == 1 else ".")
    )


def tells_of_memory(text: str) -> bool:
    """Whether an accelerator's error is for want of memory, in whichever words.

    cuDNN says so of the workspace that it could not get, too.
    """
    return any(words in text for words in _MEMORY_WORDS)
