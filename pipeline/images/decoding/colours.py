"""Decoded images of any of Pillow's modes to sRGB, as an image viewer would show them.

16 bits and floats are scaled to 8 bits, colour profiles converted, transparency composed over a
background; in strips, so that a huge image needs no second copy of itself.
"""

import functools
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pipeline.errors import ImageError
from pipeline.images.decoding.depth import find_extrema, require_depth, white_of
from pipeline.recipe import FULL_DEPTH

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

STRIP_PIXELS = 1 << 22  # colours are converted in strips of about this size

# Tags of TIFF 6.0
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _UNSIGNED = 0, 1

_ICC_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def correct_transparency(image: Image.Image, bit_depth: int) -> None:
    """Bring the transparent colour of a PNG to the scale of its decoded pixels."""
    key = image.info.get("transparency")
    if image.mode == "L" and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2**bit_depth - 1)
    elif image.mode == "RGB" and key is not None and bit_depth == 16:
        # Pillow keeps the high bytes only, so colours that share them count as one.
        image.info["transparency"] = tuple(value >> 8 for value in key)


def scale_colours(image: Image.Image, low: Image.Image, bands: tuple[int, ...], depth: int) -> None:
    """Scale colours of 16 bits to 8, so that the greatest value of `depth` bits is white.

    Args:
        image: the high bytes of the values; they are replaced.
        low, bands: the low bytes, as `depth.ask_for_low_bytes` has them.

    Raises:
        ImageError: a value needs more bits.
    """
    key = image.info.pop("transparency", None)
    alpha = None if key is None else Image.new("L", image.size, 255)
    for box in _strip_boxes(image.size):
        shown = np.array(image.crop(box))
        values = shown[:, :, : len(bands)].astype(np.uint32) << 8
        values |= np.asarray(low.crop(box))[:, :, bands]
        require_depth(int(values.max()), depth)
        shown[:, :, : len(bands)] = np.rint(values * (255 / white_of(depth)))
        image.paste(Image.fromarray(shown, image.mode), box)
        if alpha is not None:
            is_opaque = (values != key).any(axis=2)
            alpha.paste(Image.fromarray(is_opaque.astype(np.uint8) * 255), box)
    if alpha is not None:
        image.putalpha(alpha)


