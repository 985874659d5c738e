"""Tiny data sets, and the command line called in-process."""

import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from browser import find_chromium
from click.testing import CliRunner
from PIL import Image

from cli import main

# No test is timed: how long an example takes says more of what else the machine does.
hypothesis.settings.register_profile("frostline", deadline=None)
hypothesis.settings.load_profile("frostline")

TESTS = Path(__file__).parent
COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 70), "red": (210, 50, 40)}


@dataclass(frozen=True)
class Outcome:
    """What a command left on its two streams, and its exit code."""

    exit_code: int
    stdout: str
    stderr: str


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadfile`, all files that ask for a fine-tuned run are on one worker, too, since
    that takes long to make. (`loadgroup` of pytest-xdist 3.8 groups nothing under pytest 9.2.)
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from files_on_workers import FilesOnWorkers

    return FilesOnWorkers(config, log)


def pytest_collection_modifyitems(config, items):
    """Files that ask for a fine-tuned run go first, since they take longest, then those of no
    folder, which run whole programs: a long file at the end would leave the other worker idle.

    Tests in a browser are left out where there is none; `pytest_terminal_summary` says so.
    """
    asking = {item.path for item in items if "finetuned" in item.fixturenames}
    items.sort(key=lambda item: (item.path not in asking, item.path.parent != TESTS))
    if find_chromium() is None:
        left_out = [item for item in items if item.get_closest_marker("browser")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter):
    if find_chromium() is None:
        terminalreporter.write_line(
            "The tests in a browser were left out: there is no Chromium here. On Debian: "
            "apt-get install chromium",
            yellow=True,
        )


@pytest.fixture(scope="session", autouse=True)
def networks_of_the_tests(tmp_path_factory):
    """Converted networks and the secret that seals them stay out of the user's own folders."""
    folder = tmp_path_factory.mktemp("networks")
    os.environ["FROSTLINE_NETWORKS"] = str(folder / "store")
    os.environ["XDG_DATA_HOME"] = str(folder / "data")


def call(*arguments, program: str = "python cli.py", stdin: bytes = b"") -> Outcome:
    """Runs the command line in this process."""
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(main, words, input=stdin, prog_name=program)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def save_image(path: Path, seed: int, colour=(128, 128, 128), size: int = 24) -> Path:
    """A noisy square of one colour; equal arguments give equal bytes."""
    noise = np.random.default_rng(seed).normal(0, 40, (size, size, 3))
    pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def make_photos(root: Path, n_per_class: int = 8, classes=tuple(COLOURS)) -> Path:
    """A data set with a folder per class."""
    for number, name in enumerate(classes):
        for i in range(n_per_class):
            colour = COLOURS.get(name, (128, 128, 128))
            save_image(root / name / f"{i:03d}.png", seed=1000 * number + i, colour=colour)
    return root


def run_as_nobody(function, folder: Path):
    """What a function returns that runs as an ordinary user, who may pass through `folder`."""
    for place in [folder, *folder.parents]:
        if place.stat().st_uid == 0 and place != Path("/"):
            place.chmod(place.stat().st_mode | 0o055)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def work():
        os.setgid(65534)
        os.setuid(65534)
        try:
            queue.put(function())
        except Exception as error:
            queue.put(error)

    child = context.Process(target=work)
    child.start()
    child.join(60)
    assert not queue.empty(), f"it ended with exit code {child.exitcode}"
    result = queue.get()
    if isinstance(result, Exception):
        raise result
    return result


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photos(tmp_path) -> Path:
    return make_photos(tmp_path / "photos")


@pytest.fixture
def stand_in_backbone(monkeypatch):
    """Lets `cli.py extract` embed with a cheap stand-in, whatever backbone is named."""
    from benchmarks.stand_in import StandIn
    from pipeline.features import extract

    real = extract.update_features

    def extract_cheaply(dataset, recipe, target, make_embedder, *rest):
        del make_embedder
        return real(dataset, recipe, target, StandIn, *rest)

    monkeypatch.setattr(extract, "update_features", extract_cheaply)


@pytest.fixture(scope="session")
def extracted(tmp_path_factory) -> Path:
    """A folder with photos/ and features.h5 made from it by efficientnet-lite0 at 32 pixels."""
    folder = tmp_path_factory.mktemp("extracted")
    make_photos(folder / "photos", n_per_class=12)
    outcome = call(
        *("extract", folder / "photos", "--backbone", "efficientnet-lite0", "--image-size", 32),
        *("--output", folder / "features.h5"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    return folder


@pytest.fixture(scope="session")
def fitted(extracted) -> Path:
    """A run with a logistic head on `extracted`."""
    outcome = call("fit-head", extracted / "features.h5", "--output", extracted / "logreg")
    assert outcome.exit_code == 0, outcome.stderr
    return extracted / "logreg"


@pytest.fixture(scope="session")
def finetuned(fitted) -> Path:
    """A run fine-tuned from `fitted`."""
    outcome = call(
        *("finetune", fitted, "--unfreeze", "block7a", "--epochs", 2),
        *("--output", fitted.parent / "finetuned"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    return fitted.parent / "finetuned"
