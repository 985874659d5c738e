"""Tells whether a JPEG 2000 file holds every tile, and whether its end marker is all that it lacks.

The decoder shows a tile that is missing as plain black, and says nothing; and it gives nothing at
all of a file without its end marker. The standard is ITU T.800, annex A.
"""

import struct
from collections import Counter
from dataclasses import dataclass

END_MARKER = b"\xff\xd9"
_START_AND_SIZE = b"\xff\x4f\xff\x51"
_START_OF_TILE = b"\xff\x90"


def read_precision(data: bytes) -> int:
    """Bits of the first component's values; 0 where the file does not say."""
    place = data.find(_START_AND_SIZE) + 42  # Ssiz
    return (data[place] & 127) + 1 if 42 <= place < len(data) else 0


@dataclass(frozen=True)
class Tiles:
    """What a file has of its tiles.

    Args:
        are_whole: all are there.
        n_end_bytes: how many bytes of the end marker follow them; None where something else does.
    """

    are_whole: bool
    n_end_bytes: int | None


def find_tiles(data: bytes) -> Tiles:
    """Walks through the tiles of a JPEG 2000 file."""
    start = data.find(_START_AND_SIZE)
    try:
        right, bottom, _, _, width, height, left, top = struct.unpack_from(">8I", data, start + 8)
        n_tiles = -(-(right - left) // width) * -(-(bottom - top) // height)
        place = start + 2
        while (marker := data[place : place + 2]) != _START_OF_TILE and len(marker) == 2:
            place += 2 + struct.unpack_from(">H", data, place + 2)[0]
    except (struct.error, ZeroDivisionError):
        return Tiles(are_whole=False, n_end_bytes=None)
    n_parts: Counter[int] = Counter()
    n_expected: dict[int, int] = {}
    while data[place : place + 2] == _START_OF_TILE and place + 12 <= len(data):
        tile, n_bytes, _, n_parts_of_tile = struct.unpack_from(">HIBB", data, place + 4)
        place = place + n_bytes if n_bytes else len(data) - len(END_MARKER)
        if place <= len(data):
            n_parts[tile] += 1
        n_expected[tile] = max(n_expected.get(tile, 1), n_parts_of_tile)
    are_whole = len(n_parts) >= n_tiles and all(
        n_parts[tile] >= number for tile, number in n_expected.items()
    )
    end = data[place:]
    if not end and data.endswith(END_MARKER):  # which no tile's data hold: some are missing
        are_whole = False
    return Tiles(are_whole, len(end) if END_MARKER.startswith(end) else None)
