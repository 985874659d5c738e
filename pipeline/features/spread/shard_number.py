"""Which shard of how many: `2/3` is the second of three. Imports nothing heavy."""

import re
from dataclasses import dataclass

from pipeline.errors import ParameterError

MOST_SHARDS = 10_000
_ENDING = re.compile(r"-shard-([0-9]+)-of-([0-9]+)[.]h5$")


@dataclass(frozen=True)
class Shard:
    """One of `n_shards` shards.

    Args:
        number: from 1.
        n_shards: all of them together hold each image of a data set once.
    """

    number: int
    n_shards: int

    def __str__(self) -> str:
        """Such as `2/3`, as it is asked for."""
        return f"{self.number}/{self.n_shards}"

    @property
    def in_file_names(self) -> str:
        """Such as `shard-2-of-3`."""
        return f"shard-{self.number}-of-{self.n_shards}"


def parse_shard(text: str) -> Shard:
    """The shard that a text such as `2/3` names.

    Raises:
        ParameterError: it names none.
    """
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is not None:
        shard = Shard(int(found[1]), int(found[2]))
        if 1 <= shard.number <= shard.n_shards <= MOST_SHARDS:
            return shard
    raise ParameterError(
        "This names no shard. Expected `shard` to be its number and how many there are, such as "
        f"2/3 for the second of three, of at most {MOST_SHARDS:,}. Received: {text}",
        "shard",
    )


def are_other_shards(name: str, other: str) -> bool:
    """Whether two file names are those of two shards of one data set, as they are named here."""
    found, wanted = _ENDING.search(name), _ENDING.search(other)
    if found is None or wanted is None:
        return False
    is_one_set = name[: found.start()] == other[: wanted.start()] and found[2] == wanted[2]
    return is_one_set and found[1] != wanted[1]
