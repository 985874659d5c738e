"""What happens where the card's memory is too small."""

import os

from benchmarks.gpu_parts.bench import BACKBONE, Bench


def measure_memory(bench: Bench) -> None:
    """Texts of memory errors, and what the engine makes of them."""
    from pipeline.backbones.engines.device import tells_of_memory
    from pipeline.errors import DeviceError
    from pipeline.system.child_process import HelperProcess

    if bench.arguments.engine != "jax":
        print("  only for the JAX engine")
        return
    kind = "cpu" if bench.arguments.device == "cpu" else "gpu"
    with HelperProcess() as helper:
        text = helper.call(provoke_memory_error, kind)
    bench.facts["text"] = text[:1000]
    bench.facts["known for one"] = tells_of_memory(text)
    print(f"  {bench.facts}", flush=True)
    if kind == "cpu":
        return  # the system would end processes, not JAX
    # Of the card's memory: a batch of 1,024 has maps of 4.9 GB, four times as many do not fit.
    for share in ("0.1", "0.02"):
        os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = share
        try:
            embed = bench.open(BACKBONE, "float32", 1024)
            embed(bench.images(embed.batch_size))
            row = {"of the memory": share, "batch": embed.batch_size, "said": embed.notes}
        except DeviceError as error:
            row = {"of the memory": share, "batch": None, "said": str(error)}
        bench.rows.append(row)
        bench.save()
        print(f"  {row}", flush=True)


def provoke_memory_error(kind: str) -> str:
    """What JAX says of a petabyte."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    import jax

    with jax.default_device(jax.devices(kind)[0]):
        try:
            jax.numpy.zeros(10**15, "uint8").block_until_ready()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return "there was no error"
