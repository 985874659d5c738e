"""Fetching weights from a server on this machine, and knowing the file ever after."""

import dataclasses
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

import h5py
import keras
import pytest
from conftest import call

from pipeline.backbones.backbone import Download
from pipeline.backbones.registry import BACKBONES, get_backbone
from pipeline.backbones.weights.resolve import pretrained_path, resolve_weights
from pipeline.errors import WeightsError

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = "weights.h5"
DOWNLOADED = [b for b in BACKBONES.values() if isinstance(b.weights, Download)]


class _Server:
    """Serves `files` on 127.0.0.1 and counts; a file in `cut` ends half way.

    Nobody gets an answer before `n_awaited` have asked.
    """

    def __init__(self):
        self.files, self.cut, self.asked = {FILE: CONTENT}, set(), []
        self.n_awaited, self._changed = 1, threading.Condition()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.strip("/")
                outer.wait_for_all(name)
                if name not in outer.files:
                    self.send_error(404)
                    return
                content = outer.files[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if name in outer.cut else content)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def wait_for_all(self, name):
        with self._changed:
            self.asked.append(name)
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self.asked) >= self.n_awaited, timeout=30)

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server():
    server = _Server()
    yield server
    server.close()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras"


def _backbone(server, file_hash=SHA256, file=FILE):
    source = Download(file, f"{server.url}/{file}", file_hash)
    return dataclasses.replace(get_backbone("efficientnetb0"), weights=source)


def _files(home):
    return sorted(path.name for path in (home / "models").iterdir())


@pytest.mark.parametrize(
    "file_hash", [SHA256, SHA256[:8], hashlib.md5(CONTENT).hexdigest()], ids=len
)
def test_a_file_is_fetched_once_checked_and_its_sha256_recorded(server, home, file_hash, capsys):
    backbone = _backbone(server, file_hash)
    first = resolve_weights(backbone, "imagenet")
    assert first.path == home / "models" / FILE
    assert first.path.read_bytes() == CONTENT
    assert first.key == f"sha256:{SHA256}"
    assert (home / "models" / f"{FILE}.sha256").read_text() == f"{SHA256}  {FILE}\n"
    assert resolve_weights(backbone, "imagenet") == first
    assert server.asked == [FILE]
    assert capsys.readouterr().out == ""


def test_a_keras_home_that_cannot_be_written_is_not_blamed_on_output(server, home):
    home.write_text("a file where a folder should be")
    with pytest.raises(WeightsError, match=r"models cannot be written: Not a directory\.") as error:
        resolve_weights(_backbone(server), "imagenet")
    assert "set KERAS_HOME to a folder that can be" in str(error.value)
    assert "--output" not in str(error.value)
    assert server.asked == []


@pytest.mark.parametrize("file_hash", ["0" * 8, "0" * 32, "0" * 64])
def test_a_file_that_is_not_what_was_published_does_not_stay(server, home, file_hash):
    with pytest.raises(WeightsError, match=rf"hash does not match.*{file_hash}"):
        resolve_weights(_backbone(server, file_hash), "imagenet")
    assert _files(home) == []


@pytest.mark.parametrize("file_hash", [SHA256, None])
def test_a_transfer_that_ends_half_way_leaves_nothing(server, home, file_hash, tmp_path):
    """Even where nobody published a hash: HDF5 knows how long it should be."""
    with h5py.File(tmp_path / "real.h5", "w") as file:
        file["x"] = list(range(10_000))
    if file_hash is None:
        server.files[FILE] = (tmp_path / "real.h5").read_bytes()
    server.cut.add(FILE)
    backbone = _backbone(server, file_hash)
    with pytest.raises(WeightsError, match="cannot be downloaded"):
        resolve_weights(backbone, "imagenet")
    assert _files(home) == []
    server.cut.clear()
    assert resolve_weights(backbone, "imagenet").path.read_bytes() == server.files[FILE]


def test_a_missing_page_is_an_error_that_names_address_and_path(server, home):
    with pytest.raises(WeightsError) as error:
        resolve_weights(_backbone(server, file="other.h5"), "imagenet")
    assert f"{server.url}/other.h5" in str(error.value)
    assert str(home / "models" / "other.h5") in str(error.value)
    assert "404" in str(error.value)


def test_a_file_that_changed_since_its_first_use_is_refused(server, home):
    backbone = _backbone(server)
    path = resolve_weights(backbone, "imagenet").path
    path.write_bytes(CONTENT[:-1] + b"x")
    changed = hashlib.sha256(CONTENT[:-1] + b"x").hexdigest()
    with pytest.raises(WeightsError, match=rf"(?s)no longer the file.*{SHA256}.*{changed}"):
        resolve_weights(backbone, "imagenet")
    path.unlink()
    path.with_name(f"{FILE}.sha256").unlink()
    assert resolve_weights(backbone, "imagenet").key == f"sha256:{SHA256}"


def test_a_file_put_there_by_hand_is_compared_with_what_was_published(server, home):
    (home / "models").mkdir(parents=True)
    (home / "models" / FILE).write_bytes(CONTENT)
    assert resolve_weights(_backbone(server), "imagenet").key == f"sha256:{SHA256}"
    assert server.asked == []
    (home / "models" / "other.h5").write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"(?s)is not the file that.*`weights=FILE`"):
        resolve_weights(_backbone(server, file="other.h5"), "imagenet")
    assert not (home / "models" / "other.h5.sha256").exists()


