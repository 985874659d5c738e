"""Whether TensorFlow's build can serve a GPU: by what it has code for, and by a trial in a child.

On a card that is too new its compiler ends the process (tensorflow issues 99592, 101746, 111958),
so the trial is in another one. That takes seconds, so what was passed is remembered beside the
converted networks, until another driver or TensorFlow is installed.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.backbones.engines.network_store import NetworkStore
from pipeline.errors import StorageError
from pipeline.system.atomic_files import write_text
from pipeline.system.child_process import ChildFailedError, ChildLostError, HelperProcess
from pipeline.system.quiet_start import no_start_up_talk

if TYPE_CHECKING:
    from pipeline.backbones.engines.device import Device

_SECONDS_TO_TRY = 120.0
_DRIVER = Path("/proc/driver/nvidia/version")
# Of what is computed: 11 x 11 places of a kernel of 3 channels, by 4 kernels, 5 columns, 2 images.
_SUM = 11 * 11 * 3 * 4 * 5 * 2


def find_obstacle(device: "Device") -> str:
    """What keeps TensorFlow from computing on a GPU, in words; empty where nothing does."""
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    newest = find_newest(build.get("cuda_compute_capabilities", ()))
    if newest and parse_capability(device.compute_capability) > newest:
        return (
            f"it has compute capability {device.compute_capability}, and TensorFlow "
            f"{tf.__version__} has code up to {newest[0]}.{newest[1]}"
        )
    driver = _DRIVER.read_text("utf-8") if _DRIVER.is_file() else ""
    facts = json.dumps([tf.__version__, device.model, device.compute_capability, driver])
    passed = NetworkStore().folder / f"{hashlib.sha256(facts.encode()).hexdigest()}.gpu"
    if passed.is_file():
        return ""
    reason = _try(device.number)
    if not reason:
        with suppress(StorageError):  # then it is tried every time
            write_text(passed, facts + "\n")
    return reason


def find_newest(names: Iterable[str]) -> tuple[int, ...]:
    """The greatest of compute capabilities as builds name them, such as `sm_80` or `compute_90`."""
    found = (re.search(r"(\d+)(\d)", name) for name in names)
    return max((tuple(map(int, one.groups())) for one in found if one), default=())


def parse_capability(text: str) -> tuple[int, ...]:
    """`9.0` as (9, 0); nothing where it is unknown."""
    return tuple(int(part) for part in text.split(".") if part.isdigit())


@cache
def _try(number: int) -> str:
    try:
        with HelperProcess(is_quiet=True) as helper:
            helper.call(compute_a_little, number, seconds=_SECONDS_TO_TRY)
    except ChildLostError as lost:
        return f"a small compiled computation there failed, {lost}"
    except ChildFailedError as failed:
        lines = str(failed).strip().splitlines()
        return f"a small compiled computation there failed, {lines[-1][:200].rstrip('.')}"
    return ""


def compute_a_little(number: int) -> None:
    """Compiles a convolution and a product for a GPU and runs them; to be called in a child."""
    with no_start_up_talk():
        import tensorflow as tf

        gpu = tf.config.list_physical_devices("GPU")[number]
    tf.config.set_visible_devices([gpu], "GPU")
    tf.config.experimental.set_memory_growth(gpu, True)
    found = run_compiled("/GPU:0")
    if abs(found - _SUM) > 1:
        raise ArithmeticError(f"expected {_SUM}, received {found:g}")


def run_compiled(name: str) -> float:
    """A sum over what a small network of ones gives on a device."""
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def compute(images: tf.Tensor, kernel: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.nn.conv2d(images, kernel, 2, "SAME") @ matrix)

    with tf.device(name):
        ones = compute(tf.ones((2, 8, 8, 3)), tf.ones((3, 3, 3, 4)), tf.ones((4, 5)))
    return float(ones)
