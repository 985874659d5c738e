"""Colours against OpenCV, whose PNG decoder shares no code with Pillow's."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.images.decoding.decode import decode_image

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


def test_16_bit_rgb_tiff_looks_as_opencv_wrote_it():
    values = np.random.default_rng(3).integers(0, 65536, (SIDE, SIDE, 3), dtype=np.uint16)
    data = cv2.imencode(".tiff", values[:, :, ::-1])[1].tobytes()
    assert np.abs(decode_image(data, SIDE) - values / 257).max() <= 1


def test_ycck_jpeg_shows_its_inks():
    """Pillow writes CMYK only; the inks are turned to YCbCr here, and the marker to say so."""
    small = np.random.default_rng(4).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    inks = np.asarray(Image.fromarray(small, "CMYK").resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    cyan, magenta, yellow, black = np.moveaxis(inks.astype(float), 2, 0)
    luma = 0.299 * cyan + 0.587 * magenta + 0.114 * yellow  # JFIF 1.02
    parts = [luma, 128 + (yellow - luma) / 1.772, 128 + (cyan - luma) / 1.402]
    # Pillow stores the complement of what it is given, as Adobe does with inks.
    given = np.stack([*(255 - part for part in parts), black], axis=2)
    stream = io.BytesIO()
    image = Image.fromarray(np.rint(given).clip(0, 255).astype(np.uint8), "CMYK")
    image.save(stream, "JPEG", quality=100, subsampling=0)
    data = bytearray(stream.getvalue())
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    data[transform] = 2
    expected = (255.0 - inks[:, :, :3]) * (255.0 - inks[:, :, 3:]) / 255
    assert np.abs(decode_image(bytes(data), SIDE) - expected).max() <= 6


def make_profile(space, connection_space, kind, tags):
    """An ICC profile of version 2.4, by the specification ICC.1:2001-04."""
    d50 = struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    tags = {b"wtpt": b"XYZ \0\0\0\0" + d50, **tags}
    place, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += name + struct.pack(">II", place + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x12s48x",
        *(place + len(body), 0x02400000, kind, space, connection_space, b"acsp", d50),
    )
    assert len(header) == 128
    return header + struct.pack(">I", len(tags)) + table + body


def encode_tiff(image, profile):
    stream = io.BytesIO()
    image.save(stream, "TIFF", icc_profile=profile)
    return stream.getvalue()


def test_profile_of_a_gray_image_is_converted():
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(1.5 * 256))  # a gamma of 1.5
    profile = make_profile(b"GRAY", b"XYZ ", b"mntr", {b"kTRC": curve})
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    decoded = decode_image(encode_tiff(Image.fromarray(values), profile), 16)
    light = (values / 255) ** 1.5
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(decoded - 255 * expected[:, :, None]).max() <= 3  # sRGB, IEC 61966-2-1
    assert np.abs(decoded[8, 0].astype(int) - 128).min() > 20  # so the profile says something


def test_profile_of_a_cmyk_image_is_converted():
    """A press whose cyan ink is red: Lab of each of the 16 corners, 8 bits, black counting last."""
    white, black = (255, 128, 128), (0, 128, 128)
    red = (round(54.29 * 2.55), 128 + 81, 128 + 70)
    colours = [black if number & 1 else red if number & 8 else white for number in range(16)]
    corners = b"".join(map(bytes, colours))
    ramp = bytes(range(256))
    identity = struct.pack(">9I", *(0x10000 * (n % 4 == 0) for n in range(9)))
    table = b"mft1\0\0\0\0\4\3\2\0" + identity + ramp * 4 + corners + ramp * 3
    profile = make_profile(b"CMYK", b"Lab ", b"prtr", {b"A2B0": table})
    image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    image.paste((0, 255, 255, 0), (0, 0, 4, 8))
    decoded = decode_image(encode_tiff(image, profile), 8).astype(int)
    assert np.abs(decoded[:, :4] - 255).max() <= 3
    assert np.abs(decoded[:, 4:] - (255, 0, 0)).max() <= 12
