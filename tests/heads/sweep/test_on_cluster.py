"""A sweep on the workers of a cluster comes to what one machine comes to, whoever dies."""

import numpy as np
import pytest
from conftest import call, make_photos

import frostline
from benchmarks.local_cluster import LocalWorkers
from benchmarks.stand_in import extract
from pipeline.errors import ClusterError, ParameterError
from pipeline.features.spread import scheduler

GRID = {"logreg": {"C": [0.001, 0.1, 10.0]}, "class-mean": {}, "ridge": {"alpha": [1.0, 100.0]}}


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep-on-cluster")
    make_photos(folder / "photos", n_per_class=20, classes=("a", "b", "blue"))
    extract(folder / "photos", folder / "f.h5")
    return folder / "f.h5"


def list_losses(found):
    return {str(one.setting): one.outcome.losses for one in found.tried}


def test_its_outcomes_are_those_of_one_machine_though_a_worker_dies(features, tmp_path):
    here = frostline.sweep_heads(features, GRID, jobs=1, output=tmp_path / "here")
    with LocalWorkers(2, tmp_path / "cluster") as workers:
        killed = []

        def kill(text):
            if not killed:
                killed.append(workers.kill_a_worker())

        there = frostline.sweep_heads(
            features,
            GRID,
            scheduler=workers.address,
            output=tmp_path / "there",
            on_note=kill,
        )
        words = ("--head", "ridge", "--alpha", "1,100", "--scheduler", workers.address)
        outcome = call("fit-head", features, *words, "--output", tmp_path / "by-words")
    assert outcome.exit_code == 0, outcome.stderr
    assert killed
    losses, expected = list_losses(there), list_losses(here)
    assert losses.keys() == expected.keys()
    for setting, found in losses.items():
        np.testing.assert_allclose(found, expected[setting], atol=1e-6)
    assert there.winner.metrics["val"].log_loss == here.winner.metrics["val"].log_loss


def test_what_cannot_be_is_said_before_anything_is_fitted(features, tmp_path, monkeypatch):
    monkeypatch.setattr(scheduler, "WAIT_SECONDS", 1.0)
    with pytest.raises(ClusterError, match="No scheduler answers there"):
        frostline.sweep_heads(
            features, GRID, scheduler="tcp://127.0.0.1:9", output=tmp_path / "run"
        )
    with pytest.raises(ParameterError, match="Expected `jobs` or `scheduler`"):
        frostline.sweep_heads(features, GRID, jobs=2, scheduler="tcp://127.0.0.1:9")
    outcome = call("fit-head", features, "--scheduler", "tcp://127.0.0.1:9")
    assert outcome.exit_code == 2
    assert "--scheduler is of a sweep" in outcome.stderr
