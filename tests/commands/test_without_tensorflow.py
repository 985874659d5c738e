"""Once a network is in the store, commands start neither TensorFlow nor Keras."""

import json
import subprocess
import sys

import pytest
from conftest import call, make_photos, save_image

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
        ["extract", photos, "--backbone", "efficientnet-lite0", "--image-size", 32, "--output",
         folder / "f.h5"],
        ["fit-head", folder / "f.h5", "--output", folder / "linear"],
        ["fit-head", folder / "f.h5", "--head", "dense", "--hidden", 8, "--epochs", 2,
         "--output", folder / "dense"],
        ["finetune", folder / "dense", "--epochs", 1, "--unfreeze", "block7a", "--output",
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


def test_extract_of_one_more_photo_and_recomputing(made):
    save_image(made / "photos" / "red" / "new.png", seed=99, colour=(210, 50, 40))
    again = ["extract", made / "photos", "--backbone", "efficientnet-lite0", "--image-size", "32",
             "--output", made / "f.h5"]  # fmt: skip
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


def test_what_is_said_without_tensorflow_is_what_is_said_with_it(made):
    """From a store that is empty, the network is built by Keras; the answers are the same."""
    words = ["predict", made / "tuned", made / "photos", "--format", "json"]
    with_it = call(*words, "--no-network-store")
    without = call(*words)
    assert with_it.exit_code == without.exit_code == 0
    assert json.loads(with_it.stdout) == json.loads(without.stdout)
