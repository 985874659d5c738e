"""The command serve as a process of its own: from its start to a signal, and what it refuses."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from conftest import call
from made_runs import make_run

ROOT = Path(__file__).resolve().parents[2]


def start(run: Path, *options: str) -> tuple[subprocess.Popen, str]:
    """A service, and where it says that it listens."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "cli.py", "serve", run, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if found := re.search(r"^Serving .* at (http://127\.0\.0\.1:\d+)$", line):
            return process, found[1]
    raise AssertionError(process.wait())


def post(url: str, data: bytes) -> list:
    request = urllib.request.Request(f"{url}/predict?top=3", data, method="POST")
    request.add_header("Content-Type", "image/png")
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


def test_a_service_says_what_predict_says_without_tensorflow_and_ends_by_sigterm(fitted):
    image = fitted.parent / "photos" / "red" / "000.png"
    (expected,) = json.loads(call("predict", fitted, image, "--json", "--top", 3).stdout)
    process, url = start(fitted)
    with process:
        (answer,) = post(url, image.read_bytes())
        libraries = Path(f"/proc/{process.pid}/maps").read_text()
        process.send_signal(signal.SIGTERM)
        out, err = process.stdout.read(), process.stderr.read()  # what was read ahead, too
    assert answer == {**expected, "path": None}
    assert "openvino" in libraries and "/site-packages/tensorflow/" not in libraries
    assert process.returncode == 0
    assert out == ""
    only, request, ending = err.splitlines()
    assert only == "Only this machine can reach it. Ctrl-C ends it."
    assert re.fullmatch(r"\S+Z 127\.0\.0\.1 POST /predict 200 [\d.]+ ms, 1 image", request)
    assert ending == "Ending: what has begun is finished, and nothing new is taken."


def test_an_address_that_is_taken_is_one_message(tmp_path):
    run = make_run(tmp_path, "run", ["blue", "green"], 12)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = call("serve", run, "--port", port)
    assert outcome.exit_code == 1
    assert outcome.stderr == (
        "Error: The service cannot listen there. Expected an address of this machine and a port "
        f"that is free. Received: --host 127.0.0.1 and --port {port} (Address already in use)\n"
        "Choose another --port; --port 0 takes a free one.\n"
    )
    assert "cannot listen" in call("serve", run, "--host", "203.0.113.7").stderr


def test_a_model_that_cannot_be_loaded_ends_the_service_with_its_error(tmp_path):
    run = make_run(tmp_path, "run", ["blue", "green"], 12)
    outcome = call("serve", run, "--port", 0)  # its backbone is a stand-in of the tests
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("Error: ")
    assert "stand-in" in outcome.stderr
    assert "Serving" not in outcome.stderr


def test_no_run_is_said_before_anything_listens(tmp_path):
    outcome = call("serve", tmp_path / "nowhere")
    assert outcome.exit_code == 1
    assert "There is no such run" in outcome.stderr


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--port", "70000", "from 0 to 65,535"),
        ("--queue", "0", "at least 1"),
        ("--request-seconds", "0", "above 0"),
        ("--device", "tpu", "auto, cpu, gpu or gpu:N"),
    ],
)
def test_wrong_usage(tmp_path, option, value, expected):
    run = make_run(tmp_path, "run", ["blue", "green"], 12)
    outcome = call("serve", run, option, value)
    assert outcome.exit_code == 2
    assert expected in outcome.stderr


def test_what_must_be_installed_is_named(tmp_path, monkeypatch):
    run = make_run(tmp_path, "run", ["blue", "green"], 12)
    find = "pipeline.classifier.serving.serve.importlib.util.find_spec"
    monkeypatch.setattr(find, lambda name: None if name == "uvicorn" else name)
    outcome = call("serve", run)
    assert outcome.exit_code == 1
    assert "Received: no uvicorn\nRun: pip install '.[serve]'" in outcome.stderr


def test_ctrl_c_while_the_model_is_loaded_ends_it_without_a_word_of_pythons(tmp_path):
    slow = (
        "import os, signal, time\n"
        "from pipeline.classifier.serving import serve\n"
        # A background job of a shell ignores Ctrl-C, and so would what it starts.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def load(*_, **__):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "serve.load_run = load\n"
        "from cli import main\n"
        "main()\n"
    )
    run = make_run(tmp_path, "run", ["blue", "green"], 12)
    done = subprocess.run(
        [sys.executable, "-c", slow, "serve", run, "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