def shrink_to_rgb(
    image: Image.Image, factors: tuple[int, int], background: tuple[int, int, int], depth: int
) -> Image.Image:
    """Convert to RGB and shrink by whole factors, in strips: no second copy of a huge image.

    Args:
        depth: bits of gray values from black to white, where the file has 16 and does not say.
    """
    levels = _find_levels(image, depth)
    strips = list(_strip_boxes(image.size, factors[1]))
    if len(strips) == 1:
        return _to_rgb(image, levels, background).reduce(factors)
    canvas = Image.new("RGB", (-(-image.width // factors[0]), -(-image.height // factors[1])))
    for box in strips:
        strip = _to_rgb(image.crop(box), levels, background).reduce(factors)
        canvas.paste(strip, (0, box[1] // factors[1]))
    return canvas


def _strip_boxes(size: tuple[int, int], multiple: int = 1) -> Iterator[tuple[int, int, int, int]]:
    width, height = size
    rows = max(1, STRIP_PIXELS // width // multiple) * multiple
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)


@dataclass(frozen=True)
class _Levels:
    """The values that are shown as black and as white, for pixels of more than 8 bits."""

    black: float
    white: float
    is_unsigned: bool = False  # 32 bits; Pillow takes all for signed

    def read(self, image: Image.Image) -> np.ndarray:
        values = np.asarray(image)
        return values.view(np.uint32) if self.is_unsigned else values

    def to_gray(self, image: Image.Image) -> Image.Image:
        with np.errstate(all="ignore"):
            values = self.read(image).astype(np.float64)
            scaled = (values - self.black) * (255 / ((self.white - self.black) or 1))
        return Image.fromarray(np.nan_to_num(np.clip(np.rint(scaled), 0, 255)).astype(np.uint8))


def _find_levels(image: Image.Image, depth: int) -> _Levels | None:
    """The full range of the pixels' type where it is known, so that images stay comparable.

    Where it is not (32 bits), the least of the usual ranges that holds all values, else their own.
    """
    tags = _read_tags(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        stated, *_ = tags.get(_BITS_PER_SAMPLE, (FULL_DEPTH,))
        if depth < stated == FULL_DEPTH:
            require_depth(find_extrema(image)[1], depth)
        levels = _Levels(0, white_of(min(depth, stated)))
    elif image.mode in ("I", "F"):
        is_integer = image.mode == "I" and image.format == "TIFF"
        formats = tags.get(_SAMPLE_FORMAT, (_UNSIGNED,)) if is_integer else ()
        levels = _find_range(image, _Levels(0, 0, is_unsigned=_UNSIGNED in formats), depth)
    else:
        return None
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return replace(levels, black=levels.white, white=levels.black)
    return levels


def _read_tags(image: Image.Image) -> Mapping[int, Any]:
    """The tags of a TIFF; none of any other format."""
    if image.format != "TIFF":
        return {}
    from PIL.TiffImagePlugin import TiffImageFile

    return image.tag_v2 if isinstance(image, TiffImageFile) else {}


def _find_range(image: Image.Image, levels: _Levels, depth: int) -> _Levels:
    low, high = np.inf, -np.inf
    for box in _strip_boxes(image.size):
        values = levels.read(image.crop(box))
        values = values[np.isfinite(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low > high:
        raise ImageError("no pixel has a finite value")
    usual = (1, 255) if image.mode == "F" else (255, white_of(FULL_DEPTH))
    for white in usual:
        if low >= 0 and high <= white:
            if white == white_of(FULL_DEPTH):
                require_depth(high, depth)
                return replace(levels, black=0, white=white_of(depth))
            return replace(levels, black=0, white=white)
    return replace(levels, black=low, white=high)


def _to_rgb(
    image: Image.Image, levels: _Levels | None, background: tuple[int, int, int]
) -> Image.Image:
    """Any mode of Pillow's to RGB in sRGB, composed over the background."""
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in ("RGBa", "La"):  # premultiplied
        image = image.convert(image.mode[:-1] + "A")
    key = image.info.pop("transparency", None)
    alpha = None
    if image.mode in ("RGBA", "LA"):
        alpha = image.getchannel("A")
        image = image.convert(image.mode[:-1])
    elif key is not None and (image.mode in ("L", "RGB") or image.mode.startswith("I;16")):
        is_opaque = np.asarray(image) != key
        is_opaque = is_opaque.any(axis=2) if is_opaque.ndim == 3 else is_opaque
        alpha = Image.fromarray(is_opaque.astype(np.uint8) * 255)
    if levels is not None:
        profile = image.info.get("icc_profile")
        image = levels.to_gray(image)
        image.info["icc_profile"] = profile
    image = _to_srgb(image)
    if alpha is not None and alpha.getextrema() != (255, 255):
        canvas = Image.new("RGB", image.size, background)
        canvas.paste(image, mask=alpha)
        return canvas
    return image


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and image.mode in _ICC_SPACES.values():
        transform = _find_colour_transform(profile, image.mode)
        if transform is not None:
            return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


@functools.lru_cache(maxsize=32)
def _find_colour_transform(profile: bytes, mode: str) -> "ImageCmsTransform | None":
    """The way from an ICC profile to sRGB; None where there is none or nothing would change."""
    try:
        from PIL import ImageCms

        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _ICC_SPACES.get(source.profile.xcolor_space) != mode:
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except Exception:  # a broken profile, or a Pillow without LittleCMS: colours as they are
        return None
    # Most profiles are sRGB under one of many names: known by what it does to some colours.
    probe = np.random.default_rng(0).bytes(32 * 32 * len(mode))
    colours = Image.frombytes(mode, (32, 32), probe)
    change = np.asarray(transform.apply(colours)).astype(int) - np.asarray(colours.convert("RGB"))
    return transform if np.abs(change).max() > 2 else None
