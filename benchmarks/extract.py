"""Whole extractions from JPEG files against their parts, and against the usual way with Keras.

For each size of photo: d, the rate of reading, hashing, decoding and resizing alone on all cores;
e, that of embedding alone, in float32 and bfloat16; and the rate of `cli.py extract` in both, from
the difference of two numbers of images, so that start-up is out of it. If the parts could not
overlap at all, a core being a core, the whole would be 1 / (1/d + 1/e). Beside it `cli.py extract`
without the JPEG decoder's draft mode, and `image_dataset_from_directory` with `model.predict`. All
take turns.

    python benchmarks/extract.py               # about 15 minutes
    python benchmarks/extract.py --whole       # seconds for 3,000 photos, start-up included
    python benchmarks/extract.py --memory      # peak memory at 1,000, 10,000 and 100,000 images
"""

import io
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.common import (  # noqa: E402
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    run_process,
    write_results,
)

PACKAGES = ("tensorflow", "keras", "openvino", "pillow", "numpy", "h5py")
SIZES = {"500 x 375": (500, 375), "4000 x 3000": (4000, 3000)}
WAYS = ("whole extract", "whole extract, bfloat16", "without draft mode", "the usual way")
N_DRAWN = 16
WITHOUT_DRAFT = """
import pipeline.images.decoding.decode
pipeline.images.decoding.decode.DRAFT_GAP = float("inf")
from cli import main
main()
"""


def draw_photo(size: tuple[int, int], seed: int) -> bytes:
    """A JPEG that compresses like a photo: smooth shapes with some grain."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (size[1] // 40, size[0] // 40, 3)).astype(np.uint8)
    large = np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))
    grain = random.integers(-12, 13, (size[1], size[0], 1))
    pixels = np.clip(large.astype(np.int16) + grain, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def make_photos(
    folder: Path, size: tuple[int, int], n_images: int, seeds: range = range(N_DRAWN)
) -> None:
    """A data set of two classes.

    Only one for each seed is drawn; the others differ from them in a comment, so that each is
    another file for Frostline and costs the same to decode.
    """
    drawn = [draw_photo(size, seed) for seed in seeds[:n_images]]
    for number in range(n_images):
        path = folder / f"class{number % 2}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        data, text = drawn[number % len(drawn)], f"copy {number}".encode()
        comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
        path.write_bytes(data[:2] + comment + data[2:])


def extract(
    folder: Path,
    arguments,
    program: tuple = (str(ROOT / "cli.py"),),
    precision: str = "float32",
) -> tuple:
    """Seconds and peak memory (MB) of one whole `cli.py extract` in a new process."""
    target = folder.with_suffix(".h5")
    target.unlink(missing_ok=True)
    command = [
        *(sys.executable, *program, "extract", str(folder), "--output", str(target)),
        *("--backbone", arguments.backbone, "--weights", arguments.weights, "--quiet"),
        *("--image-size", str(arguments.image_size), "--no-reuse", "--precision", precision),
    ]
    usage = run_process(command)
    return usage.seconds, usage.peak_bytes / 1e6


def predict_with_keras(folder: Path, image_size: int) -> None:
    """What a notebook does; run in a process of its own."""
    import keras

    dataset = keras.utils.image_dataset_from_directory(
        folder, image_size=(image_size, image_size), shuffle=False
    )
    model = keras.applications.EfficientNetB0(weights=None, include_top=False, pooling="avg")
    np.save(folder.with_suffix(".npy"), model.predict(dataset, verbose=0))


def rate_of_reading(paths: list[Path], recipe) -> float:
    """Images/s of reading, hashing, decoding and resizing alone, in a thread per core."""
    from pipeline.images.decoding.read_images import read_images
    from pipeline.system.parallel import count_cores, map_batches

    tasks = [paths[start : start + 8] for start in range(0, len(paths), 8)]
    started = time.perf_counter()
    for _ in map_batches(lambda some: read_images(some, recipe), tasks, count_cores()):
        continue
    return len(paths) / (time.perf_counter() - started)


def rate_of_embedding(embed, pixels: np.ndarray, n_images: int) -> float:
    from pipeline.system.parallel import map_batches

    tasks = [pixels] * -(-n_images // len(pixels))
    started = time.perf_counter()
    for _ in map_batches(embed, tasks, embed.n_streams):
        continue
    return len(tasks) * len(pixels) / (time.perf_counter() - started)


def list_ways(arguments) -> dict[str, Callable[[Path], float]]:
    """Name -> seconds of a whole process that embeds a folder."""
    keras_way = [sys.executable, __file__, "--image-size", arguments.image_size, "--keras-way"]
    ways: dict[str, Callable[[Path], float]] = {
        "whole extract": lambda folder: extract(folder, arguments)[0],
        "whole extract, bfloat16": lambda folder: extract(folder, arguments, precision="bfloat16")[
            0
        ],
        "without draft mode": lambda folder: extract(folder, arguments, ("-c", WITHOUT_DRAFT))[0],
        "the usual way": lambda folder: run_process([*keras_way, folder]).seconds,
    }
    return {way: run for way, run in ways.items() if way in arguments.ways}


def measure_size(name: str, embedders: dict, recipe, arguments) -> dict:
    """All rates for one size of photo."""
    size, side = SIZES[name], recipe.image_size
    n_images = arguments.images if size[0] < 1000 else max(48, arguments.images * 3 // 8)
    pixels = np.random.default_rng(0).integers(0, 256, (8, side, side, 3)).astype(np.uint8)
    ways = list_ways(arguments)
    if size[0] < 1000:
        ways.pop("without draft mode", None)
    rates: dict[str, list[float]] = {"d, reading": [], **{e: [] for e in embedders}}
    rates |= {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="frostline-extract-") as folder_name:
        few, many = Path(folder_name) / "few", Path(folder_name) / "many"
        make_photos(few, size, n_images)
        make_photos(many, size, 3 * n_images)
        paths = sorted(many.rglob("*.jpg"))
        for _ in range(arguments.rounds):
            rates["d, reading"].append(rate_of_reading(paths, recipe))
            for part, embed in embedders.items():
                rates[part].append(rate_of_embedding(embed, pixels, 3 * n_images))
            for way, run in ways.items():
                rates[way].append(2 * n_images / (-run(few) + run(many)))
    return summarize(name, rates)


def summarize(name: str, rates: dict[str, list[float]]) -> dict:
    """Medians, and the ratios of each round's."""
    row: dict = {"JPEG": name, **{way: statistics.median(values) for way, values in rates.items()}}
    whole = rates["whole extract"]
    bfloat16 = rates.get("whole extract, bfloat16")
    for label, rate, slower in (
        ("whole / parts", whole, add_up(rates, "e, embedding")),
        ("bfloat16 / its parts", bfloat16, add_up(rates, "e, bfloat16")),
        ("whole / without draft", whole, rates.get("without draft mode")),
        ("whole / usual way", whole, rates.get("the usual way")),
        ("bfloat16 / usual way", bfloat16, rates.get("the usual way")),
    ):
        if rate and slower:
            pairs = zip(rate, slower, strict=True)
            row[label] = statistics.median([whole / other for whole, other in pairs])
    row["rounds"] = rates
    return row


