"""The Dockerfiles, as far as they can be tested where there is no Docker."""

import configparser
import fnmatch
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def _pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().split()
    return {name.lower().replace("_", "-"): line for line in lines for name in [line.split("=")[0]]}


def _required(name: str) -> list[str]:
    lines = (ROOT / "docker" / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(path):
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_an_image_is_made_of_is_there_and_reaches_the_build(path):
    admitted = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().split("\n")
        if line.startswith("!")
    ]
    text = path.read_text().replace("\\\n", " ")
    copied = re.findall(r"^COPY (?!--from)(?:--chown=\S+ )?(.+) \S+$", text, re.M)
    sources = [source for line in copied for source in line.split() if "$" not in source]
    assert "setup.cfg" in sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(Path(source).parts[0], pattern) for pattern in admitted), source


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_runs_as_root(path):
    last_stage = path.read_text().rpartition("\nFROM ")[2]
    (user,) = re.findall(r"^USER (\d+)$", last_stage, re.M)
    assert int(user) > 999


def test_an_image_for_serving_has_versions_of_everything_and_all_of_the_extra():
    required = _required("requirements-serve.txt")
    assert set(required) <= set(_pinned())
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    extra = settings["options.extras_require"]["serve"].strip().splitlines()
    extra = [line for line in extra if not line.startswith("#")]
    assert {Requirement(line).name for line in extra} <= set(required)


def test_the_image_for_cpus_requires_what_setup_cfg_does_but_for_the_kind_of_tensorflow():
    place = ROOT / "docker/without_gpu.py"
    spec = importlib.util.spec_from_file_location("without_gpu", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    expected = settings["options"]["install_requires"].split()
    found = module.list_requirements(ROOT)
    version = _pinned()["tensorflow"].partition("==")[2]
    assert f"tensorflow-cpu=={version}" in found
    assert {line for line in expected if not line.startswith("tensorflow>")} <= set(found)
    assert not any(re.match(r"tensorflow[>=]", line) for line in found)
