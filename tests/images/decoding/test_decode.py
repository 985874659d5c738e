import io
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps

from pipeline.errors import ImageError
from pipeline.images.decoding import colours
from pipeline.images.decoding import decode as images
from pipeline.images.decoding.decode import decode_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def smooth_image(width, height, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encode(image, format_name="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


def encode_png(width, height, bit_depth, colour_type, rows, transparency=b""):
    """A PNG written by hand, for what Pillow does not write."""

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    trns = chunk(b"tRNS", transparency) if transparency else b""
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + trns + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def difference(first, second):
    return np.abs(np.asarray(first).astype(int) - np.asarray(second).astype(int))


# Geometry


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_small_images_come_out_as_plain_pillow_resizes_them(format_name):
    data = encode(smooth_image(256, 171), format_name)
    plain = Image.open(io.BytesIO(data)).convert("RGB").resize((224, 224), Image.BILINEAR)
    decoded = decode_image(data, 224)
    assert decoded.shape == (224, 224, 3)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, plain)


@pytest.mark.parametrize("size", [(100, 64), (64, 100), (31, 87)])
def test_crop_fits_the_shorter_side_and_takes_the_middle(size):
    image = smooth_image(*size)
    expected = ImageOps.fit(image, (48, 48), Image.BILINEAR)
    np.testing.assert_array_equal(decode_image(encode(image), 48, "crop"), expected)


def test_pad_fits_the_longer_side_and_fills_up_with_the_background():
    image = smooth_image(100, 50)
    decoded = decode_image(encode(image), 40, "pad", background=(1, 2, 3))
    assert (decoded[:10] == (1, 2, 3)).all()
    assert (decoded[30:] == (1, 2, 3)).all()
    np.testing.assert_array_equal(decoded[10:30], image.resize((40, 20), Image.BILINEAR))


def test_pad_keeps_at_least_one_pixel_of_a_very_thin_image():
    decoded = decode_image(encode(Image.new("RGB", (1000, 1), RED)), 32, "pad")
    assert (decoded == RED).all(axis=2).sum() == 32


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(1200, 900), (900, 1200), (2048, 256)])
def test_a_photo_shrunk_while_decoding_looks_like_one_decoded_in_full(size, resize):
    photo = smooth_image(*size)
    if resize == "stretch":
        expected = photo.resize((64, 64), Image.BILINEAR)
    elif resize == "crop":
        expected = ImageOps.fit(photo, (64, 64), Image.BILINEAR)
    else:
        expected = ImageOps.pad(photo, (64, 64), Image.BILINEAR, "white")
    decoded = decode_image(encode(photo, "JPEG", quality=95), 64, resize)
    assert difference(decoded, expected).mean() < 2


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16", "F", "CMYK"])
def test_huge_images_are_converted_in_strips_without_a_seam(mode, monkeypatch):
    gray = np.asarray(smooth_image(301, 407).convert("L"))
    if mode == "I;16":
        image = Image.fromarray(gray.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(gray).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(gray[::-1]))
    data = encode(image, "TIFF")
    in_one = decode_image(data, 32)
    monkeypatch.setattr(colours, "STRIP_PIXELS", 301 * 30)
    np.testing.assert_array_equal(decode_image(data, 32), in_one)


# Upright

