"""Which precisions there is any use in training in: on a CPU 16 bits mostly cost time."""

from pipeline.backbones.engines.device import Device, may_have_gpu
from pipeline.errors import ParameterError
from pipeline.recipe import PRECISIONS, keras_policy


def require_fast_precision(precision: str, device: Device | str, strategy: str) -> None:
    """Raises a ParameterError for 16 bits that are slower than 32, as soon as that is known.

    On a GPU they are not; on a CPU bfloat16 pays where that has units for it, and one network is
    trained, for which there are faster kernels than Keras's (`folded.py`).

    Args:
        precision: as in `FinetuneOptions`.
        device: that was chosen, or the name that was asked for.
        strategy: as in `FinetuneOptions`.
    """
    is_cpu = _is_cpu(device)
    policy = keras_policy(PRECISIONS[precision])
    if not is_cpu or policy == "float32":
        return
    if policy != "mixed_bfloat16":
        where = "on a CPU"
    elif strategy != "single":
        where = f"on CPUs with `strategy='{strategy}'`"
    elif not has_units():
        where = "on a CPU without units for it"
    else:
        return
    raise ParameterError(
        f"TensorFlow trains in {precision} more slowly than in float32 {where} "
        "(docs/fine-tuning.md has the figures). Expected `precision='float32'`, or a GPU. "
        f"Received: `precision='{precision}'` {where}\n"
        "Embedding is another matter: `frostline.extract(DATA, precision='bfloat16')` pays on CPUs "
        "with units for it.",
        "precision",
    )


def suggest_precision(precision: str, device: Device, strategy: str) -> list[str]:
    """Names bfloat16 where it trains faster; the arguments are those of `require_fast_precision`.

    It is no default, since what comes out would hang on the processor by more than rounding.
    """
    if precision != "float32" or strategy != "single" or not _is_cpu(device) or not has_units():
        return []
    return [
        "`precision='bfloat16'` trains faster on this processor, 1.1 to 2.2 times where it was "
        "measured (docs/fine-tuning.md); the model is float32 in any case."
    ]


def _is_cpu(device: Device | str) -> bool:
    if isinstance(device, Device):
        return not device.is_gpu
    return device == "cpu" or (device == "auto" and not may_have_gpu())


def has_units() -> bool:
    """Whether this machine's CPU multiplies in bfloat16."""
    # Loads OpenVINO, which most commands do not need so early.
    from pipeline.backbones.engines.openvino_compiled import has_bfloat16

    return has_bfloat16()
