"""Image files to digests and pixels, or to the reason why there are none."""

import hashlib
import os
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.errors import ImageError, ParameterError
from pipeline.images.decoding.decode import MAX_BYTES, MAX_PIXELS, decode_image, render_image
from pipeline.recipe import Recipe
from pipeline.system.memory import available_bytes
from pipeline.system.paths import open_regular_file

NO_DIGEST = np.zeros(32, np.uint8)
_LARGE_BYTES = 100_000_000  # larger files are read one at a time, so that memory is bounded

_large_file = threading.Lock()


@dataclass(frozen=True)
class Limits:
    """What an image may be at most; a larger one is skipped before it costs memory.

    Limits are no part of the recipe: they decide whether there are pixels, never which.
    """

    max_pixels: int = MAX_PIXELS
    max_bytes: int = MAX_BYTES


DEFAULT_LIMITS = Limits()
NO_LIMITS = Limits(max_pixels=2**63, max_bytes=2**62)


def make_limits(max_pixels: int | None = None, max_bytes: int | None = None) -> Limits:
    """The limits that were asked for; None for the default of each.

    Raises:
        ParameterError: one is no number of pixels or bytes.
    """
    for name, value in (("max_pixels", max_pixels), ("max_bytes", max_bytes)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ParameterError(
                f"Expected `{name}` to be a whole number at least 1. Received: {value}", name
            )
    return Limits(
        DEFAULT_LIMITS.max_pixels if max_pixels is None else max_pixels,
        DEFAULT_LIMITS.max_bytes if max_bytes is None else max_bytes,
    )


def hash_image_file(path: Path, limits: Limits = NO_LIMITS) -> tuple[np.ndarray, str | None]:
    """A file's digest, uint8 (32,), and None; or zeros and the reason why it has none.

    A file that is too large is not read.
    """
    try:
        with open_regular_file(path) as file:
            _require_size(os.fstat(file.fileno()).st_size, limits)
            return _to_array(hashlib.file_digest(file, "sha256").digest()), None
    except ImageError as error:
        return NO_DIGEST, str(error)
    except OSError as error:
        return NO_DIGEST, _describe(error)


def hash_bytes(data: bytes) -> np.ndarray:
    """The digest, uint8 (32,), of a file of these bytes."""
    return _to_array(hashlib.sha256(data).digest())


def read_image(
    path: Path, recipe: Recipe, limits: Limits = DEFAULT_LIMITS
) -> tuple[np.ndarray, np.ndarray | str]:
    """A file's digest and its pixels as the recipe wants them, or the reason why it has none."""
    try:
        with open_regular_file(path) as file:
            n_bytes = os.fstat(file.fileno()).st_size
            _require_size(n_bytes, limits)
            _require_memory(n_bytes)
            with _large_file if n_bytes > _LARGE_BYTES else nullcontext():
                data = file.read(n_bytes + 1)  # not to the end: it may grow without one
                if len(data) > n_bytes:
                    raise ImageError("cannot be read: it grew while it was being read")
                return read_image_bytes(data, recipe, limits)
    except ImageError as error:
        return NO_DIGEST, str(error)
    except OSError as error:
        return NO_DIGEST, _describe(error)


def read_images(
    paths: list[Path], recipe: Recipe, limits: Limits = DEFAULT_LIMITS
) -> list[tuple[np.ndarray, np.ndarray | str]]:
    """`read_image` of each file."""
    return [read_image(path, recipe, limits) for path in paths]


def read_image_bytes(
    data: bytes, recipe: Recipe, limits: Limits = DEFAULT_LIMITS
) -> tuple[np.ndarray, np.ndarray | str]:
    """As `read_image`, of a file's bytes."""
    digest = hash_bytes(data)
    try:
        _require_size(len(data), limits)
        return digest, decode_image(
            data,
            recipe.image_size,
            recipe.resize,
            recipe.background,
            max_pixels=limits.max_pixels,
            truncated=recipe.truncated,
            depth=recipe.depth,
        )
    except ImageError as error:
        return digest, str(error)


def read_decoded_image(
    image: Image.Image, recipe: Recipe, limits: Limits = DEFAULT_LIMITS
) -> tuple[np.ndarray, np.ndarray | str]:
    """As `read_image`, of an image that Pillow decoded; it has no file, so its digest is zeros."""
    try:
        return NO_DIGEST, render_image(
            image,
            recipe.image_size,
            recipe.resize,
            recipe.background,
            max_pixels=limits.max_pixels,
            depth=recipe.depth,
        )
    except ImageError as error:
        return NO_DIGEST, str(error)


def _require_size(n_bytes: int, limits: Limits) -> None:
    if n_bytes > limits.max_bytes:
        raise ImageError(
            f"too large: {n_bytes:,} bytes is more than the limit of {limits.max_bytes:,}"
        )


def _require_memory(n_bytes: int) -> None:
    """A file may have become a larger one since somebody looked, where no limit is set as well."""
    if n_bytes > _LARGE_BYTES and n_bytes > (free := available_bytes()):
        raise ImageError(f"too large: {n_bytes:,} bytes, and {free:,} bytes of memory are free")


def _to_array(digest: bytes) -> np.ndarray:
    return np.frombuffer(digest, np.uint8)


def _describe(error: OSError) -> str:
    return f"cannot be read: {error.strerror}"
