"""The service in this process: what it answers, what it refuses, and what it goes on with.

The model is a tiny run's head behind a cheap stand-in for the network; images are decoded in
processes as always.
"""

import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import make_run
from PIL import Image
from starlette.testclient import TestClient

from benchmarks.stand_in import StandIn
from pipeline.backbones.engines.device import describe_cpu
from pipeline.classifier.model import Classifier
from pipeline.classifier.prediction import prediction_to_json
from pipeline.classifier.serving.app import make_app
from pipeline.classifier.serving.current_model import CurrentModel
from pipeline.classifier.serving.service import Service
from pipeline.heads.saved_head import load_head
from pipeline.images.decoding.read_images import Limits
from pipeline.runs.run_folder import open_run

N_FEATURES = 12
FORM = "multipart/form-data"


class Halves(StandIn):
    """A stand-in with as many features as the made runs have; slow on request."""

    n_features = N_FEATURES
    seconds = 0.0

    def __call__(self, pixels):
        time.sleep(self.seconds)
        return super().__call__(pixels)[:, :N_FEATURES]


def load_model(folder: Path, network: StandIn) -> Classifier:
    run = open_run(folder)
    model = Classifier(run, [], load_head(run), describe_cpu())
    model.open_engines = lambda n_images: [network]
    return model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("served"), "run", ["blue", "green", "red"], 12)


@contextmanager
def serving(run, network=None, *, limits=None, queue=64, request_bytes=2**20, seconds=30.0, **how):
    network = network or Halves()
    current = CurrentModel(run, lambda: load_model(run, network), print, **how)
    service = Service(current, limits or Limits(), queue)
    service.begin()
    try:
        with TestClient(make_app(service, request_bytes, seconds)) as client:
            client.service = service
            yield client
    finally:
        service.end()


@pytest.fixture(scope="module")
def client(run):
    with serving(run, limits=Limits(max_pixels=10_000)) as client:
        yield client


def photos(run) -> list[Path]:
    return sorted((run.parent / "photos").rglob("*.png"))