STORED = {  # how a camera that was held so stores the upright picture (EXIF 2.3, 4.6.4 A)
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright.swapaxes(0, 1), 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_images_come_out_upright(orientation, format_name):
    upright = np.zeros((48, 96, 3), np.uint8)
    upright[:24, :48], upright[:24, 48:], upright[24:, :48] = RED, GREEN, BLUE
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    data = encode(stored, format_name, exif=exif)
    decoded = decode_image(data, 32, "pad").astype(int)
    for corner, colour in (((12, 8), RED), ((12, 24), GREEN), ((20, 8), BLUE), ((20, 24), 0)):
        assert np.abs(decoded[corner] - colour).max() < 40
    assert (decoded[:7] == 255).all()
    assert (decoded[25:] == 255).all()


def test_a_broken_exif_block_is_ignored():
    start = b"Exif\0\0MM\0*"
    no_number = start + struct.pack(">IHHHI4sI", 8, 1, 0x0112, 2, 3, b"up\0\0", 0)
    image = smooth_image(40, 40)
    plain = decode_image(encode(image, "JPEG"), 40)
    for exif in (b"Exif\0\0", start + b"\xff\xff\xff\xff", no_number):
        np.testing.assert_array_equal(decode_image(encode(image, "JPEG", exif=exif), 40), plain)


# Colours


@pytest.mark.parametrize(
    ("format_name", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("PPM", {}),
        ("TGA", {}),
        ("JPEG2000", {}),
        ("QOI", {}),
        ("SGI", {}),
        ("PCX", {}),
        ("DDS", {}),
        ("ICO", {"sizes": [(32, 32)]}),
    ],
)
def test_every_lossless_format_gives_the_pixels_that_went_in(format_name, options):
    image = smooth_image(32, 32)
    decoded = decode_image(encode(image, format_name, **options), 32)
    np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize("format_name", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_stands_for_an_animation(format_name):
    first, second = Image.new("RGB", (9, 9), RED), Image.new("RGB", (9, 9), BLUE)
    data = encode(first, format_name, save_all=True, append_images=[second])
    assert difference(decode_image(data, 4), np.full((4, 4, 3), RED)).max() <= 2


@pytest.mark.parametrize(
    ("dtype", "format_name"), [("<u2", "PNG"), ("<u2", "TIFF"), (">u2", "TIFF"), ("<i4", "PPM")]
)
def test_16_bit_gray_is_scaled_not_clipped(dtype, format_name):
    values = np.linspace(0, 65535, 256).astype(dtype).reshape(16, 16)
    decoded = decode_image(encode(Image.fromarray(values), format_name), 16)
    expected = np.round(values / 65535 * 255)
    assert difference(decoded, expected[:, :, None]).max() <= 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 100, 255], [0, 100, 255]),
        ([0, 25700, 65535], [0, 100, 255]),
        ([-1000, 0, 1000], [0, 128, 255]),
        ([0, 1_000_000, 2_000_000], [0, 128, 255]),
    ],
)
def test_32_bit_integers_are_shown_over_the_least_range_that_holds_them(values, expected):
    data = encode(Image.fromarray(np.array([values], np.int32)), "TIFF")
    assert difference(decode_image(data, 3)[0, :, 0], expected).max() <= 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.25, 0.25, 0.25], [64, 64, 64]),
        ([0.0, 77.0, 255.0], [0, 77, 255]),
        ([-2.0, 0.0, 2.0], [0, 128, 255]),
        ([np.nan, 0.5, np.inf], [0, 128, 255]),
        ([-np.inf, 0.0, 1.0], [0, 0, 255]),
    ],
)
def test_floats_are_shown_and_what_is_no_number_does_no_harm(values, expected):
    data = encode(Image.fromarray(np.array([values], np.float32)), "TIFF")
    assert difference(decode_image(data, 3)[0, :, 0], expected).max() <= 1


def encode_tiff(values, tag, before, after):
    """A TIFF in which the value of a tag is another one: the writer knows one kind only."""
    data = encode(Image.fromarray(values), "TIFF")
    entry = struct.pack("<HHI", tag, 3, 1)
    assert data.count(entry + struct.pack("<H", before)) == 1
    return data.replace(entry + struct.pack("<H", before), entry + struct.pack("<H", after))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 25700, 65535]], np.uint16), [255, 155, 0]),
        (np.array([[0.0, 0.25, 1.0]], np.float32), [255, 191, 0]),
        (np.array([[np.nan, -3.0, 5.0]], np.float32), [0, 255, 0]),
    ],
)
def test_tiffs_whose_white_is_zero_are_no_negatives(values, expected):
    data = encode_tiff(values, 262, 1, 0)  # PhotometricInterpretation, TIFF 6.0
    assert difference(decode_image(data, 3)[0, :, 0], expected).max() <= 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 2**31, 2**32 - 1], [0, 128, 255]),
        ([2**31 - 1, 2**31, 2**31 + 1], [0, 128, 255]),
        ([0, 100, 255], [0, 100, 255]),
    ],
)
def test_unsigned_32_bit_integers_do_not_wrap(values, expected):
    signed = np.array([values], np.uint32).view(np.int32)
    data = encode_tiff(signed, 339, 2, 1)  # SampleFormat
    assert difference(decode_image(data, 3)[0, :, 0], expected).max() <= 1
    without = encode_tiff(signed, 339, 2, 1).replace(struct.pack("<H", 339), struct.pack("<H", 999))
    np.testing.assert_array_equal(decode_image(without, 3), decode_image(data, 3))  # the default


