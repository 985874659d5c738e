"""Decode thousands of damaged images: every one must end as a picture or as a reason.

    python benchmarks/fuzz_images.py --images 10000

Bytes are changed, cut off and spliced in 25 seeds of all common formats (and HEIC, where
pillow-heif is). The work is done in a child process, so that a crash or a hang costs one image and
is counted; the exit code is 1 if there was any, or if more than 2 GB of memory were taken. What
failed is written out to be looked at.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import platform
import random
import resource
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pipeline.errors import ImageError
from pipeline.images.decoding.decode import decode_image

HANG_SECONDS = 20
MAX_MEMORY_MB = 2048


def make_seeds() -> list[bytes]:
    """Small images of one picture, 96 x 64, in as many formats and kinds."""
    colours = np.random.default_rng(0).integers(0, 256, (8, 12, 4), dtype=np.uint8)
    rgba = Image.fromarray(colours).resize((96, 64), Image.Resampling.BICUBIC)
    rgb, gray, palette = rgba.convert("RGB"), rgba.convert("L"), rgba.convert("RGB").convert("P")
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72.0
    movie = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    recipes = [
        (rgb, "JPEG", {"exif": exif}),
        (rgb, "JPEG", {"progressive": True, "quality": 90}),
        (gray, "JPEG", {"restart_marker_rows": 1}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgba, "PNG", {"exif": exif}),
        (palette, "PNG", {"transparency": bytes(range(256))}),
        (deep, "PNG", {}),
        (rgb, "PNG", movie),
        (rgb, "WEBP", {"exif": exif}),
        (rgba, "WEBP", {"lossless": True}),
        (rgb, "WEBP", movie),
        (palette, "GIF", {"transparency": 3}),
        (rgb, "GIF", movie),
        (rgb, "BMP", {}),
        (rgb, "TIFF", {"exif": exif}),
        (rgb, "TIFF", {"compression": "tiff_lzw"}),
        (rgb, "TIFF", {"compression": "jpeg"}),
        (gray.convert("F"), "TIFF", {"compression": "tiff_adobe_deflate"}),
        (rgb, "JPEG2000", {}),
        (rgba, "ICO", {"sizes": [(48, 48)]}),
        (rgb, "AVIF", {"exif": exif}),
        (rgba, "AVIF", {}),
        (rgb, "PPM", {}),
        (rgba, "TGA", {"compression": "tga_rle"}),
        (rgba, "QOI", {}),
    ]
    seeds = []
    for image, format_name, options in recipes:
        stream = io.BytesIO()
        image.save(stream, format_name, **options)
        seeds.append(stream.getvalue())
    with contextlib.suppress(ImportError):
        import pillow_heif

        stream = io.BytesIO()
        pillow_heif.from_pillow(rgb).save(stream)
        seeds.append(stream.getvalue())
    return seeds


def mutate(seeds: list[bytes], number: int, random_state: int) -> bytes:
    """Damaged image number so-and-so: the same for the same random state."""
    rng = random.Random(f"{random_state}/{number}")
    data = bytearray(seeds[number % len(seeds)])
    way = rng.choice(["any bytes", "header", "cut", "splice", "copy"])
    if way == "any bytes":
        for _ in range(rng.choice([1, 3, 20, 200])):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif way == "header":
        for _ in range(rng.choice([1, 2, 5])):
            place = rng.randrange(min(len(data), 200))
            data[place] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    elif way == "cut":
        del data[rng.randrange(len(data)) :]
    elif way == "splice":
        other = rng.choice(seeds)
        data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]
    else:
        source, target = rng.randrange(len(data)), rng.randrange(len(data))
        length = rng.randrange(1, 300)
        data[target : target + length] = data[source : source + length]
    return bytes(data)


def work(connection, random_state: int, start: int, stop: int) -> None:
    """Child process: says which image it begins, then what became of it."""
    seeds = make_seeds()
    for number in range(start, stop):
        connection.send(("begin", number, ""))
        data = mutate(seeds, number, random_state)
        resize = ("stretch", "crop", "pad")[number % 3]
        try:
            pixels = decode_image(data, 64, resize, truncated=("skip", "keep")[number // 3 % 2])
            outcome = "picture" if pixels.shape == (64, 64, 3) else "wrong shape"
        except ImageError as error:
            outcome = "reason: " + str(error).split(":", maxsplit=1)[0].split(" (")[0]
        except BaseException as error:
            outcome = f"exception: {type(error).__name__}"
        connection.send(("end", outcome, measure_peak_mb()))
    connection.send(("done", "", ""))


def measure_peak_mb() -> float:
    """This process's peak memory.

    Linux counts that of the process which started this one into `ru_maxrss`, not into `VmHWM`.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def run(n_images: int, random_state: int, output: Path | None) -> dict:
    """Returns counts of outcomes, the slowest image in seconds and the peak memory in MB."""
    context = multiprocessing.get_context("spawn")
    outcomes, failed = Counter(), []
    slowest, peak_memory, number, start = 0.0, 0.0, 0, time.perf_counter()
    while number < n_images:
        receiver, sender = context.Pipe(duplex=False)
        arguments = (sender, random_state, number, n_images)
        child = context.Process(target=work, args=arguments, daemon=True)
        child.start()
        sender.close()
        begun, outcome = None, None
        while True:
            try:
                if not receiver.poll(HANG_SECONDS if begun else 60):
                    outcome = "hang"
                    break
                kind, value, peak = receiver.recv()
            except EOFError:
                outcome = "crash"
                break
            if kind == "done":
                number = n_images
                break
            if kind == "begin":
                number, begun = value, time.perf_counter()
                continue
            slowest = max(slowest, time.perf_counter() - begun)
            peak_memory = max(peak_memory, peak)
            outcomes[value] += 1
            if not value.startswith(("picture", "reason")):
                failed.append((number, value))
        child.kill()
        child.join()
        if outcome:
            outcomes[outcome] += 1
            failed.append((number, outcome))
            number += 1
    if failed and output:
        output.mkdir(parents=True, exist_ok=True)
        for number, _ in failed:
            data = mutate(make_seeds(), number, random_state)
            (output / f"{random_state}-{number}.bin").write_bytes(data)
    return {
        "images": n_images,
        "outcomes": dict(outcomes.most_common()),
        "failed": failed,
        "slowest_seconds": round(slowest, 3),
        "peak_memory_mb": round(peak_memory),
        "seconds": round(time.perf_counter() - start, 1),
        "python": platform.python_version(),
        "pillow": PIL.__version__,
    }


def describe_failures(result: dict) -> list[str]:
    """What a run must not have shown; nothing if all is well."""
    failures = [f"image {number}: {outcome}" for number, outcome in result["failed"]]
    if result["peak_memory_mb"] > MAX_MEMORY_MB:
        failures.append(f"{result['peak_memory_mb']:,} MB of memory, more than {MAX_MEMORY_MB:,}")
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--images", type=int, default=10_000, help="how many to damage")
    parser.add_argument("--random-state", type=int, default=0, help="other numbers, other damage")
    parser.add_argument("--output", type=Path, help="folder for the images that failed")
    parser.add_argument("--json", type=Path, help="file for the result")
    arguments = parser.parse_args()
    result = run(arguments.images, arguments.random_state, arguments.output)
    for outcome, n_images in result["outcomes"].items():
        print(f"{n_images:7,}  {outcome}")
    print(
        f"{result['images']:7,}  in {result['seconds']} s; slowest {result['slowest_seconds']} s; "
        f"peak memory {result['peak_memory_mb']} MB; {len(result['failed'])} failed"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    failures = describe_failures(result)
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
