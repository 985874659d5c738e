"""Which names belong to which head: a digest of both, so that neither can be exchanged unseen.

It guards against accidents and edits, not against somebody who makes a whole run.
"""

from collections.abc import Iterable

from pipeline.errors import ParityError
from pipeline.runs.run_folder import Run
from pipeline.system.run_files import bind_names


def require_bound_names(run: Run, files: Iterable[str]) -> None:
    """Passes over a run from before there were such digests.

    Raises:
        ParityError: the names or the head are not those that the run was written with.
    """
    expected = run.manifest.names_and_head_sha256
    if expected is None:
        return
    received = bind_names(run.folder, run.class_names, files)
    if received != expected:
        raise ParityError(
            "The names of the classes do not belong to this head: the manifest or the head was "
            f"changed after the run was written. Expected names and {', '.join(files)} with the "
            f"sha256 {expected}. Received: {received}, from {run.folder}\n"
            "Take the run from a backup, or make it again."
        )
