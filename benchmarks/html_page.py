"""Classify photos in an exported page, in a headless Chromium, and by `predict`: do they agree?

    python cli.py export RUN --format html
    python benchmarks/html_page.py RUN RUN/export/model.html PHOTOS

The page is opened from the disk with the network off. Prints the share of the photos that get the
same class, the greatest and the mean difference of a probability, and seconds a photo; of the same
pixels, as the decoder made them, the greatest difference. The exit code is 1 if fewer than 99%
agree or the same pixels differ by more than 1e-3.
"""

import base64
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from browser import open_chromium, open_file

import frostline
from benchmarks.common import describe_machine, make_parser
from pipeline.images.decoding.decode import decode_image
from pipeline.images.sources.folders import find_images

N_MOST, N_SHORT = 300, 20
LEAST_SAME, MOST_DIFFERENT = 0.99, 1e-3
_OF_FILE = "async text => (await frostline.classifyFile(new File([fromBase64(text)], 'a')))"
_OF_PIXELS = "async text => (await frostline.classifyPixels(fromBase64(text)))"


def classify_in_page(page: Path, photos: list[Path], run) -> tuple[np.ndarray, np.ndarray, float]:
    """Probabilities `(n, n_classes)` of the files, of the decoder's pixels, and seconds a file."""
    recipe = run.recipe
    with open_chromium() as browser, open_file(browser, page, offline=True) as (opened, complaints):
        opened.locator("body[data-state=ready]").wait_for()
        of_files, of_pixels, seconds = [], [], 0.0
        for photo in photos:
            data = photo.read_bytes()
            pixels = decode_image(data, recipe.image_size, recipe.resize, recipe.background)
            started = time.perf_counter()
            of_files.append(ask(opened, _OF_FILE, data))
            seconds += time.perf_counter() - started
            of_pixels.append(ask(opened, _OF_PIXELS, pixels.tobytes()))
        if complaints.errors or len(complaints.requests) != 1:
            sys.exit(f"Expected a page that asks for nothing. Received: {complaints}")
    return np.array(of_files), np.array(of_pixels), seconds / len(photos)


def ask(page, program: str, data: bytes) -> list[float]:
    return page.evaluate(program, base64.b64encode(data).decode())["probabilities"]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("page", type=Path)
    parser.add_argument("photos", type=Path)
    asked = parser.parse_args()
    names = sorted(image.path for image in find_images(asked.photos).images)
    n_most = N_SHORT if asked.short else N_MOST
    chosen = names[:: max(1, -(-len(names) // n_most))]
    photos = [asked.photos / name for name in chosen]
    model = frostline.load(asked.run)
    run = frostline.open_run(asked.run)
    expected = np.stack([one.probabilities for one in model.predict(photos)])
    of_files, of_pixels, seconds = classify_in_page(asked.page.resolve(), photos, run)
    same = float((of_files.argmax(axis=1) == expected.argmax(axis=1)).mean())
    difference = np.abs(of_files - expected)
    exact = float(np.abs(of_pixels - expected).max())
    machine = describe_machine(("onnxruntime", "playwright"))
    print(f"{machine['processor']}, {machine['cores']} cores, load {machine['load_average']}")
    print(f"{len(photos)} photos: {same:.1%} get the same class; probabilities differ by")
    print(
        f"{difference.max():.2g} at most, {difference.mean():.2g} on average; {seconds:.2f} s each."
    )
    print(f"The same pixels: {exact:.2g} at most.")
    sys.exit(0 if same >= LEAST_SAME and exact <= MOST_DIFFERENT else 1)


if __name__ == "__main__":
    main()
