"""What kind of TIFF a file is: words for those that Pillow does not decode, and a hand for some.

TIFF holds nearly anything, so a file that cannot be shown is mostly none that is damaged.
"""

from typing import Any, BinaryIO

from PIL.ImageFile import ImageFile

from pipeline.errors import ImageError

# Tags of TIFF 6.0
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _N_BANDS = 256, 257, 258, 259, 262, 277
_PLANAR, _SAMPLE_FORMAT = 284, 339
_BAND_AFTER_BAND = 2
_BIG_TIFF = (b"II+\0", b"MM\0+")
_NUMBERS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}  # by sample format
_COLOURS = {  # by photometric interpretation
    **{0: "gray", 1: "gray", 2: "RGB", 3: "a palette", 5: "CMYK", 6: "YCbCr", 8: "LAB"},
    **{32803: "a camera's sensor", 34892: "a camera's sensor", 32844: "LogL", 32845: "LogLuv"},
}
_SHOWN = "Shown are gray, RGB and CMYK of 8 or 16 bits, with or without alpha, and gray of 1 to 32"


def describe_tiff(stream: BinaryIO) -> str | None:
    """Why Pillow did not open a TIFF, by its header; None if that is damaged."""
    from PIL.TiffImagePlugin import COMPRESSION_INFO

    tags = _read_tags(stream)
    if not tags.keys() >= {_WIDTH, _HEIGHT}:
        return None
    compression = tags.get(_COMPRESSION, 1)
    if compression not in COMPRESSION_INFO:
        return f"not decoded: a TIFF with compression {compression}"
    bits = tags.get(_BITS, (1,))
    n_bands = tags.get(_N_BANDS, len(bits))
    depth = " or ".join(map(str, sorted({*bits})))
    number = tags.get(_PHOTOMETRIC, 1)
    kinds = [_COLOURS.get(number, f"colours {number}")]
    kinds += [_NUMBERS[code] for code in sorted({*tags.get(_SAMPLE_FORMAT, ())} & {*_NUMBERS})]
    return (
        f"not decoded: a TIFF of {n_bands:,} band{'s' if n_bands > 1 else ''} of {depth} bits "
        f"({', '.join(kinds)}). {_SHOWN}"
    )


def repair_planes(image: ImageFile) -> None:
    """Makes Pillow read planes of 16 bits, which it takes for 8, in a TIFF that stores one band
    after the other and compresses nothing.

    Raises:
        ImageError: it cannot.
    """
    from PIL.TiffImagePlugin import TiffImageFile

    if not isinstance(image, TiffImageFile) or image.tag_v2.get(_PLANAR) != _BAND_AFTER_BAND:
        return
    if any(tile.codec_name != "raw" for tile in image.tile) or {*image.tag_v2.get(_BITS, (1,))} != {
        16
    }:
        return
    if image.mode == "CMYK":
        raise ImageError(f"not decoded: a TIFF of CMYK of 16 bits in planes. {_SHOWN}")
    is_high_first = image.tag_v2.prefix == b"MM"
    suffix = ";16B" if is_high_first else ";16" if image.mode.startswith("I") else ";16L"
    tiles = [(tile, tuple(tile.args or ())) for tile in image.tile]
    image.tile = [
        tile._replace(args=(raw_mode[0] + suffix, *rest))
        for tile, (raw_mode, *rest) in tiles
        if raw_mode[0] in image.getbands()
    ]


def _read_tags(stream: BinaryIO) -> dict[int, Any]:
    """The first page's tags, in plain Python; none where they cannot be read."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    try:
        stream.seek(0)
        header = stream.read(8)
        header += stream.read(8) if header.startswith(_BIG_TIFF) else b""
        tags = ImageFileDirectory_v2(header)
        stream.seek(tags.next)
        tags.load(stream)
        return dict(tags)
    except Exception:  # a damaged file: anything may come
        return {}
