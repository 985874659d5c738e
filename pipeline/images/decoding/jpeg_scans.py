"""Tells whether the scans of a JPEG hold the whole picture, be there an end marker or not.

Decoders do not say: what is missing they take for zeros. So the codes are read here as a decoder
reads them, but no pixel is made of them. It takes seconds a megabyte, so it is for the few files
whose end is in doubt. The standard is ITU T.81.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, product

from pipeline.images.decoding.jpeg_codes import (
    N_COEFFICIENTS,
    Bits,
    IncompleteError,
    Table,
    Tables,
    read_band,
    read_dc,
    read_tables,
    read_whole_block,
    refine_band,
    refine_dc,
)
from pipeline.images.decoding.jpeg_segments import (
    HUFFMAN_TABLES,
    OTHER_FRAMES,
    PROGRESSIVE_FRAME,
    RESTART_INTERVAL,
    SCAN,
    SEQUENTIAL_FRAMES,
    list_segments,
)

_RESTART = re.compile(rb"\xff+[\xd0-\xd7]")
_ALL_BITS = 14  # more than a coefficient has
_MOST_SCANS = 100  # ten are usual; a file of nothing but empty ones would take hours


@dataclass
class _Component:
    """One of the colours, and what the scans so far gave of it.

    Args:
        across, down: its blocks in an MCU (H, V).
        n_across: blocks in a row of whole MCUs.
        own_across, own_down: blocks in a scan of this component alone.
        shifts: of each coefficient, how many low bits are still to come (Al).
        is_set: of each coefficient of each block, 1 once it is known not to be zero.
    """

    across: int
    down: int
    n_across: int
    own_across: int
    own_down: int
    shifts: list[int] = field(default_factory=lambda: [_ALL_BITS] * N_COEFFICIENTS)
    is_set: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True)
class _Frame:
    """The components by their numbers, and the picture's size in MCUs."""

    is_progressive: bool
    components: dict[int, _Component]
    mcus_across: int
    mcus_down: int


@dataclass(frozen=True)
class _Scan:
    """The components, and which of their coefficients come: from `first` to `last` (Ss, Se),
    refined from `shift_before` (Ah, 0 in a first scan) to `shift` (Al).
    """

    components: list[tuple[_Component, Tables]]
    first: int
    last: int
    shift_before: int
    shift: int


def holds_whole_picture(data: bytes) -> bool:
    """Whether every bit of a JPEG's picture is there.

    Args:
        data: the file's bytes; what follows an end marker is of no interest.

    Returns:
        False also where it is not known: of arithmetic codes, of damaged ones, of very many scans.
    """
    frame: _Frame | None = None
    tables: dict[int, Table] = {}
    interval = n_scans = 0
    try:
        for segment in list_segments(data):
            code, content = segment.code, segment.content
            if code in OTHER_FRAMES:
                return False
            if code in SEQUENTIAL_FRAMES or code == PROGRESSIVE_FRAME:
                if frame is not None:
                    return False
                frame = _read_frame(content, is_progressive=code == PROGRESSIVE_FRAME)
            elif code == HUFFMAN_TABLES:
                tables |= read_tables(content)
            elif code == RESTART_INTERVAL:
                interval = int.from_bytes(content[:2], "big")
            elif code == SCAN and frame is not None:
                n_scans += 1
                if n_scans > _MOST_SCANS:
                    return False
                scan = _read_scan(content, frame, tables)
                _follow(scan, frame, interval, segment.entropy, is_last=segment.is_last)
    except (IncompleteError, IndexError, KeyError, ValueError):
        return False
    components = [] if frame is None else frame.components.values()
    return bool(components) and not any(any(component.shifts) for component in components)


