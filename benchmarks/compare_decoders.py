"""Compare Frostline's pixels with OpenCV's for every image in a folder that both decode.

    python benchmarks/compare_decoders.py PngSuite

Both are composed over white, at the image's own size. OpenCV does not look at gamma, at colour
profiles, and at the transparent colour of gray PNGs. Prints each image that differs by more than
2 of 255, the number of images, and the greatest difference; the exit code is 1 if any differs.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pipeline.errors import ImageError
from pipeline.images.decoding.decode import decode_image
from pipeline.images.sources.folders import find_images

ALLOWED = 2  # of 255


def read_with_frostline(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """RGB 0..255 (height, width, 3), not resized: padded to a square, and cut out of it."""
    width, height = size
    side = max(size)
    square = decode_image(data, side, "pad")
    left, top = (side - width) // 2, (side - height) // 2
    return square[top : top + height, left : left + width].astype(float)


def read_with_opencv(data: bytes) -> np.ndarray | None:
    """RGB 0..255 (height, width, 3) over white; None where it does not decode."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        return None
    values = image / (257 if image.dtype == np.uint16 else 1)
    if values.ndim == 2:
        return values[:, :, None].repeat(3, axis=2)
    rgb = values[:, :, 2::-1]
    if values.shape[2] == 3:
        return rgb
    alpha = values[:, :, 3:] / 255
    return rgb * alpha + 255 * (1 - alpha)


def compare(folder: Path) -> dict[str, float]:
    """The greatest difference of a pixel, 0..255, by path; of images that both decode."""
    differences = {}
    for path in sorted(image.path for image in find_images(folder).images):
        data = (folder / path).read_bytes()
        expected = read_with_opencv(data) if data else None
        if expected is None:
            continue
        height, width, _ = expected.shape
        try:
            decoded = read_with_frostline(data, (width, height))
        except ImageError:
            continue
        differences[path] = float(np.abs(decoded - np.rint(expected)).max())
    return differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="folder of images")
    differences = compare(parser.parse_args().folder)
    for path, difference in differences.items():
        if difference > ALLOWED:
            print(f"{difference:6.0f}  {path}")
    worst = max(differences.values(), default=0)
    n_alike = sum(difference <= ALLOWED for difference in differences.values())
    print(
        f"{len(differences):,} images that both decode; {n_alike:,} within {ALLOWED} of 255; "
        f"greatest difference {worst:.0f}"
    )
    return 0 if n_alike == len(differences) else 1


if __name__ == "__main__":
    sys.exit(main())