def test_an_image_of_nothing_but_nan_is_an_error():
    data = encode(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF")
    with pytest.raises(ImageError, match="finite"):
        decode_image(data, 4)


def test_black_and_white_images_are_black_and_white():
    bits = np.indices((8, 8)).sum(axis=0) % 2 == 0
    decoded = decode_image(encode(Image.fromarray(bits)), 8)
    np.testing.assert_array_equal(decoded, np.where(bits, 255, 0)[:, :, None].repeat(3, 2))


def test_cmyk_is_shown_by_the_usual_formula():
    inks = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    decoded = decode_image(encode(Image.fromarray(inks, "CMYK"), "TIFF"), 16)
    paper = 255.0 - inks
    assert difference(decoded, np.round(paper[:, :, :3] * paper[:, :, 3:] / 255)).max() <= 1


def test_adobes_inverted_cmyk_jpeg_is_not_a_negative():
    data = encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert b"Adobe" in data
    assert difference(decode_image(data, 8), np.full((8, 8, 3), RED)).max() <= 6


def test_lab_is_converted():
    lab = np.zeros((2, 2, 3), np.uint8)
    # sRGB's white and red in L*a*b* of white point D50 (brucelindbloom.com), as TIFF stores them
    lab[0] = (255, 0, 0)
    lab[1] = (round(54.29 * 2.55), 81, 70)
    decoded = decode_image(encode(Image.fromarray(lab, "LAB"), "TIFF"), 2)
    assert difference(decoded[0], [WHITE, WHITE]).max() <= 3
    assert difference(decoded[1], [RED, RED]).max() <= 12


def test_colour_profiles_are_converted_to_srgb():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # A screen whose red lamp is green and the other way round.
    swapped = profile.replace(b"rXYZ", b"TEMP").replace(b"gXYZ", b"rXYZ").replace(b"TEMP", b"gXYZ")
    image = Image.new("RGB", (8, 8), RED)
    for format_name in ("PNG", "TIFF"):
        data = encode(image, format_name, icc_profile=swapped)
        assert difference(decode_image(data, 4), np.full((4, 4, 3), GREEN)).max() <= 3
    see_through = Image.new("RGBA", (8, 8), (*RED, 0))
    data = encode(see_through, "PNG", icc_profile=swapped)
    np.testing.assert_array_equal(decode_image(data, 4, background=RED), np.full((4, 4, 3), RED))


@pytest.mark.parametrize("profile", ["sRGB", b"no profile at all", "LAB"])
def test_a_profile_that_says_nothing_changes_nothing(profile):
    if isinstance(profile, str):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(profile)).tobytes()
    image = smooth_image(16, 16)
    decoded = decode_image(encode(image, icc_profile=profile), 16)
    np.testing.assert_array_equal(decoded, image)


# Transparency


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("background", [WHITE, (10, 200, 30)])
def test_transparency_is_composed_over_the_background(mode, background):
    n_bands = len(mode)
    pixels = np.random.default_rng(1).integers(0, 256, (16, 16, n_bands), dtype=np.uint8)
    colour, alpha = pixels[:, :, :-1], pixels[:, :, -1:] / 255
    expected = np.round(colour * alpha + np.array(background) * (1 - alpha))
    decoded = decode_image(encode(Image.fromarray(pixels, mode)), 16, background=background)
    assert difference(decoded, expected).max() <= 1


def test_colours_under_transparent_pixels_do_not_bleed():
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, ::2] = (*WHITE, 255)
    pixels[:, 1::2] = (*RED, 0)
    assert (decode_image(encode(Image.fromarray(pixels)), 10) == 255).all()


def test_transparent_colours_of_a_palette_are_composed():
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([*RED, *GREEN, *BLUE])
    by_index = decode_image(encode(image, transparency=1), 3)
    assert by_index[0].tolist() == [[*RED], [*WHITE], [*BLUE]]
    by_alpha = decode_image(encode(image, transparency=bytes([255, 0, 51])), 3)
    assert by_alpha[0].tolist() == [[*RED], [*WHITE], [204, 204, 255]]
    as_gif = decode_image(encode(image, "GIF", transparency=1), 3)
    assert as_gif[0].tolist() == [[*RED], [*WHITE], [*BLUE]]


