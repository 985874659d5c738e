"""Feature files with views: each image's own, the same bits in any run, and view 0 as ever."""

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from conftest import call, make_photos, save_image
from same_files import assert_same, read_everything

import frostline
from benchmarks.stand_in import RECIPE, StandIn, extract
from pipeline.errors import FeatureFileError
from pipeline.features import finished_rows
from pipeline.features.feature_file import FeatureFile
from pipeline.features.open_embedding import Workers
from pipeline.features.opened_file import open_features
from pipeline.features.parquet import to_parquet
from pipeline.features.spread.merge import merge
from pipeline.features.spread.shard_number import Shard
from pipeline.features.update import update_features
from pipeline.features.update_job import UpdateOptions
from pipeline.images.augmentation.augment import AUGMENTATION_VERSION
from pipeline.images.augmentation.read_views import make_views
from pipeline.images.augmentation.views import Views
from pipeline.images.dataset import scan_dataset
from pipeline.images.decoding.read_images import read_image
from pipeline.system.sealed_hdf5 import seal_again

THREE = Views(3, "strong", 5, AUGMENTATION_VERSION)


@pytest.fixture
def few(tmp_path):
    return make_photos(tmp_path / "few", n_per_class=3)


def read(path):
    with FeatureFile(path) as file:
        views = None if file.views is None else file.views.read_all()
        return file.contents, file.read_all(), views


def test_each_view_has_the_features_of_the_image_augmented(few, tmp_path):
    _, stand_in = extract(few, tmp_path / "a.h5", views=THREE)
    assert stand_in.n_images == 3 * 9
    contents, features, views = read(tmp_path / "a.h5")
    assert contents.views == THREE
    assert views.shape == (9, 2, 24)
    for row, path in enumerate(contents.images.paths):
        digest, pixels = read_image(few / path, RECIPE)
        expected = StandIn()(make_views(pixels, digest, THREE, range(3)))
        np.testing.assert_array_equal(features[row], expected[0])
        np.testing.assert_array_equal(views[row], expected[1:])
    np.testing.assert_array_equal(open_features(tmp_path / "a.h5").views(), views)
    with h5py.File(tmp_path / "a.h5") as file:  # as another language reads it
        np.testing.assert_array_equal(file["views"][:], views)
        assert json.loads(file.attrs["views"])["number"] == 3


@pytest.mark.parametrize(
    ("kind", "isolate"), [("decoders", False), ("processes", False), ("threads", True)]
)
def test_two_runs_give_equal_bits_whoever_decodes(few, tmp_path, kind, isolate):
    (few / "red" / "bad.png").write_bytes(b"no image")
    extract(few, tmp_path / "a.h5", views=THREE, reuse=False)
    options = UpdateOptions(
        views=THREE, reuse=False, workers=Workers(kind, 2), isolate=isolate
    )  # fmt: skip
    update_features(scan_dataset(few), RECIPE, tmp_path / "b.h5", StandIn, options)
    ours, theirs = read_everything(tmp_path / "a.h5"), read_everything(tmp_path / "b.h5")
    for found in (ours, theirs):  # but for how many computed at once
        found["@engines"] = found["@engines"].replace('"n_threads": 2', '"n_threads": 0')
    assert [name for name in theirs if ours.get(name) != theirs[name]] == []
    assert ours["views"][1] == (9, 2, 24)


