"""Whether there is room on the disk for what an extraction will write."""

from pathlib import Path

from pipeline.errors import StorageError
from pipeline.system.paths import free_bytes

_BYTES_PER_TABLE_ROW = 200


def describe_room(
    target: Path, n_missing: int, n_rows: int, n_features: int, probe_bytes: int
) -> str:
    """Says what the file will take and what is free.

    Args:
        probe_bytes: of the decoded images that the file keeps.

    Raises:
        StorageError: it is more than is free.
    """
    row_bytes = 4 * n_features
    file_bytes = n_rows * (row_bytes + _BYTES_PER_TABLE_ROW) + probe_bytes
    needed = n_missing * row_bytes + file_bytes
    free = free_bytes(target.parent)
    if needed > free:
        raise StorageError(
            f"Not enough room for {target}. Expected {_size(needed)} free (the finished rows and, "
            f"at the end, the one file made from them). Received: {_size(free)}\n"
            "Make room, or choose another disk with `output`."
        )
    return (
        f"{n_missing:,} of {n_rows:,} images to compute. The file will take "
        f"{_megabytes('about', file_bytes)}, and {_megabytes('up to', needed)} while it is made; "
        f"{free / 1e9:,.1f} GB are free."
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.2f} GB" if n_bytes >= 0.1e9 else f"{n_bytes / 1e6:,.2f} MB"


def _megabytes(bound: str, n_bytes: int) -> str:
    """`about 1.2 MB`; of little, not `about 0.0 MB`."""
    return f"{bound} {n_bytes / 1e6:,.1f} MB" if n_bytes >= 0.05e6 else "less than 0.1 MB"
