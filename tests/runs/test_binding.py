"""Names of classes and the head are bound by a digest; runs from before have none."""

import dataclasses
import json

import pytest
from manifests import make_manifest

from pipeline.errors import ParityError
from pipeline.runs.binding import bind_names, require_bound_names
from pipeline.runs.manifest import read_manifest, write_manifest
from pipeline.runs.run_folder import Run, open_run

FILES = ("head.npz", "more.npz")


@pytest.fixture
def run(tmp_path) -> Run:
    """A run with the classes daisy and rose and a head of two files."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes(name.encode())
    (folder / "manifest.json").write_text(json.dumps(make_manifest()))
    manifest = read_manifest(folder)
    bound = bind_names(folder, manifest.class_names, FILES)
    write_manifest(folder, dataclasses.replace(manifest, names_and_head_sha256=bound))
    return open_run(folder)


def test_a_run_as_it_was_written_is_bound(run):
    assert len(run.manifest.names_and_head_sha256) == 64
    require_bound_names(run, FILES)


def test_other_names_and_other_heads_are_refused(run):
    renamed = dataclasses.replace(run.manifest, class_names=["rose", "daisy"])
    with pytest.raises(ParityError, match="The names of the classes do not belong to this head"):
        require_bound_names(Run(run.folder, renamed), FILES)
    (run.folder / FILES[1]).write_bytes(b"another")
    with pytest.raises(ParityError):
        require_bound_names(run, FILES)


def test_a_run_from_before_there_were_such_digests_is_passed_over(run):
    old = dataclasses.replace(run.manifest, names_and_head_sha256=None, class_names=["a", "b"])
    require_bound_names(Run(run.folder, old), FILES)
