"""Whether two feature files are the same, for what must not depend on who made them."""

from pathlib import Path

import h5py
import numpy as np

# When the file was written; the other is a sha256 over it.
TIMES = {"created", "tables_sha256"}


def read_everything(path: Path) -> dict[str, object]:
    """Every attribute but times, and of every table type, shape, chunks and bytes."""
    with h5py.File(path) as file:
        found: dict[str, object] = {f"@{k}": v for k, v in file.attrs.items() if k not in TIMES}

        def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                values = item[:]
                plain = values.tolist() if values.dtype == object else values.tobytes()
                found[name] = (str(values.dtype), values.shape, item.chunks, plain)

        file.visititems(visit)
    return found


def assert_same(path: Path, expected: Path) -> None:
    """Bit for bit, times apart."""
    ours, theirs = read_everything(path), read_everything(expected)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert np.prod(ours["features"][1]) > 0
