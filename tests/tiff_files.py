"""TIFFs written by hand: Pillow writes no colours of 16 bits, and none of what it does not read."""

import struct
import zlib

import numpy as np

# Of TIFF 6.0: what the samples are, and what the one beyond the colours is (2 = alpha).
PHOTOMETRIC = {"gray": (1, ()), "RGB": (2, ()), "RGB and alpha": (2, (2,)), "CMYK": (5, ())}
_SHORT, _LONG = 3, 4


def write_tiff(tags: dict[int, list[int]], strips: list[bytes], order: str = "<") -> bytes:
    """A file of these strips: those of the tags that name size and places are added.

    Args:
        tags: numbers of two bytes by tag.
        order: `<` or `>`, which byte comes first.
    """
    pixels = b"".join(strips)
    pixels += bytes(len(pixels) % 2)
    places = np.cumsum([8, *map(len, strips)])[:-1].tolist()
    entries = {tag: (_SHORT, "H", numbers) for tag, numbers in tags.items()}
    entries[273] = (_LONG, "I", places)
    entries[279] = (_LONG, "I", [len(strip) for strip in strips])
    table, more = b"", b""
    start_of_more = 8 + len(pixels) + 2 + 12 * len(entries) + 4
    for tag, (kind, letter, numbers) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        if len(packed) > 4:
            place, more = start_of_more + len(more), more + packed
            packed = struct.pack(f"{order}I", place)
        table += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    mark = b"II*\0" if order == "<" else b"MM\0*"
    start = mark + struct.pack(f"{order}I", 8 + len(pixels)) + pixels
    return start + struct.pack(f"{order}H", len(entries)) + table + bytes(4) + more


def make_tags(n_bands: int, bits: int, size: tuple[int, int], photometric: int = 1, **more):
    """Tags of an image without compression; `extra`, `sample_format` and the like by name."""
    width, height = size
    tags = {256: [width], 257: [height], 258: [bits] * n_bands, 262: [photometric]}
    tags |= {259: [more.get("compression", 1)], 277: [n_bands], 278: [height]}
    tags |= {284: [more["planar"]]} if "planar" in more else {}
    tags |= {338: [*more["extra"]]} if more.get("extra") else {}
    return tags | ({339: [more["sample_format"]] * n_bands} if "sample_format" in more else {})


def encode_tiff(values, kind: str, order: str = "<", *, in_planes=False, deflate=False) -> bytes:
    """A TIFF of uint16 (height, width, n_bands), one of the kinds of PHOTOMETRIC."""
    height, width, n_bands = values.shape
    photometric, extra = PHOTOMETRIC[kind]
    values = values.astype(order + "u2")
    strips = [values[:, :, band] for band in range(n_bands)] if in_planes else [values]
    data = [strip.tobytes() for strip in strips]
    tags = make_tags(
        *(n_bands, 16, (width, height), photometric),
        extra=extra,
        planar=2 if in_planes else 1,
        compression=8 if deflate else 1,
    )
    return write_tiff(tags, [zlib.compress(part) for part in data] if deflate else data, order)


def encode_12_bits(values) -> bytes:
    """A gray TIFF that says that its pixels have 12 bits: two in three bytes."""
    height, width, _ = values.shape
    pairs = values.reshape(-1, 2).astype(int)
    pixels = b"".join(int(a << 12 | b).to_bytes(3, "big") for a, b in pairs)
    return write_tiff(make_tags(1, 12, (width, height)), [pixels])