def _read_frame(content: bytes, *, is_progressive: bool) -> _Frame:
    height, width = (int.from_bytes(content[i : i + 2], "big") for i in (1, 3))
    factors = {
        content[i]: (content[i + 1] >> 4, content[i + 1] & 15)
        for i in range(6, 6 + 3 * content[5], 3)
    }
    across, down = (max(factor) for factor in zip(*factors.values(), strict=True))
    if not height or min(min(pair) for pair in factors.values()) == 0:
        raise IncompleteError
    mcus_across, mcus_down = -(-width // (8 * across)), -(-height // (8 * down))
    components = {}
    for number, (own_across, own_down) in factors.items():
        component = components[number] = _Component(
            own_across,
            own_down,
            n_across=mcus_across * own_across,
            own_across=-(-width * own_across // (8 * across)),
            own_down=-(-height * own_down // (8 * down)),
        )
        if is_progressive:
            component.is_set = bytearray(component.n_across * mcus_down * own_down * N_COEFFICIENTS)
    return _Frame(is_progressive, components, mcus_across, mcus_down)


def _read_scan(content: bytes, frame: _Frame, tables: dict[int, Table]) -> _Scan:
    n_components = content[0]
    components = [
        (
            frame.components[content[i]],
            Tables(tables.get(content[i + 1] >> 4, []), tables.get(content[i + 1] & 15 | 16, [])),
        )
        for i in range(1, 1 + 2 * n_components, 2)
    ]
    if not frame.is_progressive:
        return _Scan(components, 0, N_COEFFICIENTS - 1, 0, 0)
    first, last, shifts = content[1 + 2 * n_components : 4 + 2 * n_components]
    return _Scan(components, first, last, shifts >> 4, shifts & 15)


def _follow(scan: _Scan, frame: _Frame, interval: int, entropy: bytes, *, is_last: bool) -> None:
    """Reads a scan's codes to the end of the picture, and notes which bits it gave.

    Args:
        interval: MCUs between two restart markers, 0 = there are none.
    """
    read_block = _choose_reader(scan, frame)
    mcus = _list_mcus(scan, frame)
    n_left = _count_mcus(scan, frame)
    pieces = _RESTART.split(entropy.rstrip(b"\xff"))
    for number, piece in enumerate(pieces, start=1):
        bits = Bits(piece)
        n_mcus = min(interval or n_left, n_left)
        for blocks in islice(mcus, n_mcus):
            for component, tables, block in blocks:
                read_block(bits, tables, component.is_set, block * N_COEFFICIENTS)
        bits.require_read(is_last=is_last and number == len(pieces))
        n_left -= n_mcus
    if n_left:
        raise IncompleteError
    for component, _ in scan.components:
        band = component.shifts[scan.first : scan.last + 1]
        if scan.shift_before and {*band} != {scan.shift_before}:  # a scan in between is missing
            raise IncompleteError
        component.shifts[scan.first : scan.last + 1] = [scan.shift] * len(band)


def _count_mcus(scan: _Scan, frame: _Frame) -> int:
    if len(scan.components) > 1:
        return frame.mcus_across * frame.mcus_down
    component, _ = scan.components[0]
    return component.own_across * component.own_down


def _list_mcus(scan: _Scan, frame: _Frame) -> Iterator[list[tuple[_Component, Tables, int]]]:
    """The blocks of each MCU in the order of the file, by their numbers (A.2)."""
    if len(scan.components) == 1:
        component, tables = scan.components[0]
        for row, column in product(range(component.own_down), range(component.own_across)):
            yield [(component, tables, row * component.n_across + column)]
        return
    places = [
        (component, tables, down, across)
        for component, tables in scan.components
        for down in range(component.down)
        for across in range(component.across)
    ]
    for row, column in product(range(frame.mcus_down), range(frame.mcus_across)):
        yield [
            (of, tables, (row * of.down + down) * of.n_across + column * of.across + across)
            for of, tables, down, across in places
        ]


def _choose_reader(scan: _Scan, frame: _Frame) -> Callable[[Bits, Tables, bytearray, int], None]:
    """What reads a block: called with the codes and their tables, with what is known of the
    component's coefficients, and with the place of the block there.
    """
    if not frame.is_progressive:
        return read_whole_block
    if scan.first == 0:
        return refine_dc if scan.shift_before else read_dc
    return partial(refine_band if scan.shift_before else read_band, scan.first, scan.last)
