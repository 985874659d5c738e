"""Whole extractions from JPEG files against their parts: reading and decoding, and embedding.

For each size of photo: d, the rate of reading, hashing, decoding and resizing alone on all cores;
e, that of embedding alone; and the rate of `cli.py extract`, from the difference of two numbers of
images, so that start-up is out of it. If the parts could not overlap at all, a core being a core,
the whole would be 1 / (1/d + 1/e).

    python benchmarks/extract.py
    python benchmarks/extract.py --memory      # peak memory at 1,000, 10,000 and 100,000 images
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.common import (  # noqa: E402
    describe_machine,
    print_machine,
    print_table,
    run_process,
    write_results,
)

PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "pillow", "numpy", "h5py")
SIZES = {"500 x 375": (500, 375), "4000 x 3000": (4000, 3000)}


def make_photos(folder: Path, size: tuple[int, int], n_images: int, n_different: int) -> None:
    """JPEGs that compress like photos: smooth shapes with some grain.

    Only `n_different` are drawn; the others differ from them in a comment, so that each is another
    file for Frostline and costs the same to decode.
    """
    for number in range(n_images):
        path = folder / f"class{number % 2}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < n_different:
            random = np.random.default_rng(number)
            small = random.integers(0, 256, (size[1] // 40, size[0] // 40, 3)).astype(np.uint8)
            large = np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))
            grain = random.integers(-12, 13, (size[1], size[0], 1))
            pixels = np.clip(large.astype(np.int16) + grain, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path, quality=90)
        else:
            first = number % n_different
            data = (folder / f"class{first % 2}" / f"{first:06d}.jpg").read_bytes()
            text = f"copy {number}".encode()
            comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
            path.write_bytes(data[:2] + comment + data[2:])


def extract(folder: Path, target: Path, arguments) -> tuple[float, float]:
    """Seconds and peak memory (MB) of one whole `cli.py extract` in a new process."""
    command = [
        *(sys.executable, str(ROOT / "cli.py"), "extract", str(folder), "--output", str(target)),
        *("--backbone", arguments.backbone, "--weights", arguments.weights, "--quiet"),
        *("--image-size", str(arguments.image_size), "--no-reuse"),
    ]
    usage = run_process(command)
    return usage.seconds, usage.peak_bytes / 1e6


def rate_of_reading(paths: list[Path], recipe) -> float:
    """Images/s of reading, hashing, decoding and resizing alone, in a thread per core."""
    from pipeline.parallel import count_cores, map_batches
    from pipeline.reading import read_image

    tasks = [paths[start : start + 8] for start in range(0, len(paths), 8)]
    started = time.perf_counter()
    for _ in map_batches(lambda some: [read_image(p, recipe) for p in some], tasks, count_cores()):
        continue
    return len(paths) / (time.perf_counter() - started)


def rate_of_embedding(embed, pixels: np.ndarray, n_images: int) -> float:
    from pipeline.parallel import map_batches

    tasks = [pixels] * -(-n_images // len(pixels))
    started = time.perf_counter()
    for _ in map_batches(embed, tasks, embed.n_streams):
        continue
    return len(tasks) * len(pixels) / (time.perf_counter() - started)


def compare_with_parts(arguments) -> list[dict]:
    from pipeline.backbones.build import build_embedding_model
    from pipeline.embedder import Embedder, choose_device, use_one_thread_per_operation
    from pipeline.extract import make_recipe

    use_one_thread_per_operation()
    recipe, weights = make_recipe(
        arguments.backbone, arguments.weights, image_size=arguments.image_size
    )
    embed = Embedder(build_embedding_model(recipe, weights), choose_device("cpu"))
    side = recipe.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (8, side, side, 3)).astype(np.uint8)
    rows = []
    for name, size in SIZES.items():
        n_images = arguments.images if size[0] < 1000 else max(48, arguments.images // 4)
        with tempfile.TemporaryDirectory(prefix="frostline-extract-") as folder_name:
            folder = Path(folder_name)
            make_photos(folder / "few", size, n_images, 16)
            make_photos(folder / "many", size, 3 * n_images, 16)
            paths = sorted((folder / "few").rglob("*.jpg"))
            d, e, whole = [], [], []
            for turn in range(arguments.rounds):
                d.append(rate_of_reading(paths, recipe))
                e.append(rate_of_embedding(embed, pixels, n_images))
                few, _ = extract(folder / "few", folder / f"few{turn}.h5", arguments)
                many, _ = extract(folder / "many", folder / f"many{turn}.h5", arguments)
                whole.append(2 * n_images / (many - few))
        parts = 1 / (1 / statistics.median(d) + 1 / statistics.median(e))
        rows.append(
            {
                "JPEG": name,
                "d, reading (images/s)": statistics.median(d),
                "e, embedding": statistics.median(e),
                "1 / (1/d + 1/e)": parts,
                "whole extract": statistics.median(whole),
                "share of the parts": statistics.median(whole) / parts,
            }
        )
    return rows


def measure_memory(arguments) -> list[dict]:
    """Peak memory and time of whole extractions of ever more small images."""
    rows = []
    for n_images in arguments.memory:
        with tempfile.TemporaryDirectory(prefix="frostline-extract-") as folder_name:
            folder = Path(folder_name)
            make_photos(folder / "photos", (64, 48), n_images, 16)
            seconds, megabytes = extract(folder / "photos", folder / "features.h5", arguments)
            shutil.rmtree(folder / "photos")
        rows.append({"images": n_images, "seconds": seconds, "peak memory (MB)": megabytes})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--backbone", default="efficientnetb0")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--images", type=int, default=400, help="of the smaller photos")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--memory", type=int, nargs="*", metavar="N", help="peak memory at N images instead"
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    if arguments.memory is None:
        rows = compare_with_parts(arguments)
    else:
        arguments.memory = arguments.memory or [1_000, 10_000, 100_000]
        arguments.backbone, arguments.weights = "efficientnet-lite0", "imagenet"
        arguments.image_size = 32
        rows = measure_memory(arguments)
    machine = describe_machine(PACKAGES)
    print_machine(machine)
    print_table(list(rows[0]), [row.values() for row in rows])
    write_results(arguments.json, machine, rows)


if __name__ == "__main__":
    main()