@pytest.mark.parametrize(
    ("bit_depth", "colour_type", "row", "key", "expected"),
    [
        (1, 0, b"\x40", struct.pack(">H", 1), [0, 255]),
        (4, 0, b"\x3f", struct.pack(">H", 3), [255, 255]),
        (4, 0, b"\x3c", struct.pack(">H", 12), [51, 255]),
        (8, 0, b"\x10\x20", struct.pack(">H", 0x20), [0x10, 255]),
        (16, 0, struct.pack(">2H", 257, 258), struct.pack(">H", 257), [255, 1]),
        (8, 2, b"\2\1\2\2\2\2", struct.pack(">3H", 2, 2, 2), [(2, 1, 2), 255]),
        (
            16,
            2,
            struct.pack(">6H", *[514] * 3, *[1028] * 3),
            struct.pack(">3H", *[514] * 3),
            [255, 4],
        ),
    ],
)
def test_the_transparent_colour_of_a_png_is_found_at_every_depth(
    bit_depth, colour_type, row, key, expected
):
    data = encode_png(2, 2, bit_depth, colour_type, [row, row], key)
    decoded = decode_image(data, 2)
    np.testing.assert_array_equal(decoded[0], [np.broadcast_to(n, 3) for n in expected])


# What can't be decoded


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"%PDF-1.7\n1 0 obj", r"not an image \(starts with '%PDF'\)"),
        (b"\0" * 1000, "not an image .* 00 00 00 00"),
        (b"x", r"not an image \(starts with 'x'\)"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "Ghostscript"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "not an image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "damaged PNG: "),
        (b"\xff\xd8\xff\xe0", "JPEG|truncated"),
    ],
)
def test_what_is_no_image_is_named(data, reason):
    with pytest.raises(ImageError, match=reason):
        decode_image(data, 8)


def test_heic_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "pillow_heif.as_plugin", None)
    with pytest.raises(ImageError, match=r"pip install \.\[heif\]"):
        decode_image(b"\0\0\0\x18ftypheic" + bytes(40), 8)


