"""Images that change, go or cannot be read any more while an extraction reads them.

Whenever it happens: the run ends well, each row is of the bytes whose digest stands beside it, the
next run makes it right, and nothing is left behind.
"""

import hashlib
import os

import numpy as np
import pytest
from conftest import make_photos, run_as_nobody, save_image
from PIL import Image

from benchmarks.stand_in import RECIPE, StandIn, extract
from pipeline.features import identify, update
from pipeline.features.feature_file import FeatureFile
from pipeline.images.dataset import scan_dataset
from pipeline.images.decoding.read_images import read_image_bytes

CULPRIT = "green/001.png"


def other_picture(path):
    save_image(path, seed=4711)


def other_picture_of_equal_size_and_time(path):
    before = path.stat()
    data = bytearray(path.read_bytes())
    other = bytearray(save_image(path.parent.parent.parent / "other.png", seed=4711).read_bytes())
    size = max(len(data), len(other))
    path.write_bytes(bytes(other).ljust(size, b"\0")[: before.st_size])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def remove(path):
    path.unlink()


def remove_folder(path):
    path.parent.rename(path.parents[2] / "away")


def cut(path):
    path.write_bytes(path.read_bytes()[:200])


def grow(path):
    path.write_bytes(path.read_bytes() + bytes(100_000))


def empty(path):
    path.write_bytes(b"")


def become_a_folder(path):
    path.unlink()
    path.mkdir()


def become_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def become_a_loop(path):
    path.unlink()
    path.symlink_to(path)


CHANGES = [
    *(other_picture, other_picture_of_equal_size_and_time, remove, remove_folder, cut, grow),
    *(empty, become_a_folder, become_a_pipe, become_a_loop),
]


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos", n_per_class=2)


def bytes_by_digest(root):
    files = [path for path in root.rglob("*.png") if path.is_file() and os.access(path, os.R_OK)]
    return {hashlib.sha256(path.read_bytes()).digest(): path.read_bytes() for path in files}


def require_rows_of_their_digests(target, known):
    with FeatureFile(target) as file:
        contents, features = file.contents, file.read_all()
    for digest, row in zip(contents.images.digests, features, strict=True):
        _, pixels = read_image_bytes(known[digest.tobytes()], RECIPE)
        np.testing.assert_array_equal(row, StandIn()(pixels[None])[0])
    for row, pixels in zip(contents.probe_rows, contents.probe_pixels, strict=True):
        data = known[contents.images.digests[row].tobytes()]
        np.testing.assert_array_equal(pixels, read_image_bytes(data, RECIPE)[1])
    return dict(zip(contents.images.paths, map(bytes, contents.images.digests), strict=True))


def change_at(moment, root, change, monkeypatch):
    """Lets an image change once: when all are listed, known by their bytes, or being computed."""
    is_done = []

    def once(*_):
        if not is_done:
            is_done.append(True)
            change(root / CULPRIT)

    def then(function, is_time=lambda *_: True):
        def call(*arguments, **options):
            result = function(*arguments, **options)
            if is_time(*arguments):
                once()
            return result

        return call

    if moment == "listed":
        monkeypatch.setattr("benchmarks.stand_in.scan_dataset", then(scan_dataset))
    elif moment == "known":
        monkeypatch.setattr(
            identify,
            "hash_image_file",
            then(identify.hash_image_file, lambda path, *_: path == root / CULPRIT),
        )
    elif moment == "all known":
        monkeypatch.setattr(update, "identify_images", then(identify.identify_images))
    else:
        monkeypatch.setattr(StandIn, "__call__", then(StandIn.__call__))
    return is_done


@pytest.mark.parametrize("moment", ["listed", "known", "all known", "computed"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_at_any_moment_gives_no_wrong_row(photos, tmp_path, monkeypatch, change, moment):
    target = tmp_path / "out" / "features.h5"
    known = bytes_by_digest(photos)
    with monkeypatch.context() as patch:
        is_done = change_at(moment, photos, change, patch)
        summary, _ = extract(photos, target)
    assert is_done
    known |= bytes_by_digest(photos)
    paths = require_rows_of_their_digests(target, known)
    skipped = dict(summary.skipped)
    assert {*paths} | {*skipped} == {
        f"{name}/{number:03d}.png" for name in ("blue", "green", "red") for number in range(2)
    }
    assert all(
        reason.startswith(("cannot be read: ", "it changed while", "truncated", "empty", "damaged"))
        for reason in skipped.values()
    )
    extract(photos, target)
    again = require_rows_of_their_digests(target, known)
    extract(photos, tmp_path / "fresh" / "features.h5")
    fresh = require_rows_of_their_digests(tmp_path / "fresh" / "features.h5", known)
    assert again == fresh
    assert [path.name for path in target.parent.glob("features.h5*")] == ["features.h5"]


def test_an_image_that_becomes_unreadable_is_skipped_and_comes_back(photos, tmp_path):
    def extract_twice():
        outcomes = []
        for mode in (0, 0o644):
            target = tmp_path / "out" / "features.h5"
            (photos / CULPRIT).chmod(mode)
            outcomes.append(dict(extract(photos, target)[0].skipped))
        return outcomes

    for path in (tmp_path, photos, *photos.rglob("*")):
        os.chown(path, 65534, 65534)
    first, second = run_as_nobody(extract_twice, photos)
    assert first == {CULPRIT: "cannot be read: Permission denied"}
    assert second == {}


def test_pictures_that_keep_changing_are_never_taken_for_one_another(photos, tmp_path, monkeypatch):
    """A folder that a camera writes into, so to speak: every image changes before it is decoded."""
    identify_images = identify.identify_images

    def change_all(*arguments, **options):
        identity = identify_images(*arguments, **options)
        for number, path in enumerate(sorted(photos.rglob("*.png"))):
            Image.new("RGB", (24, 24), (number, number, number)).save(path)
        return identity

    known = bytes_by_digest(photos)
    with monkeypatch.context() as patch:
        patch.setattr(update, "identify_images", change_all)
        with pytest.raises(Exception, match="it changed while it was being read"):
            extract(photos, tmp_path / "features.h5")
    extract(photos, tmp_path / "features.h5")
    known |= bytes_by_digest(photos)
    paths = require_rows_of_their_digests(tmp_path / "features.h5", known)
    assert len(paths) == 6
