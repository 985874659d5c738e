"""The pages for people: what they point to is there."""

import os
import re
import socket
import subprocess
from pathlib import Path

import h5py
import pytest
from conftest import call

from cli import main

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _relative_links(page: Path) -> list[str]:
    """What `[text](target)` and images point to, without addresses and places on the same page."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return [target for target in targets if not re.match(r"[a-z]+:|#", target)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page):
    paths = [page.parent / link.partition("#")[0] for link in _relative_links(page)]
    assert [path for path in paths if not path.exists()] == []


def test_the_readme_has_links_to_check():
    assert "docs/backbones.md" in _relative_links(ROOT / "README.md")


def test_nobody_is_advised_to_install_what_is_on_no_index():
    """Frostline is not on PyPI: `pip install 'frostline[hub]'` would find nothing."""
    places = [*PAGES, *(ROOT / "pipeline").rglob("*.py")]
    assert [p for p in places if re.search(r"pip install\W+frostline", p.read_text())] == []


def _slurm_scripts() -> tuple[str, str]:
    """Those of docs/scale.md: a job array, and a cluster."""
    array, cluster = re.findall(r"```bash\n(.+?)```", (ROOT / "docs/scale.md").read_text(), re.S)
    return array, cluster


def _commands_of(script: str, **variables: object) -> list[list[str]]:
    """The words of each `frostline` that a script runs; what else it runs does nothing."""
    stand_ins = "frostline() { printf '%s\\n' \"$@\" --; }; dask() { :; }; srun() { :; };\n"
    done = subprocess.run(
        ["bash", "-euc", stand_ins + script],
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
        capture_output=True,
        text=True,
        check=True,
    )
    return [part.split("\n") for part in done.stdout.split("\n--\n")[:-1]]


@pytest.mark.usefixtures("stand_in_backbone")
def test_the_job_array_and_what_merges_it_make_the_file_of_one_machine(photos, tmp_path):
    """Slurm's part is played by a loop over the numbers of its tasks."""
    script = _slurm_scripts()[0].replace("/data/shards", str(tmp_path / "shards"))
    script = script.replace("/data/photos", str(photos))
    cheap = ("--weights", "random", "--image-size", 24)
    for number in (1, 2, 3):
        variables = {"SLURM_ARRAY_TASK_ID": number, "SLURM_ARRAY_TASK_COUNT": 3}
        (words,) = _commands_of(script, **variables)
        outcome = call(*words, *cheap)
        assert outcome.exit_code == 0, outcome.stderr
    wrapped = re.search(r"--wrap 'frostline (.+?)'", (ROOT / "docs/scale.md").read_text())[1]
    outcome = call(*wrapped.replace("/data/shards", str(tmp_path / "shards")).split())
    assert outcome.exit_code == 0, outcome.stderr
    call("extract", photos, *cheap, "--output", "whole.h5")
    with h5py.File("photos.h5") as merged, h5py.File("whole.h5") as whole:
        assert merged["path"][:].tolist() == whole["path"][:].tolist()
        assert merged.attrs["features_sha256"] == whole.attrs["features_sha256"]


def test_the_cluster_script_runs_an_extract_with_options_that_there_are():
    ((command, *words),) = _commands_of(_slurm_scripts()[1], SLURM_JOB_ID=7)
    assert command == "extract"
    given = main.get_command(None, command).make_context(command, words).params
    assert given["scheduler"] == f"tcp://{socket.gethostname()}:8786"
