"""For those who have a GPU: images/s of embedding at batches of 32 to 1024.

Each precision, compiled or not, from pixels in memory; with the memory that TensorFlow used at
most. Nobody has run this yet where it was written: there was no GPU.

    python benchmarks/gpu.py --backbone efficientnetb0 --weights random
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)

BATCH_SIZES = (32, 64, 128, 256, 512, 1024)
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
PACKAGES = ("tensorflow", "keras", "numpy")
ENGINES = ("compiled", "folded")


def measure(arguments) -> list[dict]:
    import tensorflow as tf

    from pipeline.backbones.build import build_embedding_model
    from pipeline.embedder import Embedder, choose_device
    from pipeline.extract import make_recipe

    device = choose_device(arguments.device)
    rows = []
    for precision in arguments.precisions:
        recipe, weights = make_recipe(arguments.backbone, arguments.weights, precision=precision)
        model = build_embedding_model(recipe, weights)
        side = recipe.image_size
        for engine in ENGINES:
            for batch_size in arguments.batch_sizes:
                pixels = np.zeros((batch_size, side, side, 3), np.uint8)
                if device.is_gpu:
                    tf.config.experimental.reset_memory_stats(device.name.strip("/"))
                embed = Embedder(model, device, batch_size, engine=engine)
                embed(pixels)
                taken = []
                for _ in range(arguments.rounds):
                    started = time.perf_counter()
                    embed(pixels)
                    taken.append(time.perf_counter() - started)
                peak = (
                    tf.config.experimental.get_memory_info(device.name.strip("/"))["peak"] / 1e6
                    if device.is_gpu
                    else 0.0
                )
                rows.append(
                    {
                        "precision": precision,
                        "engine": engine,
                        "batch": batch_size,
                        "images/s": batch_size / statistics.median(taken),
                        "peak memory (MB)": peak,
                    }
                )
    return rows


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--backbone", default="efficientnetb0")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--device", default="gpu")
    parser.add_argument("--precisions", nargs="*", default=list(PRECISIONS))
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=list(BATCH_SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows = measure(arguments)
    machine = describe_machine(PACKAGES)
    print_machine(machine)
    print_table(list(rows[0]), [row.values() for row in rows])
    write_results(arguments.json, machine, rows)


if __name__ == "__main__":
    main()
