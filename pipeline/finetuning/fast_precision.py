"""Which precisions there is any use in training in: 16 bits pay on a GPU, and cost on a CPU."""

from pipeline.backbones.engines.device import Device, may_have_gpu
from pipeline.errors import ParameterError
from pipeline.recipe import PRECISIONS, keras_policy


def require_fast_precision(precision: str, device: Device | str) -> None:
    """Raises a ParameterError for 16 bits on a CPU, as soon as it is known that there is no GPU.

    Args:
        precision: as in `FinetuneOptions`.
        device: that was chosen, or the name that was asked for.
    """
    if isinstance(device, Device):
        is_cpu = not device.is_gpu
    else:
        is_cpu = device == "cpu" or (device == "auto" and not may_have_gpu())
    if is_cpu and keras_policy(PRECISIONS[precision]) != "float32":
        raise ParameterError(
            "On a CPU TensorFlow trains in 16 bits more slowly than in float32, even where the CPU "
            "has units for them (docs/fine-tuning.md has the figures). Expected "
            f"`precision='float32'`, or a GPU. Received: `precision='{precision}'` on a CPU\n"
            "Embedding is another matter: `frostline.extract(DATA, precision='bfloat16')` pays.",
            "precision",
        )