def test_a_folder_that_cannot_be_written_is_no_hindrance_to_reading(server, home, monkeypatch):
    (home / "models").mkdir(parents=True)
    (home / "models" / FILE).write_bytes(CONTENT)

    def refuse(target, text):
        from pipeline.errors import StorageError

        raise StorageError(f"Cannot write {target}")

    monkeypatch.setattr("pipeline.backbones.weights.downloads.write_text", refuse)
    assert resolve_weights(_backbone(server), "imagenet").key == f"sha256:{SHA256}"


FETCH = """
import dataclasses, json, sys
from pipeline.backbones.backbone import Download
from pipeline.backbones.registry import get_backbone
from pipeline.backbones.weights.resolve import resolve_weights
source = Download(*json.loads(sys.argv[1]))
backbone = dataclasses.replace(get_backbone("efficientnetb0"), weights=source)
import keras
print("ready", flush=True)
sys.stdin.readline()
print(resolve_weights(backbone, "imagenet").key)
"""


def test_two_processes_at_once_both_get_the_file(server, home):
    server.n_awaited = 2
    source = json.dumps([FILE, f"{server.url}/{FILE}", SHA256])
    with subprocess.Popen(
        [sys.executable, "-c", FETCH, source],
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        assert resolve_weights(_backbone(server), "imagenet").key == f"sha256:{SHA256}"
        output, errors = other.communicate(timeout=60)
    assert other.returncode == 0, errors
    assert output == f"sha256:{SHA256}\n"
    assert server.asked == [FILE, FILE]
    assert _files(home) == [FILE, f"{FILE}.sha256"]


def test_the_command_fetches_ahead_and_prints_where(server, home, monkeypatch):
    monkeypatch.setitem(BACKBONES, "efficientnetb0", _backbone(server))
    outcome = call("backbones", "--download", "EfficientNet", "lite0")
    assert outcome.exit_code == 0, outcome.stderr
    first, second = outcome.stdout.splitlines()
    assert first == str(home / "models" / FILE)
    assert second.endswith(".pth")
    assert SHA256 in outcome.stderr
    assert call("backbones", "--download").exit_code == 2
    assert call("backbones", "vgg16", "vgg19").exit_code == 2


def test_the_command_fetches_the_file_with_the_classifier_for_a_layer_of_it(
    server, home, monkeypatch
):
    with_top = Download("with_top.h5", f"{server.url}/with_top.h5", None)
    with h5py.File(home.parent / "with_top.h5", "w") as file:
        file["x"] = [1, 2, 3]
    server.files["with_top.h5"] = (home.parent / "with_top.h5").read_bytes()
    vgg16 = dataclasses.replace(
        get_backbone("vgg16"), weights=_backbone(server).weights, weights_with_top=with_top
    )
    monkeypatch.setitem(BACKBONES, "vgg16", vgg16)
    outcome = call("backbones", "--download", "vgg16", "--layer", "fc2")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout == f"{home / 'models' / 'with_top.h5'}\n"
    assert server.asked == ["with_top.h5"]
    outcome = call("backbones", "vgg16", "--layer", "fc2")
    assert outcome.exit_code == 2
    assert "--download" in outcome.stderr


def test_a_layer_that_is_not_there_is_named_before_anything_is_fetched(server, home, monkeypatch):
    monkeypatch.setitem(
        BACKBONES,
        "mobilenetv2",
        dataclasses.replace(get_backbone("mobilenetv2"), weights=_backbone(server).weights),
    )
    outcome = call("backbones", "--download", "mobilenetv2", "--layer", "block_16_projet")
    assert outcome.exit_code == 1
    assert "block_16_project" in outcome.stderr
    assert "Received: --layer block_16_projet" in outcome.stderr
    assert server.asked == []
    outcome = call("backbones", "--download", "mobilenetv2", "--layer", "block_16_project")
    assert outcome.exit_code == 0, outcome.stderr


def test_an_image_size_without_a_backbone_to_show_for_it_is_no_usage(home):
    for names in ((), ("--download", "efficientnet-lite0")):
        outcome = call("backbones", *names, "--image-size", 77)
        assert outcome.exit_code == 2
        assert "--image-size needs one NAME" in outcome.stderr


def test_a_download_is_quiet_when_asked_and_tells_scripts_what_came(server, home, monkeypatch):
    monkeypatch.setitem(BACKBONES, "efficientnetb0", _backbone(server))
    outcome = call("backbones", "--download", "efficientnetb0", "--quiet", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stderr == ""
    path = home / "models" / FILE
    assert json.loads(outcome.stdout) == [
        {"name": "efficientnetb0", "weights": f"sha256:{SHA256}", "path": str(path)}
    ]
    path.unlink()
    assert "Downloading data" in call("backbones", "--download", "efficientnetb0").stderr
    server.files.clear()
    path.unlink()
    outcome = call("backbones", "--download", "efficientnetb0", "--quiet")
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("Error: The weights of efficientnetb0 are not here")


@pytest.mark.parametrize("backbone", DOWNLOADED, ids=lambda b: b.name)
def test_without_a_network_the_error_says_what_to_fetch_from_where_to_which_path(
    backbone, home, monkeypatch
):
    def no_network(*_, origin, **__):
        raise Exception(f"URL fetch failure on {origin}: None -- Name or service not known")

    monkeypatch.setattr(keras.utils, "get_file", no_network)
    layers = ["top"] if backbone.weights_with_top is None else ["top", backbone.top_layers[-1]]
    for layer in layers:
        source = backbone.weights if layer == "top" else backbone.weights_with_top
        path = pretrained_path(backbone, layer)
        assert path == home / "models" / source.file
        with pytest.raises(WeightsError) as error:
            resolve_weights(backbone, "imagenet", layer=layer)
        for part in (backbone.name, f"fetch {source.url} elsewhere", f"put it at {path}"):
            assert part in str(error.value)
        assert "Name or service not known" in str(error.value)
