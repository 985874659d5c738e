"""Once a network is in the store, commands start neither TensorFlow nor Keras."""

import hashlib
import json
import math
import pickle
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import requires
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import call, make_photos, save_image
from packaging.requirements import Requirement

from pipeline.backbones.frost_lines import find_frost_lines
from pipeline.classifier.build import load_classifier
from pipeline.classifier.load import load_run
from pipeline.finetuning.trunk.cache import Trunk
from pipeline.finetuning.trunk.worker import TrunkJob, embed_missing
from pipeline.images.decoding.read_images import hash_image_file
from pipeline.runs.predictions import read_predictions
from pipeline.runs.run_folder import open_run

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--backbone", "squeezenet1_1", "--weights", "random", "--image-size", "32"]
CHILD = """
import json, sys
from click.testing import CliRunner
from cli import main
for arguments in json.loads(sys.argv[2]):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == int(sys.argv[1]), (arguments, result.output, result.exception)
    loaded = {"tensorflow", "keras"} & set(sys.modules)
    assert not loaded, (arguments, loaded)
    print(arguments[0], "ok")
"""


def run_without_tensorflow(*commands: list, code: int = 0) -> None:
    """Runs commands in one process that may load neither of the two; all end with `code`."""
    texts = [[str(word) for word in command] for command in commands]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(code), json.dumps(texts)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("ok") == len(commands)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Photos, their features, a run of each head, and one that was fine-tuned."""
    folder = tmp_path_factory.mktemp("made")
    photos = make_photos(folder / "photos")
    steps = [
        ["extract", photos, *SMALL, "--output", folder / "f.h5"],
        ["fit-head", folder / "f.h5", "--output", folder / "linear"],
        ["fit-head", folder / "f.h5", "--head", "dense", "--hidden", 8, "--epochs", 2,
         "--output", folder / "dense"],
        ["finetune", folder / "dense", "--epochs", 1, "--unfreeze", "fire9", "--output",
         folder / "tuned"],
    ]  # fmt: skip
    for step in steps:
        outcome = call(*step)
        assert outcome.exit_code == 0, outcome.stderr
    return folder


@pytest.mark.parametrize("run", ["linear", "dense", "tuned"])
def test_predict_and_evaluate(made, run):
    photos = made / "photos"
    run_without_tensorflow(
        ["predict", made / run, photos / "red" / "000.png"], ["evaluate", made / run, photos]
    )


def test_predict_and_evaluate_with_published_weights(fitted):
    photos = fitted.parent / "photos"
    run_without_tensorflow(
        ["predict", fitted, photos / "red" / "000.png"], ["evaluate", fitted, photos]
    )


# Packages that are not named are not there, as in an image that has docker/requirements-serve.txt.
IN_AN_IMAGE = """
import json, sys
from importlib.metadata import packages_distributions
allowed = set(json.loads(sys.argv[1]))
absent = {
    module
    for module, names in packages_distributions().items()
    if not allowed & {name.lower().replace("_", "-") for name in names}
}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from cli import main
main(json.loads(sys.argv[2]), prog_name="x")
"""


def list_what_comes_with(names: list[str]) -> set[str]:
    """Names of packages, as PyPI spells them, and of all that they require here."""
    found: set[str] = set()
    waiting = [Requirement(name) for name in names]
    while waiting:
        one = waiting.pop()
        name = one.name.lower().replace("_", "-")
        if name in found or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += map(Requirement, requires(one.name) or [])
    return found


@pytest.mark.parametrize("run", ["linear", "dense", "tuned"])
def test_an_image_for_serving_has_all_that_predictions_need(made, run):
    lines = (ROOT / "docker/requirements-serve.txt").read_text().splitlines()
    allowed = list_what_comes_with([line for line in lines if line and line[0] != "#"])
    assert not allowed & {"tensorflow", "keras", "scikit-learn", "scipy", "pandas", "matplotlib"}
    image = made / "photos/red/000.png"
    words = ["predict", str(made / run), str(image), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", IN_AN_IMAGE, json.dumps([*allowed, "frostline"]), json.dumps(words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)[0]["path"] == str(image)


def test_the_network_of_a_fine_tuned_run_as_a_backbone(made, tmp_path):
    backbone = ("--backbone", f"run:{made / 'tuned'}")
    run_without_tensorflow(
        ["extract", made / "photos", *backbone, "--output", tmp_path / "features.h5"]
    )


def test_report(made):
    run_without_tensorflow(
        ["report", made / "linear", made / "tuned", "--output", made / "report.html"]
    )


def test_extract_of_one_more_photo_and_recomputing(made):
    save_image(made / "photos" / "red" / "new.png", seed=99, colour=(210, 50, 40))
    again = ["extract", made / "photos", *SMALL, "--output", made / "f.h5"]
    run_without_tensorflow(again, ["features", made / "f.h5", "--verify", "--recompute", 4])


def test_finetune_refuses_what_is_wrong_with_images_and_weights_of_classes(made, tmp_path):
    (tmp_path / "w.json").write_text('{"red": 1}')
    run_without_tensorflow(
        ["finetune", made / "linear", "--data", tmp_path / "nowhere"],
        ["finetune", made / "linear", "--class-weight", tmp_path / "w.json"],
        code=1,
    )


def test_extract_of_nothing_but_broken_images_says_so(tmp_path):
    for number in range(3):
        path = tmp_path / "photos" / "a" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xd8\xff broken %d" % number)
    backbone = ["--backbone", "efficientnet-lite0", "--no-network-store"]
    run_without_tensorflow(["extract", tmp_path / "photos", *backbone], code=1)


FILL = """
import pickle, sys
from pipeline.finetuning.trunk.worker import embed_missing
embed_missing(pickle.load(sys.stdin.buffer), lambda stage, done, total: None)
print({"tensorflow", "keras"} & set(sys.modules))
"""


@pytest.mark.parametrize("name", ["linear", "tuned"])
def test_the_trunk_cache_of_a_trunk_that_was_converted_before(made, tmp_path, name):
    run = open_run(made / name)
    line = next(
        line
        for line in find_frost_lines(load_classifier(run).get_layer("backbone"))
        if line.name == "fire9"
    )
    model = made / name / "model.keras"
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest() if model.exists() else ""
    paths = sorted((made / "photos").rglob("*.png"))[:6]
    job = TrunkJob(
        target=tmp_path / "first.h5",
        trunk=Trunk(run.recipe.id, sha256, line.name, line.shape, "light seed 0"),
        run=run, weights=None, precision="float32", device="cpu", preset="light", flip=True, seed=0,
        paths=paths,
        digests=np.stack([hash_image_file(path)[0] for path in paths]), views=[[0, 1]] * 6,
    )  # fmt: skip
    embed_missing(job, lambda stage, done, total: None)
    done = subprocess.run(
        [sys.executable, "-c", FILL],
        input=pickle.dumps(replace(job, target=tmp_path / "second.h5")),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, b"set()"), done.stderr.decode()
    rows = [
        h5py.File(tmp_path / f"{which}.h5")["features"][:].tobytes()
        for which in ("first", "second")
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 12 * 2 * math.prod(line.shape)


def test_what_is_said_without_tensorflow_is_what_is_said_with_it(made):
    """From a store that is empty, the network is built by Keras; the answers are the same, and
    those that the run recorded.
    """
    words = ["predict", made / "tuned", made / "photos", "--format", "json"]
    with_it = call(*words, "--no-network-store")
    without = call(*words)
    assert with_it.exit_code == without.exit_code == 0
    assert json.loads(with_it.stdout) == json.loads(without.stdout)
    recorded = read_predictions(open_run(made / "tuned"))
    answers = load_run(made / "tuned").predict([made / "photos" / path for path in recorded.paths])
    found = np.stack([answer.probabilities for answer in answers])
    np.testing.assert_allclose(found, recorded.probabilities, atol=1e-5)
