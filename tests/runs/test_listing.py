"""Which runs can be compared: those scored on the very same images with the same labels."""

import json

import numpy as np
import pytest
from conftest import call, make_photos
from hypothesis import given, settings
from hypothesis import strategies as st
from manifests import make_manifest, make_scores

from benchmarks.stand_in import extract
from pipeline.runs.listing import list_runs
from pipeline.runs.records import write_digests
from pipeline.runs.scored_images import identify_scored_images


def write_run(folder, *, images="1", seed=0, split="val", **scores):
    values = make_manifest()
    values["metrics"] = {split: make_scores(**scores)}
    values["splits"]["seed"] = seed
    values["scored_images"] = {split: images * 64}
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(values))


def list_names(folder):
    entries, problems = list_runs(folder)
    assert problems == []
    return [(entry["run"].rsplit("/", 1)[1], entry["scored_images"]) for entry in entries]


def test_seeds_whose_validation_photos_differ_are_no_one_list(tmp_path):
    make_photos(tmp_path / "photos", n_per_class=20)
    extract(tmp_path / "photos", tmp_path / "f.h5")
    for seed in (0, 1):
        for C in (0.01, 1):
            how = ("--seed", seed, "--C", C, "--output", tmp_path / f"runs/s{seed}-{C}")
            assert call("fit-head", tmp_path / "f.h5", *how).exit_code == 0
    names = list_names(tmp_path / "runs")
    groups = [images for _, images in names]
    assert len(set(groups)) == 2
    assert groups == sorted(groups, key=groups.index)  # each in one piece
    assert {name[:2] for name, images in names if images == groups[0]} in ({"s0"}, {"s1"})
    shown = call("runs").stdout
    assert shown.count("photos, val split") == 2
    assert "seed 0" in shown
    assert "seed 1" in shown


def test_of_equal_accuracies_the_lower_log_loss_is_the_better(tmp_path):
    for name, accuracy, log_loss in (("a", 0.9, 0.4), ("b", 0.9, 0.2), ("c", 0.95, 0.5)):
        write_run(tmp_path / name, accuracy=accuracy, log_loss=log_loss)
    assert [name for name, _ in list_names(tmp_path)] == ["c", "b", "a"]


def test_runs_that_do_not_say_it_are_told_apart_by_their_records(fitted, finetuned, tmp_path):
    """As 0.1.0 wrote them: the number is made of digests and labels."""
    for run in (fitted, finetuned):
        values = json.loads((run / "manifest.json").read_text())
        expected = values.pop("scored_images")["val"]
        old = tmp_path / "old" / run.name
        old.mkdir(parents=True)
        (old / "manifest.json").write_text(json.dumps(values))
        (old / "predictions.csv").write_bytes((run / "predictions.csv").read_bytes())
        (old / "digests.npy").write_bytes((run / "digests.npy").read_bytes())
    assert {images for _, images in list_names(tmp_path / "old")} == {expected}
    for run in (tmp_path / "old").iterdir():
        (run / "digests.npy").unlink()
    ((_, one), (_, other)) = list_names(tmp_path / "old")
    assert one == other != expected
    write_digests(run, np.zeros((36, 32), np.uint8))
    assert len({images for _, images in list_names(tmp_path / "old")}) == 2
    (run / "predictions.csv").unlink()
    assert None in {images for _, images in list_names(tmp_path / "old")}


@given(st.permutations(range(8)), st.integers(0, 7))
@settings(max_examples=30, deadline=None)
def test_the_number_is_of_images_and_labels_in_any_order(order, changed):
    random = np.random.default_rng(0)
    digests = random.integers(0, 256, (8, 32)).astype(np.uint8)
    splits = np.array([1, 1, 1, 1, 0, 0, 2, 2], np.int8)
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 1], np.int32)
    expected = identify_scored_images(digests, splits, labels, ["a", "b"])
    assert list(expected) == ["train", "val", "test"]
    rows = list(order)
    moved = identify_scored_images(digests[rows], splits[rows], labels[rows], ["a", "b"])
    assert moved == expected
    renumbered = identify_scored_images(digests, splits, labels + 1, ["new", "a", "b"])
    assert renumbered == expected
    name = ("train", "val", "test")[splits[changed]]
    for what in (digests, labels):
        before = what[changed].copy()
        what[changed] ^= 1
        found = identify_scored_images(digests, splits, labels, ["a", "b"])
        assert {key for key in expected if found[key] != expected[key]} == {name}
        what[changed] = before


@pytest.mark.parametrize("n_runs", [300])
def test_many_runs_are_listed_in_a_moment(tmp_path, n_runs):
    for number in range(n_runs):
        write_run(tmp_path / f"{number:04d}", accuracy=number / n_runs)
    names = [name for name, _ in list_names(tmp_path)]
    assert names == [f"{number:04d}" for number in reversed(range(n_runs))]


def test_runs_that_differ_in_their_recipe_show_by_what(tmp_path):
    for name, size, resize in (("a", 10, "stretch"), ("b", 224, "pad")):
        write_run(tmp_path / name)
        values = json.loads((tmp_path / name / "manifest.json").read_text())
        values["recipe"] |= {"image_size": size, "resize": resize}
        (tmp_path / name / "manifest.json").write_text(json.dumps(values))
    shown = call("runs", tmp_path).stdout
    for word in ("pixels", "224", "10", "resize", "stretch", "pad"):
        assert word in shown
    assert "pooling" not in shown


def test_runs_of_a_list_are_called_after_the_list(tmp_path):
    write_run(tmp_path / "a")
    values = json.loads((tmp_path / "a" / "manifest.json").read_text())
    values["data_name"] = "semi-csv"
    (tmp_path / "a" / "manifest.json").write_text(json.dumps(values))
    assert call("runs", tmp_path).stdout.startswith("semi-csv, val split, ")
