"""TIFFs that Pillow does not decode, or not rightly: what they are is said, and nothing beside."""

import io
import logging
import sys

import numpy as np
import pytest
from conftest import call
from PIL import Image
from tiff_files import encode_tiff, make_tags, write_tiff

from pipeline.errors import ImageError
from pipeline.images.decoding.decode import decode_image

SIZE = (8, 8)
SHOWN = ". Shown are gray, RGB and CMYK of 8 or 16 bits, with or without alpha, and gray of 1 to 32"
STRANGE = {
    "13 bands of 16 bits (gray)": {"n_bands": 13, "bits": 16, "extra": [0] * 12},
    "13 bands of 8 bits (RGB)": {"n_bands": 13, "bits": 8, "photometric": 2, "extra": [0] * 10},
    "6 bands of 8 bits (gray)": {"n_bands": 6, "bits": 8, "extra": [0] * 5},
    "5 bands of 16 bits (RGB)": {"n_bands": 5, "bits": 16, "photometric": 2, "extra": [0] * 2},
    "1 band of 64 bits (gray, floating-point)": {"n_bands": 1, "bits": 64, "sample_format": 3},
    "1 band of 64 bits (gray, complex)": {"n_bands": 1, "bits": 64, "sample_format": 6},
    "3 bands of 32 bits (RGB, floating-point)": {
        **{"n_bands": 3, "bits": 32, "photometric": 2, "sample_format": 3}
    },
    "1 band of 24 bits (gray)": {"n_bands": 1, "bits": 24},
    "1 band of 16 bits (a camera's sensor)": {"n_bands": 1, "bits": 16, "photometric": 32803},
    "1 band of 8 bits (colours 777)": {"n_bands": 1, "bits": 8, "photometric": 777},
}


def make_strange(n_bands, bits, **more):
    n_bytes = SIZE[0] * SIZE[1] * n_bands * bits // 8
    return write_tiff(make_tags(n_bands, bits, SIZE, **more), [bytes(range(256)) * n_bytes])


def reason_of(data):
    with pytest.raises(ImageError) as caught:
        decode_image(data, 8)
    return str(caught.value)


@pytest.mark.parametrize("what", STRANGE)
def test_a_good_file_of_a_kind_that_is_not_shown_is_not_called_damaged(what):
    assert reason_of(make_strange(**STRANGE[what])) == f"not decoded: a TIFF of {what}{SHOWN}"


def test_a_compression_that_is_not_known_is_named():
    data = make_strange(1, 8, compression=34887)
    assert reason_of(data) == "not decoded: a TIFF with compression 34887"


def test_a_tiff_that_is_damaged_is_called_so():
    data = make_strange(1, 8)
    assert reason_of(data[:4] + b"\xff" * 4 + data[8:]).startswith(("damaged TIFF", "truncated"))


def encode(image, format_name, **options):
    stream = io.BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


def test_other_good_files_that_are_not_shown_are_not_called_damaged_either():
    photo = encode(Image.new("RGB", SIZE), "JPEG")
    place = photo.index(b"\xff\xc0") + 4
    twelve_bits = photo[:place] + b"\x0c" + photo[place + 1 :]
    assert reason_of(twelve_bits) == "not decoded: JPEG, cannot handle 12-bit layers"
    bitmap = bytearray(encode(Image.new("RGB", SIZE), "BMP"))
    bitmap[30] = 9  # its compression
    assert reason_of(bytes(bitmap)) == "not decoded: BMP, Unsupported BMP compression (9)"


@pytest.mark.parametrize("kind", ["gray", "RGB", "RGB and alpha"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [False, True])
def test_planes_of_16_bits_are_the_picture(kind, order, deflate):
    n_bands = {"gray": 1, "RGB": 3, "RGB and alpha": 4}[kind]
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, n_bands), dtype=np.uint16)
    if n_bands == 4:
        values[:, :, 3] = 65535
    decoded = decode_image(encode_tiff(values, kind, order, in_planes=True, deflate=deflate), 8)
    assert np.abs(decoded - np.round(values[:, :, :3] / 257)).max() <= 1


def test_a_plane_of_1_bit_is_left_as_it_is():
    tags = make_tags(1, 1, SIZE, planar=2)
    del tags[258]  # 1 bit is what no tag means
    decoded = decode_image(write_tiff(tags, [b"\xff\x00" * 4]), 8)
    assert (decoded[::2] == 255).all()
    assert (decoded[1::2] == 0).all()


def test_planes_that_pillow_cannot_read_are_said():
    values = np.zeros((8, 8, 4), np.uint16)
    expected = f"not decoded: a TIFF of CMYK of 16 bits in planes{SHOWN}"
    assert reason_of(encode_tiff(values, "CMYK", in_planes=True)) == expected


@pytest.fixture
def strange_photos(tmp_path):
    """Two photos, and files about which Pillow or a library in it would like to say something."""
    folder = tmp_path / "photos" / "a"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(2):
        pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "bands.tif").write_bytes(make_strange(**STRANGE["13 bands of 16 bits (gray)"]))
    for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "group4"):
        image = Image.fromarray(pixels).convert("1" if name == "group4" else "RGB")
        data = bytearray(encode(image, "TIFF", compression=name))
        data[60:200] = bytes(140)
        (folder / f"{name}.tif").write_bytes(data)
    return folder.parent


@pytest.mark.usefixtures("stand_in_backbone", "strange_photos")
def test_nothing_but_the_reasons_reaches_stderr(capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(sys.stderr)])
    options = ("--backbone", "efficientnet-lite0", "--weights", "random", "--image-size", 32)
    outcome = call("extract", "photos", *options, "--quiet")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stderr == ""
    assert capfd.readouterr().err == ""
    outcome = call("extract", "photos", *options, "--retry-skipped")
    line = "skipped 1: not decoded: a TIFF of 13 bands of 16 bits (gray)"
    assert any(line in part and "a/bands.tif" in part for part in outcome.stderr.splitlines())
    assert capfd.readouterr().err == ""


def test_what_others_do_with_pillow_is_still_logged(caplog):
    data = make_strange(**STRANGE["13 bands of 16 bits (gray)"])
    reason_of(data)
    assert caplog.records == []
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(data))
    assert "More samples per pixel" in caplog.text
