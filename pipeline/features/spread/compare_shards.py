"""Whether rows that several machines computed may be in one file: measured on images that all of
them embedded, and said or refused as where one machine goes on with another's file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import EngineError
from pipeline.features.feature_file import Contents, FeatureFile
from pipeline.features.spread.read_shards import ReadShards
from pipeline.recipe import EngineRecord


@dataclass(frozen=True)
class _Side:
    """A file's rows of a few images, by digest, and what computed them."""

    name: str
    engines: list[EngineRecord]
    rows: dict[bytes, np.ndarray]

    def __str__(self) -> str:
        return f"{' and '.join(map(str, self.engines))} ({self.name})"


def describe_engines(shards: ReadShards, target: Path, old: Contents | None) -> list[str]:
    """What is to be said of rows that would be mixed; one sentence for each sort of engine.

    Args:
        shards: all of them.
        target: the file to be brought up to date.
        old: its tables, None where there is no such file.

    Raises:
        EngineError: rows differ by more than rounding explains, or cannot be compared.
    """
    first, *others = _list_sides(shards, target, old)
    notes: dict[tuple[EngineRecord, ...], tuple[float, str]] = {}
    for other in others:
        found = _compare(first, other)
        if found is not None:
            key = tuple(other.engines)
            notes[key] = max(notes.get(key, found), found)
    return [note for _, note in notes.values()]


def _list_sides(shards: ReadShards, target: Path, old: Contents | None) -> Iterator[_Side]:
    compared = [dict(zip(map(bytes, part.compared.digests), part.compared.features, strict=True))
                for part in shards.parts]  # fmt: skip
    if old is not None:
        row_of = {digest.tobytes(): row for row, digest in enumerate(old.images.digests)}
        wanted = [key for key in compared[0] if key in row_of]
        with FeatureFile(target) as file:
            rows = file.read_rows(np.array([row_of[key] for key in wanted], np.int64))
        yield _Side("the file so far", old.engines, dict(zip(wanted, rows, strict=True)))
    for part, rows_of_part in zip(shards.parts, compared, strict=True):
        yield _Side(f"shard {part.shard}", part.engines, rows_of_part)


def _compare(one: _Side, other: _Side) -> tuple[float, str] | None:
    """The greatest difference and a sentence about it; None where rows are the same engine's, and
    equal.
    """
    common = sorted(one.rows.keys() & other.rows.keys())
    is_alike = one.engines == other.engines
    if not common:
        if is_alike:
            return None
        raise EngineError(
            f"Rows of {one} and of {other} cannot be compared. Expected images that both "
            "embedded. Received: none\n"
            f"{_WAYS_OUT}"
        )
    ours = np.stack([one.rows[key] for key in common])
    theirs = np.stack([other.rows[key] for key in common])
    greatest = max(float(np.abs(ours).max()), 1e-30)
    difference = float(np.abs(ours - theirs).max()) / greatest
    if is_alike and difference == 0:
        return None
    tolerance = max(engine.tolerance for engine in (*one.engines, *other.engines))
    if not difference <= tolerance:
        raise EngineError(
            f"{other} does not give the rows of {one}. Expected a difference of at most "
            f"{tolerance:g} of the greatest feature. Received: {difference:.2g}, measured on "
            f"{len(common)} images\n{_WAYS_OUT}"
        )
    return difference, (
        f"Rows of {one} and of {other} are mixed: greatest difference {difference:.2g} of the "
        f"greatest feature, measured on {len(common)} images."
    )


_WAYS_OUT = (
    "Compute all shards with one engine on machines of one kind (`engine`, `device`), each to a "
    "new `output` and without rows of other files (`reuse=False`)."
)
