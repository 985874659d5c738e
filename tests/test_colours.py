"""Colours against OpenCV, whose PNG decoder shares no code with Pillow's."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.images import decode_image

SIDE = 32
GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
DEPTHS = {GRAY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GRAY_ALPHA: (8, 16),
          RGB_ALPHA: (8, 16)}  # fmt: skip
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2)]  # fmt: skip
KINDS = [
    (colour_type, depth, interlaced, transparent)
    for colour_type, depths in DEPTHS.items()
    for depth in depths
    for interlaced in (False, True)
    for transparent in ((False, True) if colour_type in (GRAY, RGB, PALETTE) else (False,))
]


def chunk(name, content):
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def pack_rows(values, depth):
    """Scan lines without a filter of (height, width, channels) samples."""
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in values]
    else:
        bits = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
        rows = [np.packbits(row.reshape(-1)).tobytes() for row in bits]
    return b"".join(b"\0" + row for row in rows)


def write_png(colour_type, depth, *, interlaced, transparent, seed=0):
    """A PNG with every kind of sample, written by the specification's rules."""
    rng = np.random.default_rng([seed, colour_type, depth])
    channels = CHANNELS[colour_type]
    values = rng.integers(0, 2**depth, (SIDE, SIDE, channels))
    passes = [(0, 0, 1, 1)] if not interlaced else ADAM7
    data = b"".join(pack_rows(values[y::dy, x::dx], depth) for x, y, dx, dy in passes)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour_type, 0, 0, int(interlaced))
    parts = [chunk(b"IHDR", header)]
    if colour_type == PALETTE:
        parts.append(chunk(b"PLTE", rng.integers(0, 256, 3 * 2**depth, np.uint8).tobytes()))
        key = rng.integers(0, 256, 2**depth, np.uint8).tobytes()
    else:
        key = values[3, 5].astype(">u2").tobytes()  # the colour of this pixel is transparent
    parts += [chunk(b"tRNS", key)] if transparent else []
    parts += [chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def read_with_opencv(data):
    """RGB 0..255 as OpenCV decodes it, composed over white."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    values = image / (257 if image.dtype == np.uint16 else 1)
    if values.ndim == 2:
        return values[:, :, None].repeat(3, axis=2)
    rgb = values[:, :, 2::-1]
    if values.shape[2] == 3:
        return rgb
    alpha = values[:, :, 3:] / 255
    return rgb * alpha + 255 * (1 - alpha)


@pytest.mark.parametrize(("colour_type", "depth", "interlaced", "transparent"), KINDS)
def test_every_kind_of_png_looks_as_opencv_decodes_it(colour_type, depth, interlaced, transparent):
    data = write_png(colour_type, depth, interlaced=interlaced, transparent=transparent)
    expected = read_with_opencv(data)
    assert expected.std() > 20  # not a blank sheet that equals another
    if transparent and colour_type == GRAY:  # which OpenCV does not look at
        expected[(expected == expected[3, 5]).all(axis=2)] = 255
    decoded = decode_image(data, SIDE)
    assert np.abs(decoded - np.rint(expected)).max() <= 2
    if transparent and colour_type != PALETTE:
        assert (decoded[3, 5] == 255).all()


@pytest.mark.parametrize(("format_name", "options"), [
    ("JPEG", {"quality": 95, "subsampling": 0}), ("WEBP", {"lossless": True}), ("BMP", {}),
    ("TIFF", {"compression": "tiff_lzw"}), ("JPEG2000", {}), ("PPM", {}), ("AVIF", {"quality": 95}),
])  # fmt: skip
def test_other_formats_look_as_opencv_decodes_them(format_name, options):
    small = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, format_name, **options)
    data = stream.getvalue()
    expected = read_with_opencv(data)
    decoded = decode_image(data, SIDE).astype(int)
    assert np.abs(decoded - expected).max() <= (8 if format_name == "AVIF" else 3)


def test_heic_is_decoded_where_its_package_is_installed():
    pillow_heif = pytest.importorskip("pillow_heif")
    small = np.random.default_rng(2).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    pillow_heif.from_pillow(image).save(stream, quality=95)
    decoded = decode_image(stream.getvalue(), 64).astype(int)
    assert np.abs(decoded - np.asarray(image)).mean() < 8