def test_an_image_keeps_its_views_when_others_come_and_go_and_it_moves(few, tmp_path):
    target = tmp_path / "a.h5"
    extract(few, target, views=THREE)
    before, _, of_before = read(target)
    kept = dict(zip(map(bytes, before.images.digests), of_before, strict=True))
    save_image(few / "red" / "aaa.png", seed=99)
    shutil.copy(few / "blue" / "000.png", few / "green" / "equal.png")
    (few / "red" / "001.png").rename(few / "blue" / "moved.png")
    (few / "red" / "002.png").unlink()
    summary, stand_in = extract(few, target, views=THREE)
    assert (summary.computed, summary.kept, stand_in.n_images) == (1, 8, 3)
    contents, _, views = read(target)
    same = [kept.get(bytes(digest)) for digest in contents.images.digests]
    assert sum(row is not None for row in same) == 9
    for row, expected in zip(views, same, strict=True):
        assert expected is None or np.array_equal(row, expected)
    save_image(few / "red" / "002.png", seed=2002, colour=(210, 50, 40))
    assert bytes(contents.retired[0]) in kept
    summary, stand_in = extract(few, target, views=THREE)
    assert (summary.computed, stand_in.n_images) == (0, 0)
    extract(few, tmp_path / "other" / "b.h5", views=THREE)
    np.testing.assert_array_equal(read(target)[2], read(tmp_path / "other" / "b.h5")[2])


def test_a_file_beside_it_gives_view_0_and_the_views_that_are_made_alike(few, tmp_path):
    extract(few, tmp_path / "plain.h5")
    summary, stand_in = extract(few, tmp_path / "three.h5", views=THREE)
    assert (summary.computed, stand_in.n_images) == (9, 2 * 9)
    five = replace(THREE, number=5)
    _, stand_in = extract(few, tmp_path / "five.h5", views=five)
    assert stand_in.n_images == 2 * 9
    summary, stand_in = extract(few, tmp_path / "light.h5", views=replace(THREE, augment="light"))
    assert stand_in.n_images == 2 * 9
    summary, stand_in = extract(few, tmp_path / "plain too.h5")
    assert (summary.reused, stand_in.n_images) == (9, 0)
    np.testing.assert_array_equal(
        read(tmp_path / "five.h5")[2][:, :2], read(tmp_path / "three.h5")[2]
    )
    np.testing.assert_array_equal(read(tmp_path / "five.h5")[1], read(tmp_path / "plain.h5")[1])


def test_a_killed_run_goes_on_where_it_was(few, tmp_path, monkeypatch):
    monkeypatch.setattr(finished_rows, "PART_ROWS", 3)
    embed = StandIn.__call__
    calls = []

    def die(self, pixels):
        calls.append(len(pixels))
        if len(calls) > 4:
            raise KeyboardInterrupt
        return embed(self, pixels)

    monkeypatch.setattr(StandIn, "n_streams", 1)
    monkeypatch.setattr(StandIn, "__call__", die)
    with pytest.raises(KeyboardInterrupt):
        extract(few, tmp_path / "a.h5", views=THREE)
    monkeypatch.setattr(StandIn, "__call__", embed)
    summary, stand_in = extract(few, tmp_path / "a.h5", views=THREE)
    assert summary.resumed > 0
    assert stand_in.n_images == 3 * summary.computed < 27
    extract(few, tmp_path / "other" / "b.h5", views=THREE)
    np.testing.assert_array_equal(read(tmp_path / "a.h5")[2], read(tmp_path / "other" / "b.h5")[2])


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (None, r"views: 3 views of each image \(strong, seed 5\) -> none"),
        (replace(THREE, number=4), "views: 3 -> 4"),
        (replace(THREE, seed=6), "seed: 5 -> 6"),
    ],
)
def test_other_views_are_another_file(few, tmp_path, other, named):
    extract(few, tmp_path / "a.h5", views=THREE)
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(FeatureFileError, match=f"What differs: {named}"):
        extract(few, tmp_path / "a.h5", views=other)
    assert (tmp_path / "a.h5").read_bytes() == before


def test_merged_shards_have_the_views_of_a_single_machine(few, tmp_path):
    paths = []
    for number in (1, 2):
        paths.append(tmp_path / "shards" / f"{number}.h5")
        extract(few, paths[-1], shard=Shard(number, 2), reuse=False, views=THREE)
    merge(paths, output=tmp_path / "merged.h5")
    extract(few, tmp_path / "whole.h5", views=THREE, reuse=False)
    assert_same(tmp_path / "merged.h5", tmp_path / "whole.h5")
    extract(few, tmp_path / "plain.h5", shard=Shard(2, 2), reuse=False)
    with pytest.raises(FeatureFileError, match=r"(?s)other views than .*What differs: views: "):
        merge([paths[0], tmp_path / "plain.h5"], output=tmp_path / "no.h5")
    assert not (tmp_path / "no.h5").exists()


