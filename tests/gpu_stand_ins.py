"""What processes of several GPUs compute with where there is none; light, as each imports it."""

import os
import signal
from dataclasses import replace
from pathlib import Path

from benchmarks.stand_in import StandIn
from pipeline.errors import DeviceError


class OnGPU(StandIn):
    """Calls itself a GPU, and leaves a file for each batch that says what it saw."""

    model = "Stand-in 9000"

    def __init__(self, batch_size=None):
        super().__init__(batch_size)
        self.record = replace(self.record, device="gpu", device_name=self.model)

    def __call__(self, pixels):
        Path(f"saw-{os.environ['CUDA_VISIBLE_DEVICES']}-{os.getpid()}").touch()
        return super().__call__(pixels)


class Different(OnGPU):
    """Another card wherever the second device is seen."""

    def __init__(self, batch_size=None):
        self.model = f"Stand-in {os.environ['CUDA_VISIBLE_DEVICES']}"
        super().__init__(batch_size)


class Dying(OnGPU):
    """Is killed at its first batch."""

    def __call__(self, pixels):
        os.kill(os.getpid(), signal.SIGKILL)


def no_memory(batch_size):
    raise DeviceError("Not enough memory for a batch of 128 images.")


def three_gpus(engine):
    return 3
