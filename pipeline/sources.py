"""Fetches data sets into class folders under `data/`."""

import io
from pathlib import Path

import numpy as np

from pipeline.errors import DatasetError
from pipeline.files import atomic_folder

DATA_FOLDER = Path("data")


def fetch_digits(output: Path | None = None, *, force: bool = False) -> tuple[Path, int]:
    """Writes scikit-learn's handwritten digits as PNG files, a folder per digit.

    1,797 real images of 8 x 8 pixels, 16 levels of gray scaled to 0..255. Source: E. Alpaydin and
    C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998).

    Returns:
        The folder and the number of images.

    Raises:
        DatasetError: the folder exists.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    folder = output or DATA_FOLDER / "digits"
    if folder.exists() and any(folder.iterdir()) and not force:
        raise DatasetError(
            f"This folder exists already. Expected a new one. Received: {folder}\n"
            "It may be the data set that you want; fetch it anew with --force."
        )
    digits = load_digits()
    with atomic_folder(folder, force=force) as temporary:
        for number, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
            buffer = io.BytesIO()
            gray = np.rint(pixels * (255 / 16)).astype(np.uint8)
            Image.fromarray(gray).save(buffer, format="PNG")
            class_folder = temporary / str(digit)
            class_folder.mkdir(exist_ok=True)
            (class_folder / f"{number:04d}.png").write_bytes(buffer.getvalue())
    return folder, len(digits.target)