def encode(width: int, height: int, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(stream, form)
    return stream.getvalue()


def test_files_of_a_form_are_answered_in_order_as_predict_prints_them(client, run):
    paths = photos(run)[::5]
    response = client.post("/predict?top=2", files=[("file", p.open("rb")) for p in paths])
    model = load_model(run, Halves())
    expected = [
        prediction_to_json(one, model.class_names, 2, promises=False)
        for one in model.predict(paths)
    ]
    names = [{**one, "path": path.name} for one, path in zip(expected, paths, strict=True)]
    assert (response.status_code, response.json()) == (200, names)
    assert len(names[0]["classes"]) == 2


def test_the_bytes_of_an_image_are_answered_like_its_file(client, run):
    data = photos(run)[0].read_bytes()
    by_form = client.post("/predict", files={"any": ("a.png", data)}).json()
    for kind in ("image/png", "application/octet-stream", None):
        headers = {} if kind is None else {"content-type": kind}
        (answer,) = client.post("/predict", content=data, headers=headers).json()
        assert answer == {**by_form[0], "path": None}


def test_what_is_no_picture_is_skipped_with_the_decoders_reason_and_costs_no_other(client, run):
    sent = [
        ("f", ("good.png", photos(run)[0].read_bytes())),
        ("f", ("notes.txt", b"no image")),
        ("f", ("cut.jpg", encode(90, 90, "JPEG")[:400])),
        ("f", ("large.png", encode(200, 200))),
    ]
    good, notes, cut, large = client.post("/predict", files=sent).json()
    assert good["path"] == "good.png" and good["classes"]
    assert notes["skipped"].startswith("not an image")
    assert cut["path"] == "cut.jpg" and "classes" not in cut
    assert large["skipped"] == "too large: 200 x 200 pixels is more than the limit of 10,000"


def test_a_name_can_be_anything_and_comes_back_as_it_was(client, run):
    data = photos(run)[0].read_bytes()
    for name in ("../../etc/passwd", "<script>.png", "schön 🌼.jpg"):
        (answer,) = client.post("/predict", files={"f": (name, data)}).json()
        assert answer["path"] == name


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "type text/plain"),
        ({"data": {"a": "1"}}, 415, "x-www-form-urlencoded"),
        ({"content": b""}, 400, "No image was sent"),
        ({"files": {"a": ("", b"")}}, 400, ""),
        ({"content": bytes(2**20 + 1)}, 413, "at most 1,048,576 bytes. Received: 1,048,577"),
        ({"content": iter([bytes(2**19)] * 3)}, 413, "Received: more than 1,048,576"),
        ({"files": [("f", ("a.png", b"x"))] * 65}, 400, "Maximum number of files is 64"),
        (
            {"content": b"--b\r\nno form", "headers": {"content-type": f"{FORM}; boundary=b"}},
            400,
            "The form cannot be read",
        ),
        ({"content": b"x", "headers": {"content-type": FORM}}, 400, "boundary"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_request_is_said_as_json(client, how, status, words):
    response = client.post("/predict", **how)
    assert response.status_code == status
    assert words in response.json()["detail"]


@settings(max_examples=40, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([f"{FORM}; boundary=b", f"{FORM}; boundary=", "image/png", "text/html", "a"]),
    st.sampled_from(
        [b"", b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n']
    ),
    st.sampled_from([b"", b"\r\n--b--\r\n"]),
)
def test_whatever_is_sent_the_answer_is_json_and_no_surprise(client, body, kind, begin, end):
    headers = {"content-type": kind}
    response = client.post("/predict", content=begin + body + end, headers=headers)
    assert response.status_code in {200, 400, 415}
    found = response.json()
    assert found["detail"] if response.status_code > 200 else found[0]["skipped"]


def test_top_is_a_whole_number(client):
    for top in ("0", "-1", "all"):
        assert client.post(f"/predict?top={top}", content=b"x").status_code == 422


def test_health_names_the_run_its_classes_and_who_computes(client):
    found = client.get("/health").json()
    assert found["ready"] is True and found["problem"] is None
    assert found["run"] == "run"
    assert found["classes"] == ["blue", "green", "red"]
    assert "numpy" in found["versions"]


def test_metrics_count_requests_images_and_batches(run):
    with serving(run) as client:
        data = photos(run)[0].read_bytes()
        for _ in range(3):
            client.post("/predict", files=[("f", ("a", data)), ("f", ("b", b"none"))])
        text = client.get("/metrics").text
    assert 'frostline_images_total{outcome="classified"} 3.0' in text
    assert 'frostline_images_total{outcome="skipped"} 3.0' in text
    assert "frostline_batch_images_sum 6.0" in text
    assert "frostline_waiting_images 0.0" in text


def test_the_description_has_an_example_of_each_kind_of_answer(client):
    post = client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    assert set(post["requestBody"]["content"]) == {
        "multipart/form-data", "image/*", "application/octet-stream"
    }  # fmt: skip
    examples = post["responses"]["200"]["content"]["application/json"]["examples"]
    assert examples["a run that makes a promise"]["value"][0]["no_answer"] is None
    assert {"400", "408", "413", "415", "503", "504"} < set(post["responses"])


def test_pages_fetch_nothing_from_elsewhere(client):
    for path in ("/", "/docs", "/base.css", "/page.css", "/page.js", "/docs.js"):
        response = client.get(path)
        assert response.status_code == 200
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "//" not in response.text.replace("http://127.0.0.1:8000", "").replace("// ", "")


def test_requests_that_come_together_share_batches(run):
    network = Halves()
    network.seconds = 0.03
    with serving(run, network) as client, ThreadPoolExecutor(16) as pool:
        data = photos(run)[0].read_bytes()
        found = list(pool.map(lambda _: client.post("/predict", content=data), range(48)))
    assert {response.status_code for response in found} == {200}
    assert network.n_images == 48
    assert network.n_calls < 30


def test_a_full_queue_refuses_and_says_when_to_come_again(run):
    network = Halves()
    network.seconds = 0.5
    with serving(run, network, queue=2) as client, ThreadPoolExecutor(8) as pool:
        data = photos(run)[0].read_bytes()
        found = list(pool.map(lambda _: client.post("/predict", content=data), range(8)))
        refused = [response for response in found if response.status_code == 503]
        assert {response.status_code for response in found} == {200, 503}
        assert refused[0].headers["retry-after"] == "1"
        assert "at most 2" in refused[0].json()["detail"]
        assert client.post("/predict", content=data).status_code == 200
        assert client.service.n_waiting == 0


def test_an_answer_that_takes_too_long_is_given_up_and_the_next_one_comes(run):
    network = Halves()
    network.seconds = 0.6
    with serving(run, network, seconds=0.2) as client:
        data = photos(run)[0].read_bytes()
        response = client.post("/predict", content=data)
        assert response.status_code == 504
        assert "No answer within 0.2 seconds" in response.json()["detail"]
        network.seconds = 0.0
        time.sleep(0.6)
        assert client.post("/predict", content=data).status_code == 200


def test_too_many_bytes_at_once_are_refused_and_given_back(run):
    with serving(run, request_bytes=2**20) as client:
        client.service.hold_bytes(255 * 2**20 + 2**19)
        data = photos(run)[0].read_bytes()
        assert client.post("/predict", content=bytes(2**20)).status_code == 503
        assert client.post("/predict", content=data).status_code == 200


def test_an_image_on_which_the_network_fails_costs_no_other_in_its_batch(run):
    class Choosy(Halves):
        def __call__(self, pixels):
            if (pixels > 250).all((1, 2, 3)).any():
                raise ValueError("white")
            time.sleep(0.05)
            return super().__call__(pixels)

    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(stream, "PNG")
    sent = [photos(run)[0].read_bytes(), stream.getvalue()] * 6
    with serving(run, Choosy()) as client, ThreadPoolExecutor(12) as pool:
        calm = TestClient(client.app, raise_server_exceptions=False)
        found = list(pool.map(lambda data: calm.post("/predict", content=data), sent))
    assert [response.status_code for response in found] == [200, 500] * 6
    assert "the service's log" in found[1].json()["detail"]


def test_a_run_that_is_replaced_is_taken_up_without_a_lost_request(tmp_path):
    old = make_run(tmp_path, "run", ["blue", "green"], 12)
    new = make_run(tmp_path / "b", "other", ["cyan", "magenta"], 12)
    statuses, names = [], set()
    with serving(old, look_seconds=0.05, retry_seconds=0.1) as client:
        data = photos(old)[0].read_bytes()
        ended = threading.Event()

        def ask():
            while not ended.is_set():
                response = client.post("/predict?top=2", content=data)
                statuses.append(response.status_code)
                names.update(one["name"] for one in response.json()[0]["classes"])

        with ThreadPoolExecutor(3) as pool:
            for _ in range(3):
                pool.submit(ask)
            old.rename(tmp_path / "aside")
            new.rename(old)
            until = time.monotonic() + 10
            while "cyan" not in names and time.monotonic() < until:
                time.sleep(0.05)
            ended.set()
        assert set(statuses) == {200}
        assert names == {"blue", "green", "cyan", "magenta"}
        assert client.get("/health").json()["renewed"] == 1

        manifest = (old / "manifest.json").read_text()
        (old / "manifest.json").write_text("{")
        found = wait_for(client, lambda health: health["problem"])
        assert "The run was replaced by one that cannot be loaded" in found["problem"]
        assert client.post("/predict", content=data).status_code == 200
        (old / "manifest.json").write_text(json.dumps(json.loads(manifest)))
        wait_for(client, lambda health: not health["problem"] and health["renewed"] == 2)


def wait_for(client, is_so) -> dict:
    until = time.monotonic() + 10
    while not is_so(found := client.get("/health").json()) and time.monotonic() < until:
        time.sleep(0.02)
    assert is_so(found), found
    return found


def test_probabilities_are_those_of_a_softmax_over_the_heads_scores(client, run):
    """Against the weights in head.npz, by hand."""
    path = photos(run)[0]
    pixels = np.asarray(Image.open(path).convert("RGB").resize((8, 8), Image.Resampling.BILINEAR))
    features = Halves()(pixels[None])
    with np.load(run / "head.npz") as head:
        scores = (features @ head["kernel"] + head["bias"])[0]
    expected = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    (answer,) = client.post("/predict?top=3", content=path.read_bytes()).json()
    found = {one["name"]: one["probability"] for one in answer["classes"]}
    assert [found[name] for name in ("blue", "green", "red")] == pytest.approx(expected, abs=1e-5)
