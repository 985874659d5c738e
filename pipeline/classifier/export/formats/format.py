"""The seam between an export and the formats: what each can do, and the function that writes it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.classifier.export.whole_network import WholeNetwork


class CannotExportError(Exception):
    """The format lacks something that this model needs, or takes no such precision."""


@dataclass(frozen=True)
class Settings:
    """How a model is written.

    Args:
        precision: `float32`, `float16` or `bfloat16`.
        metadata: for inside the file, by key: `class_names` (JSON), `card` and the like.
    """

    precision: str
    metadata: dict[str, str]


# Writes the file or folder; gives sentences for people.
WriteModel = Callable[["WholeNetwork", Path, Settings], list[str]]


@dataclass(frozen=True)
class Format:
    """One thing that a model can be exported as.

    Args:
        name: for people to ask for.
        file: name of the file or folder in the export.
        write_at: `module:function`, a `WriteModel`; imported when it is asked for.
        precisions: that it takes.
        packages: that have to be there to write it, and to prove it, as Python imports them.
        extra: of `setup.cfg` that brings them; empty where they are always there.
    """

    name: str
    file: str
    write_at: str
    precisions: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str

    def import_write(self) -> WriteModel:
        """The function that writes it."""
        write: WriteModel = resolve_name(self.write_at)
        return write
