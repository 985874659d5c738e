"""Decoding alone: Pillow as Frostline uses it against simplejpeg and OpenCV, from the same JPEGs.

Each gives RGB of 224 x 224 pixels from the bytes of a file: Pillow with and without draft mode
(the decoder itself shrinks by 2, 4 or 8), simplejpeg and OpenCV with the shrinking that each has.
Only Pillow then filters with antialiasing as part of one call; the others are followed by OpenCV's
INTER_AREA, the nearest thing they have. Beside them mixtures that were considered for Frostline,
with the difference of their pixels to Frostline's. Decoders take turns, medians are compared.

    python benchmarks/decode.py
    python benchmarks/decode.py --photos FOLDER     # and what draft mode does to the features
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)
from benchmarks.extract import SIZES, draw_photo
from pipeline.images.decoding import decode as images
from pipeline.system.parallel import count_cores, map_batches

SIDE = 224
N_FILES = 8
N_ENLARGED = 20
PACKAGES = ("pillow", "simplejpeg", "opencv-python-headless", "numpy")
DRAFT_GAP, REDUCING_GAP = images.DRAFT_GAP, images.REDUCING_GAP


def decode_with_draft(data: bytes) -> np.ndarray:
    images.DRAFT_GAP, images.REDUCING_GAP = DRAFT_GAP, REDUCING_GAP
    return images.decode_image(data, SIDE)


def decode_in_full(data: bytes) -> np.ndarray:
    images.DRAFT_GAP = images.REDUCING_GAP = float("inf")
    return images.decode_image(data, SIDE)


def decode_with_simplejpeg(data: bytes) -> np.ndarray:
    import cv2
    import simplejpeg

    # The least size that is at least twice the wanted one, as in Frostline.
    pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=2 * SIDE, min_width=2 * SIDE)
    return cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def decode_with_opencv(data: bytes) -> np.ndarray:
    import cv2

    width, height = Image.open(_as_file(data)).size
    scale = next((s for s in (8, 4, 2) if min(width, height) >= 2 * SIDE * s), 1)
    mode = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2}.get(
        scale, cv2.IMREAD_REDUCED_COLOR_4 if scale == 4 else cv2.IMREAD_REDUCED_COLOR_8
    )
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    resized = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)


def resize_with_pillow(pixels: np.ndarray) -> np.ndarray:
    return np.array(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def decode_with_simplejpeg_then_pillow(data: bytes) -> np.ndarray:
    import simplejpeg

    return resize_with_pillow(simplejpeg.decode_jpeg(data, "RGB"))


def decode_to_eighths_then_pillow(data: bytes) -> np.ndarray:
    """The least number of eighths of the size that is at least 1.25 times the wanted one."""
    import simplejpeg

    least = 5 * SIDE // 4
    pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=1, min_width=least, min_factor=1)
    return resize_with_pillow(pixels)


def resize_in_the_jpegs_colours(data: bytes) -> np.ndarray:
    image = Image.open(_as_file(data))
    image.draft("YCbCr", image.size)
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.array(small.convert("RGB"))


def reduce_to_twice_the_size(data: bytes) -> np.ndarray:
    image = Image.open(_as_file(data))
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.array(small.convert("RGB"))


DECODERS: dict[str, Callable[[bytes], np.ndarray]] = {
    "Pillow, draft mode (Frostline)": decode_with_draft,
    "Pillow, decoded in full": decode_in_full,
    "simplejpeg": decode_with_simplejpeg,
    "OpenCV": decode_with_opencv,
    "simplejpeg, Pillow's resize": decode_with_simplejpeg_then_pillow,
    "simplejpeg to eighths, Pillow's resize": decode_to_eighths_then_pillow,
    "Pillow, resized in the JPEG's colours": resize_in_the_jpegs_colours,
    "Pillow, reducing_gap=2 and no draft": reduce_to_twice_the_size,
}


def _as_file(data: bytes):
    import io

    return io.BytesIO(data)


def find_decoders() -> dict[str, Callable[[bytes], np.ndarray]]:
    """Those that are installed; the others are said to be missing."""
    here = {}
    for name, decode in DECODERS.items():
        try:
            decode(draw_photo(SIZES["500 x 375"], 0))
            here[name] = decode
        except ImportError as error:
            print(f"{name}: missing: {error}", file=sys.stderr)
    return here


def measure(n_rounds: int) -> list[dict]:
    """Images/s of each decoder and size, in one thread and in one per core."""
    decoders, rows = find_decoders(), []
    for size_name, size in SIZES.items():
        files = [draw_photo(size, seed) for seed in range(N_FILES)]
        n_calls = 4 if size[0] < 1000 else 1
        tasks = [data for data in files for _ in range(n_calls)]
        rates: dict[str, dict[str, list[float]]] = {
            name: {"one thread": [], "all cores": []} for name in decoders
        }
        for _ in range(n_rounds):
            for name, decode in decoders.items():
                for how, n_threads in (("one thread", 1), ("all cores", count_cores())):
                    started = time.perf_counter()
                    for _ in map_batches(decode, tasks, n_threads):
                        continue
                    rates[name][how].append(len(tasks) / (time.perf_counter() - started))
        for name in decoders:
            medians = {how: statistics.median(values) for how, values in rates[name].items()}
            difference = np.mean([find_difference(decoders[name], data) for data in files])
            rows.append({"JPEG": size_name, "decoder": name, **medians, "difference": difference})
    return rows


def find_difference(decode: Callable[[bytes], np.ndarray], data: bytes) -> float:
    """Mean difference of the pixels to Frostline's, of 255."""
    return float(np.abs(decode(data).astype(np.int16) - decode_with_draft(data)).mean())


def compare_features(folder: Path) -> dict:
    """Features of photos enlarged to 4000 x 3000: from a draft against from a full decode."""
    from pipeline.features.embed import make_embedder
    from pipeline.features.extract import make_recipe

    recipe, weights = make_recipe("efficientnet-lite0", "imagenet")
    embed = make_embedder(recipe, weights, "cpu", None, is_alone=True)
    paths = sorted(folder.rglob("*.jpg"))
    paths = [paths[i] for i in np.linspace(0, len(paths) - 1, N_ENLARGED).astype(int)]
    pixels: dict[Callable, list[np.ndarray]] = {decode_with_draft: [], decode_in_full: []}
    for path in paths:
        large = _as_file(b"")
        Image.open(path).convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC).save(
            large, "JPEG", quality=92
        )
        for decode, decoded in pixels.items():
            decoded.append(decode(large.getvalue()))
    draft, full = (embed(np.stack(decoded)).astype(np.float64) for decoded in pixels.values())
    cosines = (draft * full).sum(1) / np.linalg.norm(draft, axis=1) / np.linalg.norm(full, axis=1)
    return {"photos": len(paths), "mean cosine": cosines.mean(), "least cosine": cosines.min()}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, help="[default: 7; short: 5]")
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs, for their features")
    arguments = parser.parse_args()
    machine = describe_machine(PACKAGES)
    print_machine(machine)
    rows = measure(arguments.rounds or (5 if arguments.short else 7))
    print("images/s")
    print_table(list(rows[0]), [row.values() for row in rows])
    results: dict = {"rates": rows}
    if arguments.photos:
        results["features"] = compare_features(arguments.photos)
        print(f"features from a draft against from a full decode: {results['features']}")
    write_results(arguments.json, machine, results)


if __name__ == "__main__":
    main()
