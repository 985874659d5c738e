"""Where a sweep keeps what is done until all is: the same command finds it again and goes on."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.heads.class_weights import BALANCED
from pipeline.heads.rows.divided_file import DividedFile
from pipeline.heads.sweep.settings import Setting
from pipeline.heads.sweep.swept_files import SweptFile
from pipeline.runs.run_folder import RUNS_FOLDER, describe_software
from pipeline.system.atomic_files import write_json
from pipeline.system.disk import storage_errors
from pipeline.system.locks import hold_lock_for_now
from pipeline.system.paths import sha256_of_file

VERSION = 1  # of what is kept: another one begins anew
_ID_LETTERS = 12


def identify_sweep(
    files: Sequence[SweptFile], settings: Sequence[Setting], divided: DividedFile
) -> dict[str, Any]:
    """All that decides the outcomes of a sweep.

    Args:
        divided: the images of the files.
    """
    weights = {
        name
        for setting in settings
        if (name := setting.options.get("class_weight")) not in (None, BALANCED)
    }
    question = divided.question
    return {
        "version": VERSION,
        "files": [file.seal for file in files],
        "settings": [[setting.head, asdict(setting.make_options())] for setting in settings],
        "dividing": asdict(divided.dividing),
        "question": None if question is None else asdict(question),
        "class_weights": {name: sha256_of_file(Path(name)) for name in sorted(weights)},
        "software": describe_software(),
    }


@contextmanager
def keep_unfinished(identity: dict[str, Any], output: Path | None) -> Iterator[Path]:
    """Gives the folder of what is done; it goes when the work in it has ended well, and not before.

    It lies beside the run that will be written, and is called after all that decides it.

    Raises:
        LockedError: another process is at the same sweep.
        StorageError: it cannot be written.
    """
    text = json.dumps(identity, sort_keys=True, default=str)
    name = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_ID_LETTERS]
    folder = (RUNS_FOLDER if output is None else output.parent) / f"unfinished-sweep-{name}"
    with hold_lock_for_now(folder):
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "sweep.json", identity)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
