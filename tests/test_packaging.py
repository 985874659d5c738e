"""`pip install .` brings all that the library and the command line need, away from the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from conftest import make_photos

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("pipeline", "cli.py", "frostline.py", "setup.cfg", "pyproject.toml", "README.md")
# The example of the README's library section, to the letter but for a network and for sizes that
# take less time.
EXAMPLE = """
import pathlib

import numpy as np
from PIL import Image

import frostline

features = frostline.extract("photos", backbone="squeezenet1_1", weights="random", image_size=32)
X, y, split = features.arrays()
fit = frostline.fit(X, y, split=split, head="logreg")
run = frostline.fit_head(features, head="dense", epochs=5)
tuned = frostline.finetune(run, epochs=1, unfreeze="fire9")
model = frostline.load(tuned)
path = pathlib.Path("photos/red/000.png")
pillow_image = Image.open(path)
answers = model.predict(["photos/red/000.png", path, path.read_bytes(), pillow_image])
answers += model.predict([np.asarray(pillow_image)])
print(len({answer.label for answer in answers}), len(answers), X.shape)
print(frostline.__file__)
"""


def _copy_what_is_shipped(target: Path) -> Path:
    """Without what earlier builds left in the checkout."""
    target.mkdir()
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return target


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The Python of a new environment with Frostline in it; other packages are this one's."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "venv" / "lib" / version / "site-packages"
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps",
         "--disable-pip-version-check", _copy_what_is_shipped(folder / "source")],
        check=True,
    )  # fmt: skip
    return python


def _call(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [installed, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_example_runs_after_an_installation_from_another_folder(installed, tmp_path):
    make_photos(tmp_path / "photos", n_per_class=8)
    done = _call(installed, tmp_path, "-c", EXAMPLE)
    assert done.returncode == 0, done.stderr
    counts, file = done.stdout.splitlines()
    assert counts == "1 5 (24, 512)"
    assert file.startswith(str(installed.parents[1]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "photos", "runs"]


def test_pages_find_their_templates_after_an_installation(installed, tmp_path):
    program = (
        "from pipeline.report.audit_page import draw_audit_page as draw\n"
        "from pipeline.report.contents import AuditContents\n"
        "print(draw(AuditContents('t', '', [], [], [], [], [], [], [], [])).rstrip()[-7:])"
    )
    done = _call(installed, tmp_path, "-c", program)
    assert (done.returncode, done.stdout) == (0, "</html>\n"), done.stderr


def test_the_installed_command_says_its_own_name(installed, tmp_path):
    done = subprocess.run(
        [installed.with_name("frostline"), "predict", "nothing", "a.jpg"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "`frostline runs` lists the runs." in done.stderr
