"""The images that a command is given: paths, patterns, and `-` for the image that stdin holds."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.shared import EXISTING

if TYPE_CHECKING:
    from pipeline.classifier.prediction import Prediction

STDIN = "-"  # no Path: `./-` is one, of a file of that name


class _Images(click.Path):
    """A path, or `-`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return STDIN if value == STDIN else EXISTING.convert(value, param, ctx)


IMAGES = _Images()


def expand_images(
    ctx: click.Context, parameter: click.Parameter, paths: tuple[Path | str, ...]
) -> tuple[Path | str, ...]:
    """The files that patterns match among the paths; `-` stays, which there can be once."""
    from pipeline.system.paths import expand_pattern

    if (n_times := paths.count(STDIN)) > 1:
        raise click.BadParameter(
            f"stdin holds one image. Expected - once. Received: {n_times:,} times", ctx, parameter
        )
    found: list[Path | str] = []
    for path in paths:
        found += [path] if isinstance(path, str) else expand_pattern(path)
    return tuple(found)


def read_stdin(max_bytes: int | None) -> bytes:
    """The image file that stdin holds; of one that is too large, one byte more than is allowed.

    Raises:
        ImageError: stdin is a terminal, or nothing comes from it.
        StorageError: it cannot be read.
    """
    from pipeline.errors import ImageError, StorageError
    from pipeline.images.decoding.read_images import make_limits

    program = click.get_current_context().find_root().info_name
    how = f"Give it one: `cat a.jpg | {program} predict RUN -`"
    most = make_limits(max_bytes=max_bytes).max_bytes
    if sys.stdin.isatty():
        raise ImageError(
            f"Expected the bytes of an image file on stdin. Received: a terminal. {how}"
        )
    try:
        data = sys.stdin.buffer.read(most + 1)
    except OSError as error:
        raise StorageError(f"stdin cannot be read: {error.strerror}. {how}") from error
    if not data:
        raise ImageError(f"Expected the bytes of an image file on stdin. Received: nothing. {how}")
    return data


def name_stdin(prediction: "Prediction") -> "Prediction":
    """The same; the image that came without a path is that of stdin."""
    if prediction.path is not None:
        return prediction
    return replace(prediction, path=Path(STDIN))
