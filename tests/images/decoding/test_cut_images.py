"""Image files that were cut: what lost nothing of its picture is used, all else is refused."""

import io
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import ImageError
from pipeline.images.decoding.decode import decode_image
from pipeline.images.decoding.jpeg_scans import holds_whole_picture

SIDE = 48  # of the decoded pictures, which are about as large: no pixel is averaged away
JPEGS = {
    "baseline": ("RGB", {}),
    "progressive": ("RGB", {"progressive": True}),
    "tables of its own": ("RGB", {"optimize": True}),
    "gray": ("L", {}),
    "progressive gray": ("L", {"progressive": True}),
    "CMYK": ("CMYK", {}),
    "progressive CMYK": ("CMYK", {"progressive": True}),
    "restart markers": ("RGB", {"restart_marker_rows": 1}),
    "progressive with restart markers": ("RGB", {"progressive": True, "restart_marker_blocks": 2}),
    "4:4:4": ("RGB", {"subsampling": 0}),
    "4:2:2, best quality": ("RGB", {"subsampling": 1, "quality": 100}),
    "4:2:2, progressive": ("RGB", {"subsampling": 1, "progressive": True}),
    "4:1:1": ("RGB", {"subsampling": "4:1:1"}),
}
OTHERS = {  # and how many bytes follow the pixels, by the formats' descriptions
    "PNG": ("RGB", {}, 12),  # the chunk IEND
    "PNG palette": ("P", {}, 12),
    "GIF": ("P", {}, 2),  # an empty block and the trailer
    "BMP": ("RGB", {}, 0),
    "TGA": ("RGB", {}, 26),  # the footer of version 2
    "JPEG2000": ("RGB", {}, 2),  # the end marker
    "JPEG2000 tiles": ("RGB", {"tile_size": (20, 16)}, 2),
    "JPEG2000 stream": ("RGB", {"tile_size": (20, 16), "no_jp2": True}, 2),
    "QOI": ("RGB", {}, 8),  # seven zeros and a one
    "ICO": ("RGB", {"sizes": [(SIDE, SIDE)]}, 12),  # there is a PNG in it
}


def make_picture(mode, size=(SIDE, SIDE), noise=20, seed=0):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    pixels = np.asarray(small.resize(size, Image.Resampling.BICUBIC)).astype(int)
    pixels += rng.integers(-noise, noise + 1, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert(mode)


def encode(format_name, mode, options, **how):
    stream = io.BytesIO()
    make_picture(mode, **how).save(stream, format_name, **options)
    return stream.getvalue()


def require_same_or_refused(part, whole):
    """Whether a part of a file is used; if so, every pixel is that of the whole file."""
    try:
        pixels = decode_image(part, SIDE)
    except ImageError:
        return False
    np.testing.assert_array_equal(pixels, whole)
    return True


@st.composite
def cut_jpegs(draw):
    """A JPEG, where its end marker is, and how many bytes are kept: often nearly all of them."""
    mode, options = JPEGS[draw(st.sampled_from(sorted(JPEGS)))]
    size = draw(st.sampled_from([(48, 48), (41, 33), (9, 20), (8, 8)]))
    noise, seed = draw(st.sampled_from([0, 3, 60])), draw(st.integers(0, 50))
    data = encode("JPEG", mode, options, size=size, noise=noise, seed=seed)
    end = data.rindex(b"\xff\xd9")
    return data, end, draw(st.integers(1, end + 1) | st.integers(end - 40, end + 1))


@settings(max_examples=150, deadline=None)
@given(cut_jpegs())
def test_a_jpeg_is_used_just_as_long_as_no_bit_of_its_picture_is_missing(cut):
    data, end, n_bytes = cut
    is_used = require_same_or_refused(data[:n_bytes], decode_image(data, SIDE))
    assert is_used == (n_bytes >= end)


@settings(max_examples=60, deadline=None)
@given(cut_jpegs(), st.integers(300, 2000))
def test_a_jpeg_that_was_filled_up_with_zeros_has_all_its_pixels_or_is_refused(cut, n_zeros):
    data, end, n_bytes = cut
    whole = decode_image(data, SIDE)
    assert not require_same_or_refused(data[: min(n_bytes, end - 1)] + bytes(n_zeros), whole)
    if data[end - 1]:  # else its own last zero cannot be told from the others
        assert require_same_or_refused(data[:end] + bytes(n_zeros), whole)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_photo_without_its_end_marker_that_is_shrunk_while_it_is_decoded(progressive):
    data = encode("JPEG", "RGB", {"progressive": progressive}, size=(320, 240))
    end = data.rindex(b"\xff\xd9")
    whole = decode_image(data, SIDE)
    for part in (data[:end], data[: end + 1], data[:end] + bytes(512)):
        for truncated in ("skip", "keep"):
            np.testing.assert_array_equal(decode_image(part, SIDE, truncated=truncated), whole)
    for n_bytes in (end - 1, end - 3, end - 40, end // 2):
        with pytest.raises(ImageError, match=r"^truncated: "):
            decode_image(data[:n_bytes], SIDE)
        with pytest.raises(ImageError, match=r"^truncated: "):
            decode_image(data[:n_bytes] + bytes(20_000), SIDE)


def test_a_progressive_jpeg_that_lacks_its_last_scans_and_the_end_marker_is_cut_short():
    data = encode("JPEG", "RGB", {"progressive": True})
    scans = [place for place in range(len(data)) if data[place : place + 2] == b"\xff\xda"]
    assert holds_whole_picture(data)
    for place in scans[1:]:
        with pytest.raises(ImageError, match=r"^truncated: "):
            decode_image(data[:place], SIDE)


def test_a_jpeg_of_very_many_scans_is_not_followed_for_hours():
    data = encode("JPEG", "L", {"progressive": True}, size=(800, 600))
    start = data.rindex(b"\xff\xda")
    end = data.rindex(b"\xff\xd9")
    started = time.process_time()
    assert not holds_whole_picture(data[:start] + data[start:end] * 5000)
    assert time.process_time() - started < 10


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_used_just_as_long_as_no_pixel_is_missing(name):
    mode, options, n_behind = OTHERS[name]
    data = encode(name.split()[0], mode, options)
    whole = decode_image(data, SIDE)
    places = {*range(len(data) - 60, len(data)), *range(1, len(data), 37)}
    # Its decoder takes a JPEG 2000 that ends where a tile begins, and shows the tile as black.
    places |= {at + 2 for at in range(len(data)) if data[at : at + 2] == b"\xff\x90"}
    used = {n_bytes for n_bytes in places if require_same_or_refused(data[:n_bytes], whole)}
    assert used >= {*range(len(data) - n_behind, len(data))}
    assert not used or used == {*range(min(used), len(data))}
    if name.startswith("JPEG2000"):
        for n_bytes in places - used:  # an end marker behind what is left makes nothing whole
            assert not require_same_or_refused(data[:n_bytes] + b"\xff\xd9", whole)


@pytest.mark.parametrize("frame", [0xC9, 0xC3])
def test_what_cannot_be_read_to_the_bit_is_not_taken_for_whole(frame):
    data = encode("JPEG", "L", {})
    assert not holds_whole_picture(data.replace(b"\xff\xc0", bytes([0xFF, frame]), 1))
    assert not holds_whole_picture(data[: data.index(b"\xff\xda")])
    assert not holds_whole_picture(b"")
