import hashlib
import json
import re
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from conftest import call, make_photos, save_image
from PIL import Image

from benchmarks.stand_in import RECIPE, StandIn, extract
from pipeline.errors import BackboneError, DatasetError, FeatureFileError, StorageError
from pipeline.features.feature_file import FeatureFile
from pipeline.images.decoding.read_images import read_image

TARGET = "features.h5"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / TARGET


def read(target):
    with FeatureFile(target) as file:
        return file.contents, file.read_all()


def test_every_image_gets_the_features_of_its_own_pixels(photos, target):
    extract(photos, target)
    contents, features = read(target)
    assert contents.images.paths == sorted(contents.images.paths)
    assert len(contents.images) == 24
    for path, digest, row in zip(
        contents.images.paths, contents.images.digests, features, strict=True
    ):
        data = (photos / path).read_bytes()
        assert hashlib.sha256(data).digest() == digest.tobytes()
        small = Image.open(photos / path).resize((8, 8), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(row, StandIn()(np.asarray(small)[None])[0])


def test_file_is_readable_with_nothing_but_h5py(photos, target):
    extract(photos, target)
    with h5py.File(target) as file:
        X, y = file["features"][:], file["label"][:]
        assert file.attrs["format"] == "frostline-features"
        assert json.loads(file.attrs["class_names"]) == ["blue", "green", "red"]
        assert file["path"][0] == b"blue/000.png"
        assert hashlib.sha256(X).hexdigest() == file.attrs["features_sha256"]
    assert X.shape == (24, 24)
    assert np.bincount(y).tolist() == [8, 8, 8]


def test_features_that_are_no_numbers_are_an_error_that_names_the_image(
    photos, target, monkeypatch
):
    embed = StandIn.__call__

    def overflow(self, pixels):
        features = embed(self, pixels)
        features[(pixels.reshape(len(pixels), -1).sum(axis=1) == worst), 3] = np.inf
        return features

    _, decoded = read_image(photos / "green/005.png", RECIPE)
    worst = int(decoded.sum())
    monkeypatch.setattr(StandIn, "__call__", overflow)
    with pytest.raises(BackboneError, match=r"not finite.*green/005\.png\n.*`precision='float32'`"):
        extract(photos, target)
    assert not target.exists()
    monkeypatch.setattr(StandIn, "__call__", embed)
    summary, _ = extract(photos, target)
    assert summary.resumed > 0


def test_unchanged_data_set_costs_no_call_and_no_write(photos, target):
    extract(photos, target)
    before = target.stat()
    summary, stand_in = extract(photos, target)
    assert (stand_in.n_calls, summary.kept, summary.computed) == (0, 24, 0)
    assert target.stat().st_ino == before.st_ino
    assert target.stat().st_mtime_ns == before.st_mtime_ns


def test_renamed_moved_and_relabelled_images_cost_no_call(photos, target):
    extract(photos, target)
    (photos / "red/000.png").rename(photos / "red/zzz.png")
    (photos / "red/001.png").rename(photos / "blue/moved.png")
    (photos / "green").rename(photos / "olive")
    summary, stand_in = extract(photos, target)
    contents, features = read(target)
    assert (stand_in.n_calls, summary.kept, summary.removed) == (0, 24, 0)
    assert contents.class_names == ["blue", "olive", "red"]
    row = contents.images.paths.index("blue/moved.png")
    assert contents.labels[row] == 0
    fresh = target.with_name("other") / TARGET
    extract(photos, fresh)
    np.testing.assert_array_equal(features, read(fresh)[1])


def test_edited_image_is_computed_again_and_only_that_one(photos, target):
    extract(photos, target)
    save_image(photos / "red/003.png", seed=99)
    summary, stand_in = extract(photos, target)
    assert (stand_in.n_images, summary.kept, summary.computed, summary.removed) == (1, 23, 1, 1)


def test_added_image_costs_one_image(photos, target):
    extract(photos, target)
    save_image(photos / "red/new.png", seed=77)
    summary, stand_in = extract(photos, target)
    assert (stand_in.n_images, stand_in.n_calls, summary.computed, summary.kept) == (1, 1, 1, 24)


def test_equal_images_are_computed_once_and_get_equal_rows(photos, target):
    shutil.copy(photos / "red/000.png", photos / "blue/copy.png")
    shutil.copy(photos / "red/000.png", photos / "red/copy.png")
    summary, stand_in = extract(photos, target)
    contents, features = read(target)
    rows = [contents.images.paths.index(p) for p in ("blue/copy.png", "red/000.png")]
    assert (stand_in.n_images, summary.computed, summary.copies) == (24, 24, 2)
    np.testing.assert_array_equal(features[rows[0]], features[rows[1]])


def test_deleted_image_is_retired_and_comes_back_for_nothing(photos, target, tmp_path):
    extract(photos, target)
    _, before = read(target)
    (photos / "red").rename(tmp_path / "unmounted")
    summary, stand_in = extract(photos, target)
    contents, _ = read(target)
    assert (stand_in.n_calls, summary.removed, len(contents.retired)) == (0, 8, 8)
    assert contents.class_names == ["blue", "green"]
    (tmp_path / "unmounted").rename(photos / "red")
    summary, stand_in = extract(photos, target)
    contents, after = read(target)
    assert (stand_in.n_calls, summary.reused, len(contents.retired)) == (0, 8, 0)
    np.testing.assert_array_equal(before, after)


def test_prune_forgets_retired_rows(photos, target):
    extract(photos, target)
    shutil.rmtree(photos / "red")
    extract(photos, target)
    extract(photos, target, prune=True)
    assert len(read(target)[0].retired) == 0


def test_rows_of_another_file_of_the_same_recipe_are_reused(photos, target, tmp_path):
    extract(photos, target)
    subset = make_photos(tmp_path / "subset", n_per_class=4)
    summary, stand_in = extract(subset, target.with_name("subset.h5"))
    assert (stand_in.n_calls, summary.reused) == (0, 12)
    _, stand_in = extract(subset, target.with_name("alone.h5"), reuse=False)
    assert stand_in.n_images == 12


def test_changed_recipe_never_reuses_a_row(photos, target):
    extract(photos, target)
    other = replace(RECIPE, background=(0, 0, 0))
    _, stand_in = extract(photos, target.with_name("other.h5"), recipe=other)
    assert stand_in.n_images == 24
    with pytest.raises(FeatureFileError, match="background"):
        extract(photos, target, recipe=other)


def test_skipped_image_is_named_never_a_row_and_computed_once_repaired(photos, target):
    bad = photos / "red/bad.jpg"
    bad.write_bytes(b"this is no image")
    summary, _ = extract(photos, target)
    contents, features = read(target)
    assert [path for path, _ in summary.skipped] == ["red/bad.jpg"]
    assert contents.skipped.paths == ["red/bad.jpg"]
    assert contents.reasons[0]
    assert len(features) == 24
    assert extract(photos, target)[0].is_unchanged
    save_image(photos / "x.png", seed=5).rename(bad)
    summary, stand_in = extract(photos, target)
    assert (stand_in.n_images, summary.computed, summary.skipped) == (1, 1, [])


def test_skipped_image_is_tried_again_on_request_only(photos, target, monkeypatch):
    bad = photos / "red/bad.jpg"
    bad.write_bytes(b"this is no image")
    extract(photos, target)
    tried = []
    from pipeline.images.decoding import read_images as reading

    decode = reading.decode_image
    monkeypatch.setattr(
        reading, "decode_image", lambda data, *a, **k: tried.append(data) or decode(data, *a, **k)
    )
    extract(photos, target)
    assert b"this is no image" not in tried
    extract(photos, target, retry_skipped=True)
    assert b"this is no image" in tried


def test_image_that_cannot_be_read_for_a_moment_is_tried_again_by_the_next_run(
    photos, target, monkeypatch
):
    """It could be hashed and not be decoded: a network drive that hiccups."""
    from pipeline.images.decoding import read_images as reading

    culprit = photos / "red/003.png"
    shutil.copy(culprit, photos / "red/twin.png")
    read_one = reading.read_image_bytes

    def hiccup(data, recipe, limits):
        if data == culprit.read_bytes():
            raise OSError(5, "Input/output error")
        return read_one(data, recipe, limits)

    monkeypatch.setattr(reading, "read_image_bytes", hiccup)
    summary, _ = extract(photos, target)
    reasons = dict(summary.skipped)
    assert reasons["red/003.png"] == "cannot be read: Input/output error"
    assert set(reasons) == {"red/003.png", "red/twin.png"}
    monkeypatch.setattr(reading, "read_image_bytes", read_one)
    summary, stand_in = extract(photos, target)
    assert (stand_in.n_images, summary.computed, summary.skipped) == (1, 1, [])


def test_images_that_come_back_keep_the_number_of_their_first_extraction(photos, target, tmp_path):
    extract(photos, target)
    (photos / "red").rename(tmp_path / "unmounted")
    save_image(photos / "blue/new.png", seed=77)
    extract(photos, target)
    (tmp_path / "unmounted").rename(photos / "red")
    extract(photos, target)
    contents, _ = read(target)
    arrivals = dict(zip(contents.images.paths, contents.arrivals.tolist(), strict=True))
    assert arrivals.pop("blue/new.png") == 1
    assert set(arrivals.values()) == {0}


def test_data_set_of_which_nothing_can_be_used_is_an_error_and_leaves_nothing(tmp_path, target):
    (tmp_path / "d" / "a").mkdir(parents=True)
    (tmp_path / "d" / "a" / "1.png").write_bytes(b"no")
    with pytest.raises(DatasetError, match="Not one of the 1 images"):
        extract(tmp_path / "d", target)
    assert not target.exists()


def test_file_of_another_data_set_is_refused_unless_it_was_moved(photos, target, tmp_path):
    extract(photos, target)
    photos.rename(tmp_path / "elsewhere")
    with pytest.raises(FeatureFileError, match="`moved=True`"):
        extract(tmp_path / "elsewhere", target)
    _, stand_in = extract(tmp_path / "elsewhere", target, moved=True)
    assert stand_in.n_calls == 0
    assert read(target)[0].data_root == str(tmp_path / "elsewhere")


def test_probes_are_decoded_images_of_their_rows(photos, target):
    extract(photos, target)
    contents, features = read(target)
    assert len(contents.probe_rows) == 8
    np.testing.assert_array_equal(StandIn()(contents.probe_pixels), features[contents.probe_rows])


def test_too_little_room_is_said_before_anything_is_computed(photos, target, monkeypatch):
    monkeypatch.setattr("pipeline.features.room.free_bytes", lambda folder: 100)
    with pytest.raises(StorageError, match=r"Not enough room.*Received: 0\.00 MB"):
        extract(photos, target)
    assert [path.name for path in target.parent.iterdir()] == [f".{target.name}.lock"]


@pytest.mark.usefixtures("stand_in_backbone")
def test_a_small_file_is_not_said_to_take_no_room(tmp_path):
    make_photos(tmp_path / "photos", n_per_class=1)
    command = ("extract", tmp_path / "photos", "--weights", "random", "--output", "f.h5")
    outcome = call(*command, "--image-size", 32)
    assert outcome.exit_code == 0, outcome.stderr
    assert "The file will take less than 0.1 MB, and" in outcome.stderr
    assert " 0.0 MB" not in outcome.stderr


@pytest.mark.usefixtures("stand_in_backbone")
def test_a_seed_without_random_weights_is_said_to_change_nothing(photos):
    command = ("extract", photos, "--backbone", "efficientnet-lite0", "--image-size", 32)
    outcome = call(*command, "--seed", 3)
    assert outcome.exit_code == 0, outcome.stderr
    assert "--seed 3 changes nothing: it draws random weights (--weights random)" in outcome.stderr
    assert "changes nothing" not in call(*command).stderr
    assert "changes nothing" not in call(*command, "--weights", "random", "--seed", 3).stderr


@pytest.mark.usefixtures("stand_in_backbone")
def test_the_size_of_the_file_is_foretold(tmp_path):
    """Its probes are most of a small file: eight images of 192 x 192 x 3 bytes."""
    make_photos(tmp_path / "photos", n_per_class=4)
    command = ("extract", tmp_path / "photos", "--weights", "random", "--output", "f.h5")
    outcome = call(*command, "--image-size", 192)
    said = float(re.search(r"The file will take about ([\d.]+) MB", outcome.stderr)[1])
    assert said == pytest.approx((tmp_path / "f.h5").stat().st_size / 1e6, abs=0.1)
    assert said > 0.8


@pytest.mark.usefixtures("stand_in_backbone")
def test_an_image_size_that_leaves_nothing_to_see_is_named(photos):
    command = ("extract", photos, "--backbone", "efficientnet-lite0", "--weights", "random")
    said = "--image-size 10 leaves little of an image to see, so scores may be poor. efficientnet"
    assert said in call(*command, "--image-size", 10).stderr
    assert "leaves little" not in call(*command, "--image-size", 32).stderr
