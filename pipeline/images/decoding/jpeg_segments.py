"""The segments of a JPEG file, up to its end marker (ITU T.81, B.1)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

HUFFMAN_TABLES, END_OF_IMAGE, SCAN, RESTART_INTERVAL = 0xC4, 0xD9, 0xDA, 0xDD
SEQUENTIAL_FRAMES, PROGRESSIVE_FRAME = {0xC0, 0xC1}, 0xC2
# Without Huffman codes, without loss, or in layers; 0xC8 is reserved.
OTHER_FRAMES = {*range(0xC3, 0xD0)} - {0xC4, 0xC8, 0xCC}

_MARKER = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")  # no stuffed byte, and none to restart at
_WITHOUT_LENGTH = {0x01, 0xD8}


@dataclass(frozen=True)
class Segment:
    """A marker and what belongs to it.

    Args:
        code: the marker's second byte.
        start: where the marker is.
        content: what its length counts.
        entropy: of a scan, the codes that follow.
        is_last: whether the file ends with these codes.
    """

    code: int
    start: int
    content: bytes = b""
    entropy: bytes = b""
    is_last: bool = False


def list_segments(data: bytes) -> Iterator[Segment]:
    """The segments in order; the end marker is the last, where there is one."""
    marker = _MARKER.search(data)
    while marker is not None:
        code, place = data[marker.end() - 1], marker.end()
        content = b""
        if code not in _WITHOUT_LENGTH and code != END_OF_IMAGE:
            place += int.from_bytes(data[place : place + 2], "big")
            content = data[marker.end() + 2 : place]
        following = None if code == END_OF_IMAGE else _MARKER.search(data, place)
        if code == SCAN:
            stop = len(data) if following is None else following.start()
            entropy = data[place:stop]
            yield Segment(code, marker.start(), content, entropy, is_last=following is None)
        else:
            yield Segment(code, marker.start(), content)
        marker = following
