"""Reads the Huffman codes of a JPEG as a decoder does, but makes no pixels of them.

The standard is ITU T.81; its names and numbers stand in comments and docstrings.
"""

import re
from typing import NamedTuple

import numpy as np

N_COEFFICIENTS = 64  # of a block
_SIXTEEN_ZEROS = 0xF0  # a symbol
_STUFFED = re.compile(rb"\xff+\0")

# For the next 16 bits: the length of the code that they begin with, and its symbol.
Table = list[tuple[int, int]]


class Tables(NamedTuple):
    """What decodes a component of a scan."""

    dc: Table
    ac: Table


class IncompleteError(Exception):
    """Bits are missing, or make no sense."""


def read_tables(content: bytes) -> dict[int, Table]:
    """Huffman tables by class (0x00 DC, 0x10 AC) and number, as one byte has them."""
    tables = {}
    while content:
        number, counts = content[0], content[1:17]
        symbols, content = iter(content[17:]), content[17 + sum(counts) :]
        table: Table = []
        for length, count in enumerate(counts, start=1):
            for _ in range(count):
                table += [(length, next(symbols, 0))] * (1 << (16 - length))
            if len(table) > 1 << 16:
                raise IncompleteError
        tables[number] = table
    return tables


class Bits:
    """The codes between two restart markers, and the place up to which they are read.

    Args:
        stuffed: as they are in the file.
    """

    def __init__(self, stuffed: bytes):
        data = _STUFFED.sub(b"\xff", stuffed)
        octets = np.frombuffer(data + bytes(11), np.uint8).astype(np.uint32)
        words = octets[:-3] << 24 | octets[1:-2] << 16 | octets[2:-1] << 8 | octets[3:]
        self.words = memoryview(words.data)  # the 32 bits that begin with each byte
        self.place = 0
        self.n_empty = 0  # blocks that have nothing more in this scan (EOBRUN)
        self._n_bytes, self._n_before_zeros = len(data), len(data.rstrip(b"\0"))

    def look(self, table: Table) -> int:
        """The next symbol."""
        place = self.place
        length, symbol = table[self.words[place >> 3] >> 16 - (place & 7) & 0xFFFF]
        self.place += length
        return symbol

    def skip_value(self, table: Table) -> None:
        """Passes over a code, and over the bits of a value that it says the number of."""
        size = self.look(table)
        self.place += size

    def read(self, n_bits: int) -> int:
        """The next bits, 16 at most."""
        place = self.place
        self.place += n_bits
        return (self.words[place >> 3] >> 16 - (place & 7) & 0xFFFF) >> 16 - n_bits

    def require_read(self, *, is_last: bool) -> None:
        """Raises an IncompleteError if more was read than there is.

        Args:
            is_last: the file ends with these codes. Then zeros that go on behind the picture fill
                up a file that was never written to its end, and none of them is the picture's.
        """
        n_read = -(-self.place // 8)
        is_filler = is_last and self._n_before_zeros < n_read < self._n_bytes
        if n_read > self._n_bytes or is_filler:
            raise IncompleteError


def read_whole_block(bits: Bits, tables: Tables, is_set: bytearray, block: int) -> None:
    """F.2.2, in one go: this is nearly all of the time."""
    bits.skip_value(tables.dc)
    words, place, table = bits.words, bits.place, tables.ac
    k = 1
    while k < N_COEFFICIENTS:
        length, symbol = table[words[place >> 3] >> 16 - (place & 7) & 0xFFFF]
        place += length + (symbol & 15)
        if symbol & 15 == 0 and symbol != _SIXTEEN_ZEROS:
            break
        k += (symbol >> 4) + 1
    bits.place = place


def read_dc(bits: Bits, tables: Tables, is_set: bytearray, block: int) -> None:
    bits.skip_value(tables.dc)


def refine_dc(bits: Bits, tables: Tables, is_set: bytearray, block: int) -> None:
    bits.place += 1


def read_band(
    first: int, last: int, bits: Bits, tables: Tables, is_set: bytearray, block: int
) -> None:
    """G.1.2.2: coefficients that come for the first time."""
    if bits.n_empty:
        bits.n_empty -= 1
        return
    k = first
    while k <= last:
        symbol = bits.look(tables.ac)
        run, size = symbol >> 4, symbol & 15
        if size == 0 and symbol != _SIXTEEN_ZEROS:
            bits.n_empty = (1 << run) - 1 + bits.read(run)
            return
        k += run
        if size and k <= last:
            bits.place += size
            is_set[block + k] = 1
        k += 1


def refine_band(
    first: int, last: int, bits: Bits, tables: Tables, is_set: bytearray, block: int
) -> None:
    """G.1.2.3: a bit for each coefficient that is set, and those that are set now."""
    k = first
    while k <= last and not bits.n_empty:
        symbol = bits.look(tables.ac)
        run, is_new = symbol >> 4, symbol & 15
        if not is_new and symbol != _SIXTEEN_ZEROS:
            bits.n_empty = (1 << run) + bits.read(run)
            break
        bits.place += 1 if is_new else 0
        while k <= last and (run or is_set[block + k]):
            if is_set[block + k]:
                bits.place += 1
            else:
                run -= 1
            k += 1
        if is_new and k <= last:
            is_set[block + k] = 1
        k += 1
    if bits.n_empty:
        bits.place += is_set.count(1, block + k, block + last + 1)
        bits.n_empty -= 1
