"""Frostline computes on TensorFlow wherever it is used, or says why it cannot."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, backend: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend},
    )


def test_another_backend_in_the_environment_is_passed_over_and_left_there():
    done = run(
        "import os, pipeline.backbones.frost_lines, keras\n"
        "print(keras.backend.backend(), os.environ['KERAS_BACKEND'])",
        "jax",
    )
    assert done.stdout.split() == ["tensorflow", "jax"], done.stderr


def test_keras_that_runs_on_another_backend_already_is_a_clear_error():
    # No other backend is installed here, so something says that it is Keras and has one.
    done = run(
        "import sys, types\n"
        "keras = types.ModuleType('keras'); keras.backend = types.ModuleType('keras.backend')\n"
        "keras.backend.backend = lambda: 'jax'\n"
        "sys.modules['keras'] = keras; sys.modules['keras.backend'] = keras.backend\n"
        "from pipeline.errors import BackendError\n"
        "try:\n"
        "    import pipeline.finetuning.stages\n"
        "except BackendError as error:\n"
        "    print(error)\n",
        "tensorflow",
    )
    assert done.returncode == 0, done.stderr
    assert "Expected: the backend tensorflow. Received: jax" in done.stdout
    assert "Start a new process" in done.stdout


def test_importing_the_library_imports_no_keras_and_sets_no_backend():
    done = run(
        "import os, sys, pipeline.backbones.registry, pipeline.backbones.presets\n"
        "print('keras' in sys.modules, os.environ['KERAS_BACKEND'])",
        "jax",
    )
    assert done.stdout.split() == ["False", "jax"], done.stderr


def test_nothing_but_one_module_imports_keras():
    """Another that did so first would get the backend that the environment names.

    What an export ships, or shows on its card, runs elsewhere, without Frostline.
    """
    direct = re.compile(
        r"^\s*(import keras(?!_hub)|from keras(\.(?!src)\S+)? import)", re.MULTILINE
    )
    found = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "pipeline").rglob("*.py"))
        if direct.search(path.read_text())
        and "shipped" not in path.parts
        and path.name != "snippets.py"
    ]
    assert found == ["pipeline/system/keras_on_tensorflow.py"]
