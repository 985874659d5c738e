"""Runs in MLflow: what it is told, the model that loads there, a server that is not there."""

import csv
import http.server
import json
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
from conftest import call

import frostline
from pipeline.errors import MissingExtraError, TrackingError


@pytest.fixture
def store(tmp_path, monkeypatch) -> str:
    """MLflow's store of files, which needs no server and which it only serves when asked to."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return (tmp_path / "store").as_uri()


def _open(store: str, run_id: str):
    from mlflow import MlflowClient

    client = MlflowClient(store, store)
    return client, client.get_run(run_id)


def _list_artifacts(client, run_id: str, path: str = "") -> set[str]:
    found = set()
    for entry in client.list_artifacts(run_id, path or None):
        found |= _list_artifacts(client, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def test_mlflow_is_told_what_the_run_says(fitted, finetuned, store):
    for folder in (fitted, finetuned):
        logged = frostline.log_to_mlflow(folder, store)
        client, run = _open(store, logged.run_id)
        manifest = json.loads((folder / "manifest.json").read_text())
        scores = manifest["metrics"]["val"]
        told = run.data.metrics
        assert told["val/accuracy"] == scores["accuracy"]
        assert [told["val/accuracy_low"], told["val/accuracy_high"]] == scores["accuracy_interval"]
        assert told["train/log_loss"] == manifest["metrics"]["train"]["log_loss"]
        for name, value in manifest["parameters"].items():
            assert run.data.params[name] == str(value)
        assert run.data.params["backbone"] == "efficientnet-lite0"
        with (folder / "history.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        history = client.get_metric_history(logged.run_id, "history/val_loss")
        expected = {place: float(row["val_loss"]) for place, row in enumerate(rows)}
        assert {one.step: one.value for one in history} == expected
        shown = _list_artifacts(client, logged.run_id)
        assert {"plots/learning-curve.png", "plots/confusion-matrix.svg"} <= shown
        assert {"manifest.json", "history.csv", "predictions.csv"} <= shown
        assert (run.info.status, run.info.run_name) == ("FINISHED", folder.name)
        assert run.info.end_time >= run.info.start_time
        assert client.get_experiment(run.info.experiment_id).name == logged.experiment == "photos"
    assert "frozen_val/accuracy" in run.data.metrics
    assert manifest["verdict"] in run.data.tags["mlflow.note.content"]


@pytest.mark.parametrize("kind", ["logreg", "finetuned"])
def test_the_model_in_mlflow_answers_as_the_run_does(kind, fitted, finetuned, store):
    from mlflow import artifacts, pyfunc
    from mlflow.models import Model

    folder = fitted.parent / kind
    logged = frostline.log_to_mlflow(folder, store)
    client, _ = _open(store, logged.run_id)
    place = artifacts.download_artifacts(client.get_logged_model(logged.model_id).artifact_location)
    held = {path.name for path in (Path(place) / "data/run").iterdir()}
    assert not held & {"predictions.csv", "digests.npy", "head.joblib", "plots"}
    signature = Model.load(place).signature
    assert [(one.name, one.type.name) for one in signature.inputs] == [("image", "binary")]
    assert signature.outputs.input_names() == ["blue", "green", "red"]
    model = pyfunc.load_model(place)
    example = model.predict(Model.load(place).load_input_example(place))
    assert example.sum(axis=1).tolist() == pytest.approx([1], abs=1e-5)
    images = [fitted.parent / "photos" / name for name in ("red/003.png", "blue/001.png")]
    rows = pd.DataFrame({"image": [image.read_bytes() for image in images]}, index=[7, 3])
    table = model.predict(rows)
    told = json.loads(call("predict", folder, *images, "--top", 3, "--json").stdout)
    assert list(table.index) == [7, 3]
    for (_, row), entry in zip(table.iterrows(), told, strict=True):
        assert row.to_dict() == pytest.approx(
            {one["name"]: one["probability"] for one in entry["classes"]}, abs=1e-5
        )
    with pytest.raises(frostline.ImageError, match=r"1 of 2 images cannot .* row 1 \(from 0\): "):
        model.predict(pd.DataFrame({"image": [images[0].read_bytes(), b"no image"]}))


def test_a_run_that_makes_a_promise_says_its_answer_there_too(fitted, finetuned, store):
    from mlflow import artifacts, pyfunc

    outcome = call(
        *("fit-head", fitted.parent / "features.h5", "--output", "promising"),
        *("--promise", 0.5, "--unlike", 0, "--mlflow", store, "--json"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    logged = json.loads(outcome.stdout)["mlflow"]
    assert f"Logged to MLflow at {store}, experiment photos: run {logged['run_id']}" in (
        outcome.stderr
    )
    client, _ = _open(store, logged["run_id"])
    location = client.get_logged_model(logged["model_id"]).artifact_location
    model = pyfunc.load_model(artifacts.download_artifacts(location))
    image = fitted.parent / "photos/red/003.png"
    table = model.predict(pd.DataFrame({"image": [image.read_bytes()]}))
    (told,) = json.loads(call("predict", "promising", image, "--json").stdout)
    assert table["answer"].tolist() == [told["answer"] or told["no_answer"]]


def test_mlflows_own_state_and_the_streams_stay_as_they_are(fitted, store, tmp_path, capfd):
    import mlflow

    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri(), mlflow.active_run()
    there = set(tmp_path.iterdir())
    frostline.log_to_mlflow(fitted, store)
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri(), mlflow.active_run()) == before
    assert {path.name for path in set(tmp_path.iterdir()) - there} == {"store"}
    assert capfd.readouterr() == ("", "")


def test_where_nobody_answers_nothing_is_done_and_a_password_is_not_shown(fitted, tmp_path):
    features = fitted.parent / "features.h5"
    how = ("--mlflow", "http://me:secret@127.0.0.1:9")
    for command in (
        ("fit-head", features),
        ("finetune", fitted),
        ("fit-head", features, "--sweep"),
    ):
        outcome = call(*command, "--output", "run", *how)
        assert outcome.exit_code == 1
        assert "nobody answers" in outcome.stderr
        assert "Received: --mlflow http://127.0.0.1:9\nNothing was done." in outcome.stderr
        assert "secret" not in outcome.stderr
        assert not (tmp_path / "run").exists()
    refused = call("fit-head", features, "--shots", "1,2", *how)
    assert refused.exit_code == 2
    assert "Expected --mlflow without --shots" in refused.stderr


def test_a_server_of_something_else_is_no_mlflow(fitted, tmp_path):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(TrackingError, match="404"):
            frostline.fit_head(
                fitted.parent / "features.h5",
                output="run",
                mlflow=f"http://127.0.0.1:{server.server_port}",
            )
    finally:
        server.shutdown()
        server.server_close()
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_lost_where_its_model_cannot_be_logged(fitted, store, tmp_path, monkeypatch):
    """The store's disk is full after the scores, say."""
    from mlflow import MlflowClient

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", fail)
    features = fitted.parent / "features.h5"
    outcome = call("fit-head", features, "--output", "kept", "--mlflow", store)
    assert outcome.exit_code == 1
    assert "Run: kept" in outcome.stdout
    assert "No space left on device" in outcome.stderr
    assert "The run is whole, in kept. To log it once that takes runs, in Python" in outcome.stderr
    image = fitted.parent / "photos/red/003.png"
    assert call("predict", "kept", image).exit_code == 0
    client = MlflowClient(store, store)
    (entry,) = client.search_runs([client.get_experiment_by_name("photos").experiment_id])
    assert entry.info.status == "FAILED"
    with pytest.raises(TrackingError) as caught:
        frostline.fit_head(features, output="kept too", mlflow=store)
    assert caught.value.result.folder == Path("kept too")
    monkeypatch.undo()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "teamwork")
    monkeypatch.chdir(tmp_path)
    assert frostline.log_to_mlflow("kept", store).experiment == "teamwork"


def test_without_the_package_the_extra_is_named(fitted, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match=r"pip install '.\[mlflow\]' in Frostline's folder"):
        frostline.fit_head(fitted.parent / "features.h5", output="run", mlflow="http://x")
    assert not (tmp_path / "run").exists()