def _change(path, edit):
    with h5py.File(path, "r+") as file:
        edit(file)
    seal_again(path)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda file: file.__delitem__("views"), "is damaged in the small tables"),
        (lambda file: file.attrs.__delitem__("views"), "should be 0 augmented views"),
        (lambda file: file.attrs.__setitem__("views", '{"number": 2}'), "is damaged in"),
        (lambda file: file["views"].__setitem__((0, 0, 0), np.nan), "NaN or infinity"),
        (lambda file: file["views"].__setitem__((0, 0, 0), 7), "the views: their sha256"),
    ],
)
def test_a_file_whose_views_are_none_is_refused(few, tmp_path, edit, named):
    extract(few, tmp_path / "a.h5", views=THREE)
    _change(tmp_path / "a.h5", edit)
    with pytest.raises(FeatureFileError, match=named):
        read(tmp_path / "a.h5")


def test_readers_that_know_no_views_see_the_images_as_they_are(few, tmp_path):
    extract(few, tmp_path / "plain.h5", reuse=False)
    extract(few, tmp_path / "a.h5", views=THREE, reuse=False)
    plain, features = open_features(tmp_path / "plain.h5"), open_features(tmp_path / "a.h5")
    np.testing.assert_array_equal(features.arrays().X, plain.arrays().X)
    assert features.table() == plain.table()
    assert plain.views() is None
    notes = []
    to_parquet(features, tmp_path / "a.parquet", on_note=notes.append)
    assert notes == [
        "The file has 3 views of each image (strong, seed 5); the rows of view 0, the images as "
        "they are, are written."
    ]


def test_the_command_line_names_the_file_by_its_views(few, stand_in_backbone):
    how = ("--backbone", "efficientnet-lite0", "--image-size", 8)
    outcome = call("extract", few, *how, "--views", 3, "--augment", "strong", "--seed", 5)
    assert outcome.exit_code == 0, outcome.stderr
    path = outcome.stdout.strip().splitlines()[-1]
    assert path.endswith("-3-strong-views-seed5.h5")
    assert "Making 3 views of each image (strong, seed 5)" in outcome.stderr
    shown = json.loads(call("features", path, "--json").stdout)
    assert shown["views"] == {
        **{"number": 3, "augment": "strong", "seed": 5},
        "version": AUGMENTATION_VERSION,
    }
    outcome = call("extract", few, *how, "--augment", "strong", "--output", "plain.h5")
    assert "--augment strong changes nothing without views: --views 4" in outcome.stderr
    outcome = call("extract", few, *how, "--views", 2, "--output", "plain.h5")
    assert outcome.exit_code == 1
    assert "What differs: views: none -> 2 views of each image (light, seed 0)" in outcome.stderr
    assert call("extract", few, *how, "--views", 0).exit_code == 2


def test_joined_files_are_fitted_without_views_or_not_at_all(few, tmp_path):
    extract(few, tmp_path / "a.h5", views=THREE)
    extract(few, tmp_path / "b.h5", replace(RECIPE, image_size=16))
    files = [tmp_path / "a.h5", tmp_path / "b.h5"]
    with pytest.raises(FeatureFileError, match=r"cannot be joined.*`views=False`.*a\.h5"):
        frostline.fit_head(files, join=True, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run = frostline.fit_head(files, join=True, views=False, C=1.0, output=tmp_path / "run")
    assert frostline.open_run(run).manifest.views is None


def test_a_sweep_says_that_it_tries_heads_without_views(few, tmp_path):
    extract(few, tmp_path / "a.h5", views=THREE)
    grid = {"ridge": {"alpha": [1.0, 10.0]}}
    for options in ({}, {"tta": True}):
        with pytest.raises(FeatureFileError, match=r"tries heads on images.*`views=False`.*a\.h5"):
            frostline.sweep_heads(tmp_path / "a.h5", grid, output=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
