"""`import frostline`: what docs/library.md shows, and that importing changes nothing."""

import ast
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_photos
from PIL import Image

import frostline
from pipeline import errors

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def _run(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_examples_of_the_docs_run_one_after_another(tmp_path, capsys):
    make_photos(tmp_path / "photos", n_per_class=12)
    blocks = BLOCK.findall((ROOT / "docs" / "library.md").read_text())
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/library.md", "exec"), names)
    assert len(blocks) == 8
    printed = capsys.readouterr()
    assert "36 computed, 0 kept" in printed.out
    assert "dropout | This cannot be used to fit a head. Expected `dropout` to be" in printed.out
    assert printed.err == ""
    labels = {answer.label for answer in names["answers"]}
    assert len(labels) == 1 and labels <= {"blue", "green", "red"}
    assert names["run"].folder.is_dir() and names["tuned"].folder.is_dir()
    probabilities = np.stack([answer.probabilities for answer in names["answers"]])
    assert np.abs(probabilities - probabilities[0]).max() < 1e-5


def test_importing_is_quick_and_loads_nothing_heavy(tmp_path):
    code = (
        "import os, sys, time; before = dict(os.environ); start = time.perf_counter()\n"
        "import frostline; seconds = time.perf_counter() - start\n"
        "heavy = {'numpy', 'keras', 'tensorflow', 'sklearn', 'h5py', 'PIL'} & set(sys.modules)\n"
        "print(sorted(heavy), dict(os.environ) == before, len(dir(frostline)) > 20)"
    )
    assert _run(code, tmp_path).stdout == "[] True True\n"


def test_what_type_checkers_see_is_what_there_is():
    tree = ast.parse((ROOT / "frostline.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {alias.asname or alias.name for node in block.body for alias in node.names}
    assert imported == set(frostline.__all__)


def test_every_error_is_public():
    names = {name for name, found in vars(errors).items() if isinstance(found, type)}
    assert names == {name for name in frostline.__all__ if name.endswith("Error")}


def test_every_public_name_is_there_and_documented():
    for name in frostline.__all__:
        found = getattr(frostline, name)
        assert (found.__doc__ or "").strip(), name
    with pytest.raises(AttributeError, match="no attribute 'extrakt'"):
        frostline.extrakt  # noqa: B018


def test_it_works_from_another_folder_where_the_environment_asks_for_jax(extracted, tmp_path):
    code = (
        "import matplotlib, os, frostline\n"
        f"run = frostline.fit_head({str(extracted / 'features.h5')!r}, output='run')\n"
        "model = frostline.load(run)\n"
        f"print(model.predict([{str(extracted / 'photos' / 'red' / '000.png')!r}])[0].label)\n"
        "print(os.environ['KERAS_BACKEND'])"
    )
    done = _run(code, tmp_path, KERAS_BACKEND="jax")
    assert done.stdout.split() == ["red", "jax"], done.stderr


def test_another_backend_that_is_in_use_already_is_a_clear_error(tmp_path):
    code = (
        "import sys, types\n"
        "keras = types.ModuleType('keras'); keras.backend = types.ModuleType('keras.backend')\n"
        "keras.backend.backend = lambda: 'jax'\n"
        "sys.modules['keras'] = keras; sys.modules['keras.backend'] = keras.backend\n"
        "import frostline\n"
        "try:\n"
        "    import pipeline.heads.dense.training\n"
        "except frostline.FrostlineError as error:\n"
        "    print(type(error).__name__, error)"
    )
    done = _run(code, tmp_path)
    assert done.stdout.startswith("BackendError"), done.stderr
    assert "Expected: the backend tensorflow. Received: jax" in done.stdout


def test_the_forms_in_which_an_image_comes_give_the_same(fitted):
    model = frostline.load(fitted)
    path = fitted.parent / "photos" / "blue" / "001.png"
    pixels = np.asarray(Image.open(path))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="BMP")
    forms = [path, str(path), path.read_bytes(), Image.open(path), pixels, buffer.getvalue()]
    answers = model.predict(forms)
    assert [answer.label for answer in answers] == ["blue"] * len(forms)
    first = answers[0].probabilities
    for answer in answers:
        np.testing.assert_array_equal(answer.probabilities, first)


def test_a_result_is_a_path_for_whoever_takes_one(extracted):
    features = frostline.features(extracted / "features.h5", verify=True)
    assert os.fspath(features) == str(extracted / "features.h5")
    assert len(features) == 36
    assert features.engines[0].name == "openvino"
    assert features.recipe.backbone == "efficientnet-lite0"


def test_lists_tell_what_cannot_be_read(extracted, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "broken.h5").write_bytes(b"nothing")
    found, problems = frostline.list_features(tmp_path / "cache")
    assert found == []
    assert "broken.h5" in problems[0]
    names = [backbone.name for backbone in frostline.list_backbones()]
    assert {"efficientnetb0", "vgg16", "squeezenet1_1"} <= set(names)


KERNEL = """
import matplotlib
import frostline
features = frostline.features({features!r})
X, y, split = features.arrays()
print("accuracy", frostline.fit(X, y, split=split).metrics["val"].accuracy)
model = frostline.load({run!r})
print("label", model.predict([{image!r}])[0].label)
import os
print("backend", os.environ["KERAS_BACKEND"])
"""


def test_it_works_in_a_running_notebook_kernel(fitted):
    from jupyter_client.manager import start_new_kernel

    folder = fitted.parent
    code = KERNEL.format(
        features=str(folder / "features.h5"),
        run=str(fitted),
        image=str(folder / "photos" / "green" / "003.png"),
    )
    env = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    manager, client = start_new_kernel(kernel_name="python3", env=env)
    try:
        said: list[str] = []

        def collect(message: dict) -> None:
            content = message["content"]
            said.append(content.get("text", "") + "\n".join(content.get("traceback", [])))

        client.execute_interactive(code, timeout=120, output_hook=collect)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    text = "".join(said)
    assert "accuracy 1.0" in text, text
    assert "label green" in text, text
    assert "backend jax" in text, text
