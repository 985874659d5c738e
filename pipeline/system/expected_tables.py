"""What the tables of a file must be, and whether those that are there are so.

For HDF5 and for numpy's files alike: types and shapes are told before a value is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# Type (None = text of any length) and shape of a table.
Found = tuple[np.dtype[Any] | None, tuple[int, ...]]


@dataclass(frozen=True)
class Table:
    """What a table of a file must be.

    Args:
        dtype: of its values, None for text of any length.
        shape: lengths; those with the same name must be equal in all tables of the file.
        is_optional: files from before there was such a table lack it.
    """

    dtype: type[np.generic] | None
    shape: tuple[str | int, ...]
    is_optional: bool = False

    def __str__(self) -> str:
        """Such as `int32 [n_samples]`."""
        kind = "text" if self.dtype is None else self.dtype.__name__
        return f"{kind} [{', '.join(map(str, self.shape))}]"


def compare_tables(found: Mapping[str, Found], expected: Mapping[str, Table]) -> dict[str, int]:
    """Compares types and shapes; gives the lengths by name. Tables beyond are passed over.

    Raises:
        ValueError: a table is missing, or is not what it must be.
    """
    lengths: dict[str, int] = {}
    for name, table in expected.items():
        if name not in found:
            if table.is_optional:
                continue
            raise ValueError(f"there is no table {name!r}")
        dtype, shape = found[name]
        if not _fits(dtype, shape, table, lengths):
            here = [lengths.get(str(length), length) for length in table.shape]
            raise ValueError(
                f"the table {name!r} should be {table}, here {here}, and is {dtype or 'text'} "
                f"{list(shape)}"
            )
    return lengths


def _fits(
    dtype: np.dtype[Any] | None, shape: tuple[int, ...], table: Table, lengths: dict[str, int]
) -> bool:
    """Whether type and shape are right; lengths that were not known yet are noted."""
    if dtype is None or table.dtype is None:
        is_of_type = dtype is None and table.dtype is None
    else:
        is_of_type = np.issubdtype(dtype, table.dtype)
    if not is_of_type or len(shape) != len(table.shape):
        return False
    known = [
        lengths.setdefault(wanted, length) if isinstance(wanted, str) else wanted
        for length, wanted in zip(shape, table.shape, strict=True)
    ]
    return known == list(shape)
