"""JPEGs whose pixels end too early, although an end marker follows."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ImageError
from pipeline.images.decoding.decode import decode_image
from pipeline.images.decoding.jpeg_ends import is_cut_short

KINDS = {
    "usual": ("RGB", {}),
    "without subsampling": ("RGB", {"subsampling": 0}),
    "gray": ("L", {}),
    "inverted CMYK": ("CMYK", {}),
    "restart markers": ("RGB", {"restart_marker_rows": 1}),
    "tables of its own": ("RGB", {"optimize": True}),
    "RGB": ("RGB", {"keep_rgb": True}),
}
kinds = pytest.mark.parametrize(("mode", "options"), KINDS.values(), ids=KINDS)


def encode(size, mode="RGB", **options):
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).convert(mode)
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


def cut(data, share, padding=b""):
    """The headers and a share of what follows them, then an end marker."""
    place = data.index(b"\xff\xda")
    start = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    stop = start + int((len(data) - 2 - start) * share)
    return data[:stop].rstrip(b"\xff") + padding + b"\xff\xd9"


@kinds
@pytest.mark.parametrize("size", [(400, 300), (1200, 900), (40, 12), (9, 9)])
def test_headers_with_an_end_marker_are_no_picture(mode, options, size):
    empty = cut(encode(size, mode, **options), 0)
    Image.open(io.BytesIO(empty)).load()  # Pillow takes it
    for truncated in ("skip", "keep"):
        with pytest.raises(ImageError, match=r"^truncated: "):
            decode_image(empty, 64, truncated=truncated)


@kinds
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("padding", [b"", b"\xff\xff"])
def test_part_of_a_picture_with_an_end_marker_is_cut_short(mode, options, share, padding):
    data = encode((400, 304), mode, **options)
    part = cut(data, share, padding)
    with pytest.raises(ImageError, match="truncated: its data end before its last rows"):
        decode_image(part, 304)
    kept = decode_image(part, 304, truncated="keep")
    whole = decode_image(data, 304)
    np.testing.assert_array_equal(kept[:16], whole[:16])
    assert np.abs(kept[-16:].astype(int) - whole[-16:]).mean() > 10


@kinds
@pytest.mark.parametrize("rest", [b"", b"\0\0", b"after the end " * 99])
def test_gray_corner_of_a_whole_picture_is_a_picture(mode, options, rest):
    gray = Image.new("L", (400, 300), 128)
    gray.paste(Image.open(io.BytesIO(encode((200, 150)))).convert("L"))
    for part in (gray, Image.new("L", (400, 300), 128), Image.new("L", (9, 9), 128)):
        stream = io.BytesIO()
        (part if mode == "L" else part.convert("RGB").convert(mode)).save(stream, "JPEG", **options)
        pixels = decode_image(stream.getvalue() + rest, 64)
        assert np.abs(pixels[-1, -1].astype(int) - 128).max() <= 1


def test_progressive_picture_is_cut_short_if_blocks_are_missing_and_whole_if_only_detail_is():
    data = encode((400, 300), progressive=True)
    for share in (0, 0.1):
        with pytest.raises(ImageError, match=r"^truncated: its data end before"):
            decode_image(cut(data, share), 64)
    pixels, whole = decode_image(cut(data, 0.7), 64), decode_image(data, 64)
    assert np.abs(pixels.astype(int) - whole).mean() < 3


def test_picture_of_an_arithmetic_coder_is_left_alone():
    """Its zero bytes at the end may be missing by right, so nothing is said about it."""
    data = encode((400, 300), "L")
    frame = data.index(b"\xff\xc0")
    gray = Image.new("L", (400, 300), 128)
    assert is_cut_short(gray, cut(data, 0.5))
    coded = cut(data, 0.5).replace(b"\xff\xc0", b"\xff\xc9", 1)
    assert coded[frame + 1] == 0xC9
    assert not is_cut_short(gray, coded)