def add_up(rates: dict[str, list[float]], embedding: str) -> list[float]:
    """Images/s that the parts allow, of each round."""
    pairs = zip(rates["d, reading"], rates[embedding], strict=True)
    return [1 / (1 / d + 1 / e) for d, e in pairs]


def compare_with_parts(arguments) -> list[dict]:
    from pipeline.features.embed import make_embedder
    from pipeline.features.extract import make_recipe

    embedders = {}
    for part, precision in (("e, embedding", "float32"), ("e, bfloat16", "mixed_bfloat16")):
        recipe, weights = make_recipe(
            arguments.backbone,
            arguments.weights,
            image_size=arguments.image_size,
            precision=precision,
        )
        embedders[part] = make_embedder(recipe, weights, "cpu", None, is_alone=True)
    return [measure_size(name, embedders, recipe, arguments) for name in arguments.sizes]


def measure_whole(arguments) -> list[dict]:
    """Seconds of whole processes over one folder, and how many times as fast each is."""
    ways = list_ways(arguments)
    ways.pop("without draft mode", None)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="frostline-extract-") as folder_name:
        photos = Path(folder_name) / "photos"
        make_photos(photos, SIZES["500 x 375"], arguments.whole)
        for _ in range(arguments.rounds):
            for way, run in ways.items():
                seconds[way].append(run(photos))
    usual = seconds.get("the usual way")
    rows = []
    for way, taken in seconds.items():
        row = {"photos": arguments.whole, "way": way, "seconds": statistics.median(taken)}
        if usual:
            pairs = zip(usual, taken, strict=True)
            row["times as fast as usual"] = statistics.median([a / b for a, b in pairs])
        rows.append({**row, "rounds": taken})
    return rows


def measure_memory(arguments) -> list[dict]:
    """Peak memory and time of whole extractions of ever more small images."""
    rows = []
    for n_images in arguments.memory:
        with tempfile.TemporaryDirectory(prefix="frostline-extract-") as folder_name:
            photos = Path(folder_name) / "photos"
            make_photos(photos, (64, 48), n_images)
            seconds, megabytes = extract(photos, arguments)
            shutil.rmtree(photos)
        rows.append({"images": n_images, "seconds": seconds, "peak memory (MB)": megabytes})
    return rows


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--backbone", default="efficientnetb0")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--images", type=int, help="smaller photos  [default: 400; short: 96]")
    parser.add_argument("--rounds", type=int, help="[default: 5; short: 2]")
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument(
        "--memory", type=int, nargs="*", metavar="N", help="peak memory at N images instead"
    )
    parser.add_argument(
        "--whole", type=int, nargs="?", const=3_000, metavar="N", help="whole processes instead"
    )
    parser.add_argument("--keras-way", type=Path, metavar="FOLDER", help="only this")
    arguments = parser.parse_args()
    if arguments.keras_way:
        predict_with_keras(arguments.keras_way, arguments.image_size)
        return
    machine = describe_machine(PACKAGES)
    print_machine(machine)
    arguments.images = arguments.images or (96 if arguments.short else 400)
    arguments.rounds = arguments.rounds or (2 if arguments.short else 5)
    if arguments.whole is not None:
        rows = measure_whole(arguments)
    elif arguments.memory is None:
        rows = compare_with_parts(arguments)
    else:
        arguments.memory = arguments.memory or [1_000, 10_000, 100_000]
        arguments.backbone, arguments.weights = "efficientnet-lite0", "imagenet"
        arguments.image_size = 32
        rows = measure_memory(arguments)
    if arguments.whole is None and arguments.memory is None:
        print("images/s; the last columns are ratios, medians of the rounds'")
    columns = [name for name in rows[0] if name != "rounds"]
    columns += [name for name in rows[-1] if name not in {*columns, "rounds"}]
    print_table(columns, [[row.get(name) for name in columns] for row in rows])
    write_results(arguments.json, machine, rows)


if __name__ == "__main__":
    main()