def test_a_bomb_is_refused_by_its_header():
    data = encode_png(30_000, 30_000, 8, 2, [])
    with pytest.raises(ImageError, match="too large: 30000 x 30000 pixels is more than the limit"):
        decode_image(data, 8)
    with pytest.raises(ImageError, match="100 x 50 pixels is more than the limit of 4,999"):
        decode_image(encode(Image.new("RGB", (100, 50))), 8, max_pixels=4999)
    decode_image(encode(Image.new("RGB", (100, 50))), 8, max_pixels=5000)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_cut_short_is_an_error_or_kept_as_far_as_it_goes(options):
    data = encode(smooth_image(256, 256), "JPEG", quality=95, **options)
    cut = data[: len(data) * 3 // 4]
    with pytest.raises(ImageError, match="truncated: image file is truncated"):
        decode_image(cut, 64)
    kept, whole = decode_image(cut, 64, truncated="keep"), decode_image(data, 64)
    assert difference(kept[:20], whole[:20]).mean() < 12
    if not options:
        assert difference(kept[:20], whole[:20]).max() == 0
        assert difference(kept[-4:], whole[-4:]).mean() > 12
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("format_name", ["PNG", "BMP", "GIF", "TGA", "PPM", "PCX", "TIFF"])
def test_what_is_there_of_other_formats_is_kept_too(format_name):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    data = encode(image.convert("P") if format_name == "GIF" else image, format_name)
    cut = data[: len(data) * 3 // 4]
    with pytest.raises(ImageError, match="truncated"):
        decode_image(cut, 64)
    rows = np.s_[-20:] if format_name in ("BMP", "TGA") else np.s_[:20]  # bottom-up formats
    kept, whole = decode_image(cut, 64, truncated="keep"), decode_image(data, 64)
    np.testing.assert_array_equal(kept[rows], whole[rows])


@pytest.mark.parametrize(
    ("format_name", "options"),
    [
        ("WEBP", {}),
        ("AVIF", {}),
        ("JPEG2000", {}),
        ("QOI", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_half_a_file_of_these_formats_is_skipped_with_either_word(format_name, options):
    data = encode(smooth_image(64, 64), format_name, **options)
    for truncated in ("skip", "keep"):
        with pytest.raises(ImageError):
            decode_image(data[: len(data) * 3 // 4], 64, truncated=truncated)


def test_no_plain_image_takes_the_place_of_one_that_ends_before_its_pixels():
    data = encode(smooth_image(64, 64), "JPEG")
    pixels_start = data.index(b"\xff\xda") + 14
    for cut in (data[:pixels_start], data[: pixels_start + 1]):
        with pytest.raises(ImageError, match="truncated"):
            decode_image(cut, 32, truncated="keep")


def test_damaged_files_give_an_image_or_a_reason_and_nothing_else():
    rng = np.random.default_rng(0)
    image = smooth_image(40, 30)
    seeds = [encode(image, name) for name in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "JPEG2000")]
    seeds += [encode(image, "TIFF", compression="tiff_lzw"), encode(image.convert("P"), "GIF")]
    n_reasons = 0
    for number in range(400):
        data = bytearray(seeds[number % len(seeds)])
        for _ in range(rng.integers(1, 20)):
            data[rng.integers(len(data))] = rng.integers(256)
        if number % 5 == 0:
            data = data[: rng.integers(len(data))]
        keep = ("skip", "keep")[number % 2]
        try:
            assert decode_image(bytes(data), 16, truncated=keep).shape == (16, 16, 3)
        except ImageError as error:
            n_reasons += 1
            assert 4 < len(str(error)) < 300
    assert 0 < n_reasons < 400


def test_wrong_words_are_the_callers_mistake():
    data = encode(smooth_image(8, 8))
    with pytest.raises(ValueError, match=r"resize must be one of .* Received: resize='squash'"):
        decode_image(data, 8, "squash")
    with pytest.raises(ValueError, match=r"truncated must be .* Received: truncated='maybe'"):
        decode_image(data, 8, truncated="maybe")


# In a program


def test_nothing_is_printed_and_no_warning_leaves(capfd):
    palette = Image.new("P", (8, 8))
    palette.putpalette([*RED, *GREEN])
    damaged_tiff = bytearray(encode(smooth_image(64, 64), "TIFF", compression="tiff_adobe_deflate"))
    damaged_tiff[100:140] = b"\x55" * 40
    files = [encode(palette, transparency=b"\x80\x40"), bytes(damaged_tiff), b"II*\0\x08\0\0\0\x05"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for data in files:
            try:
                decode_image(data, 8)
            except ImageError:
                continue
    assert not caught
    assert capfd.readouterr() == ("", "")


def test_threads_do_not_disturb_each_other(monkeypatch):
    monkeypatch.setattr(images, "LARGE_PIXELS", 3000)  # some take turns, some do not
    whole = [encode(smooth_image(40 + 9 * n, 60, seed=n), "JPEG") for n in range(8)]
    cut = [data[: len(data) * 4 // 5] for data in whole]
    expected = [decode_image(data, 32) for data in whole]
    kept = [decode_image(data, 32, truncated="keep") for data in cut]
    n_refused = []

    def work(number):
        n = number % 8
        np.testing.assert_array_equal(decode_image(whole[n], 32), expected[n])
        np.testing.assert_array_equal(decode_image(cut[n], 32, truncated="keep"), kept[n])
        try:
            decode_image(cut[n], 32)
        except ImageError:
            n_refused.append(threading.get_ident())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))
    assert len(n_refused) == 200


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    n_at_once, most, lock = Counter(), Counter(), threading.Lock()
    load = images.load_pixels

    def watch(image, stream, truncated):
        with lock:
            n_at_once[image.size] += 1
            most[image.size] = max(most[image.size], n_at_once[image.size])
        time.sleep(0.02)
        load(image, stream, truncated)
        with lock:
            n_at_once[image.size] -= 1

    monkeypatch.setattr(images, "load_pixels", watch)
    monkeypatch.setattr(images, "LARGE_PIXELS", 50 * 50)
    small, large = encode(smooth_image(50, 50)), encode(smooth_image(51, 51))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda data: decode_image(data, 8), [small, large] * 12))
    assert most[51, 51] == 1
    assert most[50, 50] > 1  # so the watch can tell


def test_the_decoder_loads_neither_tensorflow_nor_all_of_pillow():
    code = (
        "import sys, pipeline.images.decoding.decode; "
        "print([m for m in ('tensorflow', 'keras', 'PIL.TiffImagePlugin') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.strip() == b"[]"


def test_formats_that_need_more_memory_a_pixel_have_a_lower_limit():
    image = Image.new("RGB", (100, 50))
    for format_name, cost in (("WEBP", 3.5), ("JPEG2000", 5.0), ("AVIF", 2.0)):
        data = encode(image, format_name)
        decode_image(data, 8, max_pixels=int(5000 * cost))
        with pytest.raises(ImageError, match=r"100 x 50 pixels of .* limit of 4,999"):
            decode_image(data, 8, max_pixels=int(5000 * cost) - 1)
