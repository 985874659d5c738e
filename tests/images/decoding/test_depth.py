"""Images of 16 bits of which fewer are used: found, and shown from black to white."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiff_files import encode_12_bits, encode_tiff

from benchmarks.stand_in import RECIPE
from pipeline.errors import ImageError
from pipeline.images.decoding.decode import decode_image, find_depth, render_image
from pipeline.images.decoding.measure_depth import Depths, measure_depths
from pipeline.images.decoding.read_images import DEFAULT_LIMITS

SIDE = 16
N_BANDS = {"gray": 1, "gray and alpha": 2, "RGB": 3, "RGB and alpha": 4, "CMYK": 4}


def draw_values(kind, bits=12, seed=0):
    """Values of so many bits, the greatest among them; uint16 (SIDE, SIDE, n_bands)."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**bits, (SIDE, SIDE, N_BANDS[kind]), dtype=np.uint16)
    values[0, 0] = 2**bits - 1
    if "alpha" in kind:
        values[:, :, -1] = 65535
    return values


def encode_png(values, kind):
    if kind == "gray and alpha":
        return encode_gray_and_alpha(values)
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[values.shape[2]]
    is_written, data = cv2.imencode(".png", values[:, :, order])
    assert is_written
    return data.tobytes()


def encode_gray_and_alpha(values):
    """By hand: OpenCV writes no such PNG."""

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(">u2"))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 4, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def encode_with_pillow(values, format_name, **options):
    stream = io.BytesIO()
    Image.fromarray(values[:, :, 0]).save(stream, format_name, **options)
    return stream.getvalue()


def encode_plain_pgm(values, white=65535):
    numbers = " ".join(map(str, values.ravel().tolist()))
    return f"P2 {SIDE} {SIDE} {white} {numbers}\n".encode()


FILES = {
    "PNG gray": ("gray", encode_png),
    "PNG gray and alpha": ("gray and alpha", encode_png),
    "PNG RGB": ("RGB", encode_png),
    "PNG RGB and alpha": ("RGB and alpha", encode_png),
    "TIFF gray": ("gray", encode_tiff),
    "TIFF gray, high byte first": ("gray", lambda v, kind: encode_tiff(v, kind, ">")),
    "TIFF RGB": ("RGB", encode_tiff),
    "TIFF RGB, high byte first": ("RGB", lambda v, kind: encode_tiff(v, kind, ">")),
    "TIFF RGB, LZW": ("RGB", lambda v, kind: cv2.imencode(".tiff", v[:, :, ::-1])[1].tobytes()),
    "TIFF RGB and alpha": ("RGB and alpha", encode_tiff),
    "TIFF CMYK": ("CMYK", encode_tiff),
    "TIFF gray plane": ("gray", lambda v, kind: encode_tiff(v, kind, in_planes=True)),
    "TIFF RGB in planes": ("RGB", lambda v, kind: encode_tiff(v, kind, in_planes=True)),
    "TIFF RGB in planes, high byte first": (
        "RGB",
        lambda v, kind: encode_tiff(v, kind, ">", in_planes=True),
    ),
    "TIFF RGB and alpha in planes": (
        "RGB and alpha",
        lambda v, kind: encode_tiff(v, kind, in_planes=True),
    ),
    "TIFF gray, LZW": ("gray", lambda v, _: encode_with_pillow(v, "TIFF", compression="tiff_lzw")),
    "TIFF of 32 bits": ("gray", lambda v, _: encode_with_pillow(v.astype(np.int32), "TIFF")),
    "PGM": ("gray", lambda v, _: encode_with_pillow(v, "PPM")),
    "PGM in words": ("gray", lambda v, _: encode_plain_pgm(v)),
}
files = pytest.mark.parametrize("name", FILES)


def make_file(name, bits=12, seed=0):
    kind, encode = FILES[name]
    values = draw_values(kind, bits, seed)
    return values, encode(values, kind)


def show(values, white):
    """RGB of values as their description has it: a share of white, for CMYK of ink."""
    shares = np.round(np.minimum(values[:, :, :4] / white, 1) * 255)
    if values.shape[2] < 3:
        return shares[:, :, :1].repeat(3, 2)
    return shares[:, :, :3]


def show_cmyk(values, white):
    paper = 255 - np.round(values / white * 255)
    return np.round(paper[:, :, :3] * paper[:, :, 3:] / 255)


@files
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_the_greatest_value_of_the_depth_is_white(name, bits):
    values, data = make_file(name, bits)
    expected = (show_cmyk if "CMYK" in name else show)(values, 2**bits - 1)
    decoded = decode_image(data, SIDE, depth=bits)
    # At full depth Pillow has left out the low bytes of colours.
    assert np.abs(decoded - expected).max() <= (2 if bits == 16 else 1)
    assert find_depth(data) == bits


@files
def test_at_full_depth_fewer_bits_are_dark(name):
    values, data = make_file(name)
    expected = (show_cmyk if "CMYK" in name else show)(values, 65535)
    assert np.abs(decode_image(data, SIDE) - expected).max() <= 2
    np.testing.assert_array_equal(decode_image(data, SIDE, depth=16), decode_image(data, SIDE))


