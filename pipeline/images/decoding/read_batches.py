"""Reads batches of images and notes which are being decoded, so that a crash has suspects.

A crash inside a decoder ends the process, and no one is left to say which image it was. The notes
are: the next run reads the images in them one by one in a process of their own.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np

from pipeline.images.decoding.isolated_worker import ISOLATE_SECONDS, IsolatedReader, Read
from pipeline.images.decoding.read_images import Limits, read_image
from pipeline.recipe import Recipe
from pipeline.system.disk import storage_errors

_NOTE_PREFIX = "in-flight-"


@dataclass(frozen=True)
class ReaderSettings:
    """How to read images; plain values, so that they can be sent to another process.

    Args:
        recipe, limits: as for `read_image`.
        notes_folder: where to note which images are being decoded.
        suspects: images to decode in a process of their own.
        isolate: decode all images so.
        seconds: an isolated image that takes longer is given up.
        read: what gives an image's digest and pixels.
        shape: of the pixels that it gives, None for those of one image; (n_views, height, width, 3)
            where it gives several views of each.
    """

    recipe: Recipe
    limits: Limits
    notes_folder: Path
    suspects: frozenset[Path] = frozenset()
    isolate: bool = False
    seconds: float = ISOLATE_SECONDS
    read: Read = read_image
    shape: tuple[int, ...] | None = None

    @property
    def pixel_shape(self) -> tuple[int, ...]:
        """Of what is read of a file."""
        return self.shape or (self.recipe.image_size, self.recipe.image_size, 3)

    @property
    def n_views(self) -> int:
        """Images that are read of a file."""
        return self.pixel_shape[0] if len(self.pixel_shape) == 4 else 1

    @property
    def turnstile(self) -> Path:
        """A lock file; of several processes the one that holds it decodes a large image."""
        return self.notes_folder / f"{_NOTE_PREFIX}turnstile.lock"


class BatchReader:
    """Reads batches of image files; safe to call from several threads.

    Args:
        settings: how.
        n_workers: at most so many processes decode what is isolated.
    """

    def __init__(self, settings: ReaderSettings, n_workers: int):
        self._settings = settings
        self._open = ExitStack()
        self._read_isolated = self._open.enter_context(
            IsolatedReader(
                settings.recipe,
                settings.limits,
                settings.turnstile,
                n_workers,
                seconds=settings.seconds,
                read=settings.read,
                shape=settings.pixel_shape,
            )
        )

    def __enter__(self) -> "BatchReader":
        with storage_errors(self._settings.notes_folder):
            self._settings.notes_folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        with suppress(OSError):  # something is in it
            self._settings.notes_folder.rmdir()

    def __call__(self, paths: list[Path]) -> list[tuple[np.ndarray, np.ndarray | str]]:
        """Digest and pixels of each file, or digest and the reason why it has none."""
        return list(self.read_each(paths))

    def read_each(self, paths: list[Path]) -> Iterator[tuple[np.ndarray, np.ndarray | str]]:
        """The same of one after the other, each read when it is asked for."""
        settings = self._settings
        is_isolated = [settings.isolate or path.absolute() in settings.suspects for path in paths]
        trusted = list(compress(paths, (not isolated for isolated in is_isolated)))
        with self._noted(trusted) if trusted else nullcontext():
            for path, isolated in zip(paths, is_isolated, strict=True):
                if isolated:
                    yield self._read_isolated(path)
                else:
                    yield settings.read(path, settings.recipe, settings.limits)

    @contextmanager
    def _noted(self, paths: list[Path]) -> Iterator[None]:
        """Leaves a note for as long as these images are being decoded.

        The note outlives a process that is killed, so it needs no fsync; half a note names half
        the suspects, so it needs no rename.
        """
        note = self._settings.notes_folder / f"{_NOTE_PREFIX}{os.getpid()}-{threading.get_ident()}"
        try:
            with storage_errors(note):
                note.write_bytes(b"".join(os.fsencode(path.absolute()) + b"\0" for path in paths))
            yield
        finally:
            _remove(note)


def find_all_unusable(
    paths: Iterable[Path], settings: ReaderSettings
) -> list[tuple[np.ndarray, str]] | None:
    """Digest and reason of each file where not one can be used; None where one can.

    Files are read up to the first that can be used.
    """
    unusable = []
    with BatchReader(settings, n_workers=1) as read:
        for path in paths:
            ((digest, pixels),) = read([path])
            if not isinstance(pixels, str):
                return None
            unusable.append((digest, pixels))
    return unusable


def read_notes(folder: Path) -> frozenset[Path]:
    """The images that were being decoded when an earlier run ended."""
    return frozenset(
        Path(os.fsdecode(name))
        for note in folder.glob(f"{_NOTE_PREFIX}*")
        for name in note.read_bytes().split(b"\0")[:-1]
    )


def remove_notes(folder: Path) -> None:
    """Removes all notes: every image in them has a row or a reason now."""
    for note in folder.glob(f"{_NOTE_PREFIX}*"):
        _remove(note)


def _remove(note: Path) -> None:
    with storage_errors(note):
        note.unlink(missing_ok=True)
