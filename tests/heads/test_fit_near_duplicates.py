"""`fit-head` keeps near duplicates that an audit found on one side."""

import csv
import json

import numpy as np
import pytest
from conftest import call

from benchmarks.synthetic_features import write_synthetic_features
from pipeline.features.feature_file import FeatureFile
from pipeline.features.near_duplicate_list import name_list, write_list

N_IMAGES = 90


@pytest.fixture
def features(tmp_path):
    path = tmp_path / "features.h5"
    write_synthetic_features(path, N_IMAGES, n_features=16, n_classes=3)
    return path


def list_groups(features):
    """Twelve pairs within a class."""
    with FeatureFile(features) as file:
        digests = file.contents.images.digests
    groups = [[row, row + 1] for row in range(0, N_IMAGES, 7) if row % 30 < 29][:12]
    write_list(features, digests, groups)
    return groups


def fit(features, output, *options):
    outcome = call("fit-head", features, "--output", output, *options)
    assert outcome.exit_code == 0, outcome.stderr
    with (output / "predictions.csv").open() as file:
        splits = [line["split"] for line in csv.DictReader(file)]
    facts = json.loads((output / "manifest.json").read_text())["splits"]
    return splits, facts, outcome.stdout + outcome.stderr


def test_pairs_share_a_split_once_an_audit_is_there_and_no_other_image_moves(features, tmp_path):
    before, facts, _ = fit(features, tmp_path / "before")
    assert facts["n_near_duplicate_groups"] is None
    groups = list_groups(features)
    together, facts, said = fit(features, tmp_path / "together")
    assert [before[one] == before[other] for one, other in groups].count(False) > 0
    assert all(together[one] == together[other] for one, other in groups)
    alone = np.setdiff1d(np.arange(N_IMAGES), np.concatenate(groups)).tolist()
    assert [together[row] for row in alone] == [before[row] for row in alone]
    n_moved = sum(one != other for one, other in zip(before, together, strict=True))
    assert facts["n_near_duplicate_groups"] == len(groups)
    assert facts["n_near_duplicates_moved"] == n_moved
    assert "12 groups of near duplicates" in said
    apart, facts, _ = fit(features, tmp_path / "apart", "--near-duplicates", "apart")
    assert apart == before
    assert facts["n_near_duplicate_groups"] is None


def test_together_without_an_audit_says_how_to_make_one(features, tmp_path):
    outcome = call(
        *("fit-head", features, "--near-duplicates", "together", "--output", tmp_path / "run")
    )
    assert outcome.exit_code == 1
    assert "python cli.py audit FEATURES" in outcome.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["", "digest\n", "digest,group\nab,1\n", "digest,group\nzz\n"])
def test_a_damaged_list_is_named(features, tmp_path, text):
    name_list(features).write_text(text)
    outcome = call("fit-head", features, "--output", tmp_path / "run")
    assert outcome.exit_code == 1
    assert "features.h5.near-duplicates.csv" in outcome.stderr
    assert "Make the audit again" in outcome.stderr
