"""Folders with what a run says of new images: whole or not there, and never somebody else's.

Such a folder has no manifest. It is known by what lies in it: nothing but files of the names that
the same call writes. So `force=True` replaces an older outcome, and nothing else goes with it.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import ParameterError, RunError
from pipeline.system.atomic_folder import atomic_folder
from pipeline.system.disk import storage_errors
from pipeline.system.leftovers import remove_leftovers
from pipeline.system.locks import hold_lock_for_now
from pipeline.system.paths import is_folder
from pipeline.system.printable import printable


@contextmanager
def claim_outcome(output: Path | None, names: Collection[str], *, force: bool) -> Iterator[None]:
    """Holds the name of a folder that is going to be written, from before the work that takes long.

    Args:
        output: the folder; None where nothing is going to be written.
        names: paths below it of all files that can be written, `/`-separated.
        force: an older outcome of that name may be replaced.

    Raises:
        ParameterError: `force` without a folder.
        RunError: there is a folder with something in it, and no `force`, or with something else.
        LockedError: another process is about to write it; the message says who.
        StorageError: nothing can be written there.
    """
    if output is None:
        if force:
            raise ParameterError(
                "There is nothing to overwrite. Expected `force` with `output=FOLDER`. Received: "
                "`force=True` alone",
                "force",
            )
        yield
        return
    _require_free(output, names, force=force)
    with hold_lock_for_now(output):
        with storage_errors(output):
            remove_leftovers(output)
        _require_free(output, names, force=force)  # another may have written it meanwhile
        yield


@contextmanager
def new_outcome(output: Path, names: Collection[str], *, force: bool) -> Iterator[Path]:
    """Gives the folder to write to; it gets its name when all is written.

    Raises:
        StorageError: it cannot be written, or something else came to lie there meanwhile.
    """

    def may_replace(there: Path) -> bool:
        return force and not _list_others(there, names)

    with atomic_folder(output, may_replace=may_replace) as folder:
        yield folder


def _require_free(output: Path, names: Collection[str], *, force: bool) -> None:
    if not os.path.lexists(output):
        return
    if not is_folder(output):
        raise RunError(
            f"This output is a file. Expected the name of a folder. Received: `output={output}`"
        )
    with storage_errors(output):
        others = _list_others(output, names)
        is_empty = not any(output.iterdir())
    if is_empty or (force and not others):
        return
    if others:
        raise RunError(
            "This output is a folder that holds something else. Expected a new name, or one with "
            f"nothing but what is written here. Received: `output={output}` with "
            f"{printable(others[0])}\nIt is left as it is. Choose another name, or move it away."
        )
    raise RunError(
        f"This output exists already. Expected a new name. Received: `output={output}`\n"
        "Choose another name, or overwrite it with `force=True`."
    )


def _list_others(folder: Path, names: Collection[str]) -> list[str]:
    """Files in a folder that have another name, sorted."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return sorted(name for name in found if name not in names)