@files
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_what_is_brighter_than_white_is_an_error_not_clipped(name, bits):
    _, data = make_file(name, bits + 2)
    expected = rf"^brighter than {bits} bits: [\d,]+ is more than {2**bits - 1:,}"
    with pytest.raises(ImageError, match=expected):
        decode_image(data, SIDE, depth=bits)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 65535), st.sampled_from(sorted(FILES)))
def test_the_depth_is_the_least_that_holds_the_greatest_value(greatest, name):
    kind, encode = FILES[name]
    values = np.zeros((SIDE, SIDE, N_BANDS[kind]), np.uint16)
    values[3, 4, 0] = greatest
    found = find_depth(encode(values, kind))
    if name == "TIFF of 32 bits" and greatest <= 255:
        assert found == 0  # its range is that of 8 bits anyway
    else:
        assert found == min(bits for bits in (8, 10, 12, 14, 16) if greatest < 2**bits)


@pytest.mark.parametrize(
    "data",
    [
        encode_12_bits(draw_values("gray")),
        encode_plain_pgm(draw_values("gray"), 4095),
        encode_with_pillow(draw_values("gray", 8).astype(np.uint8), "PNG"),
        encode_with_pillow(draw_values("gray", 8).astype(np.uint8), "JPEG"),
        encode_with_pillow(draw_values("gray").astype(np.int32) - 2048, "TIFF"),
        encode_with_pillow(draw_values("gray").astype(np.int32) * 100, "TIFF"),
        encode_with_pillow(draw_values("gray").astype(np.float32), "TIFF"),
    ],
    ids=["TIFF says 12", "PGM says 4095", "PNG", "JPEG", "below 0", "above 65535", "floats"],
)
def test_files_that_say_what_is_white_are_left_alone(data):
    assert find_depth(data) == 0
    np.testing.assert_array_equal(decode_image(data, SIDE, depth=10), decode_image(data, SIDE))


def test_jpeg_2000_says_its_depth():
    values, narrow = draw_values("gray"), draw_values("gray", 10)
    data = encode_with_pillow(values, "JPEG2000")
    assert find_depth(data) == 12
    assert np.abs(decode_image(data, SIDE, depth=12) - show(values, 4095)).max() <= 1
    place = data.index(b"\xff\x4f\xff\x51") + 42
    assert data[place] == 15  # Ssiz: bits, less one
    twelve = data[:place] + b"\x0b" + data[place + 1 :]
    assert find_depth(twelve) == 0
    assert find_depth(encode_with_pillow(narrow, "JPEG2000")) == 10


def test_a_transparent_colour_of_16_bits_is_told_from_its_neighbours():
    values = np.full((SIDE, SIDE, 3), 1000, np.uint16)
    values[:8] = 1001
    data = encode_png(values, "RGB")
    place = data.index(b"IDAT") - 4
    key = b"tRNS" + struct.pack(">3H", 1000, 1000, 1000)
    chunk = struct.pack(">I", 6) + key + struct.pack(">I", zlib.crc32(key))
    decoded = decode_image(
        data[:place] + chunk + data[place:], SIDE, background=(9, 9, 9), depth=12
    )
    assert (decoded[8:] == 9).all()
    assert (decoded[:8] == round(1001 / 4095 * 255)).all()


def test_a_tiff_whose_white_is_zero_is_no_negative():
    values = draw_values("gray")
    data = encode_tiff(values, "gray").replace(
        struct.pack("<HHIH", 262, 3, 1, 1), struct.pack("<HHIH", 262, 3, 1, 0)
    )
    assert np.abs(decode_image(data, SIDE, depth=12) - (255 - show(values, 4095))).max() <= 1


def test_pillows_own_images_follow_the_depth():
    values = draw_values("gray")
    image = Image.fromarray(values[:, :, 0])
    assert np.abs(render_image(image, SIDE, depth=12) - show(values, 4095)).max() <= 1
    with pytest.raises(ImageError, match=r"^brighter than 10 bits"):
        render_image(image, SIDE, depth=10)


def write(folder, name, bits, seed=0):
    path = folder / f"{len(list(folder.iterdir()))}"
    path.write_bytes(make_file(name, bits, seed)[1])
    return path


def measure(paths):
    return measure_depths(paths, len(paths), RECIPE, DEFAULT_LIMITS)


def test_a_data_set_is_looked_at_until_an_image_uses_all_bits(tmp_path):
    dark = [write(tmp_path, name, 10 + seed % 2 * 2, seed) for seed, name in enumerate(FILES)]
    shallow = tmp_path / "shallow.png"
    Image.new("L", (8, 8), 255).save(shallow)
    (tmp_path / "broken.png").write_bytes(dark[0].read_bytes()[:60])
    others = [shallow, tmp_path / "broken.png", tmp_path / "gone.png", tmp_path]
    assert measure(dark + others) == Depths(len(dark), 12)
    assert measure(others) == Depths()
    bright = write(tmp_path, "PNG RGB", 16)
    assert measure([bright, *dark * 100]).greatest == 16
