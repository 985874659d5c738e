"""For those who have a GPU: images/s of embedding at batches of 32 to 1024.

Each precision, compiled or not, from pixels in memory and from JPEG files that are decoded in
threads ahead of the device; with the memory that TensorFlow used at most. Nobody has run this on a
GPU yet where it was written: there was none. `--device cpu` shows that it runs.

    python benchmarks/gpu.py --backbone efficientnetb0 --weights random
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
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
from benchmarks.extract import SIZES, make_photos

BATCH_SIZES = (32, 64, 128, 256, 512, 1024)
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
PACKAGES = ("tensorflow", "keras", "numpy")
WAYS = {"compiled": True, "folded": False}  # whether XLA compiles the graph
N_BATCHES = 4  # in a run from files


def time_rate(run: Callable[[], object], n_images: int, n_rounds: int) -> float:
    """Images/s, the median of the rounds after one to warm up."""
    run()
    taken = []
    for _ in range(n_rounds):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return n_images / statistics.median(taken)


def embed_from_files(embed, paths: list[Path], recipe) -> None:
    """As `extract` does: a thread reads, decodes and embeds a batch, several at once."""
    from functools import partial

    from pipeline.features.embed import EmbedInThreads
    from pipeline.images.decoding.read_images import read_images

    size = embed.images_per_task
    batches = [paths[start : start + size] for start in range(0, len(paths), size)]
    for _ in EmbedInThreads(embed, partial(read_images, recipe=recipe)).map(batches):
        continue


def measure(arguments, photos: list[Path]) -> list[dict]:
    import tensorflow as tf

    from pipeline.backbones.build import build_embedding_model
    from pipeline.backbones.engines.device import choose_device
    from pipeline.backbones.engines.embedder import Embedder
    from pipeline.backbones.engines.engine import Network
    from pipeline.backbones.engines.tensorflow_graph import TensorFlowEngine
    from pipeline.features.extract import make_recipe

    device = choose_device(arguments.device)
    name, rows = device.name.strip("/"), []
    for precision in arguments.precisions:
        recipe, weights = make_recipe(arguments.backbone, arguments.weights, precision=precision)
        model = build_embedding_model(recipe, weights)
        network = Network(lambda: model, precision)  # noqa: B023
        for way, is_compiled in WAYS.items():
            for batch_size in arguments.batch_sizes:
                pixels = np.zeros((batch_size, recipe.image_size, recipe.image_size, 3), np.uint8)
                paths = [photos[i % len(photos)] for i in range(N_BATCHES * batch_size)]
                if device.is_gpu:
                    tf.config.experimental.reset_memory_stats(name)
                embed = Embedder(
                    TensorFlowEngine(network, device, batch_size, is_compiled=is_compiled)
                )
                in_memory = time_rate(lambda: embed(pixels), batch_size, arguments.rounds)  # noqa: B023
                from_files = time_rate(
                    lambda: embed_from_files(embed, paths, recipe),  # noqa: B023
                    len(paths),
                    arguments.rounds,
                )
                rows.append(
                    {
                        "precision": precision,
                        "graph": way,
                        "batch": batch_size,
                        "images/s": in_memory,
                        "with decoding": from_files,
                        "peak memory (MB)": tf.config.experimental.get_memory_info(name)["peak"]
                        / 1e6
                        if device.is_gpu
                        else None,
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
    with tempfile.TemporaryDirectory(prefix="frostline-gpu-") as folder:
        make_photos(Path(folder), SIZES["500 x 375"], 256)
        rows = measure(arguments, sorted(Path(folder).rglob("*.jpg")))
    machine = describe_machine(PACKAGES)
    print_machine(machine)
    print_table(list(rows[0]), [row.values() for row in rows])
    write_results(arguments.json, machine, rows)


if __name__ == "__main__":
    main()
