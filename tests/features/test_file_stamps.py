"""What extract takes for an unchanged file, and what it finds out of one that looks unchanged."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from benchmarks.stand_in import extract
from pipeline.features import feature_file, identify
from pipeline.features.feature_file import FeatureFile
from pipeline.features.file_stamps import Stamps, find_unchanged, no_stamps

TIME = 1_600_000_000


def make_bmp(path, colour):
    """Files of equal size, whatever is in them, and of equal time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), colour).save(path)
    os.utime(path, (TIME, TIME))


@pytest.fixture
def bitmaps(tmp_path):
    for name, colour in (("a/1", "red"), ("a/2", "green"), ("b/1", "blue"), ("b/2", "white")):
        make_bmp(tmp_path / f"bitmaps/{name}.bmp", colour)
    return tmp_path / "bitmaps"


@pytest.fixture
def read_files(monkeypatch):
    """The names of the files that are read to be known, as a list that grows."""
    names = []
    hash_image_file = identify.hash_image_file

    def note(path, *rest):
        names.append(path.relative_to(path.parent.parent).as_posix())
        return hash_image_file(path, *rest)

    monkeypatch.setattr(identify, "hash_image_file", note)
    return names


def rows_by_path(target):
    with FeatureFile(target) as file:
        return dict(zip(file.contents.images.paths, file.read_all().tolist(), strict=True))


def require_right(bitmaps, target, tmp_path):
    """The rows are those of an extraction that begins anew."""
    extract(bitmaps, tmp_path / "fresh" / "features.h5", reuse=False)
    assert rows_by_path(target) == rows_by_path(tmp_path / "fresh" / "features.h5")


def swap(bitmaps):
    first, second = bitmaps / "a/1.bmp", bitmaps / "b/1.bmp"
    first.rename(bitmaps / "away")
    second.rename(first)
    (bitmaps / "away").rename(second)


def overwrite(bitmaps):
    make_bmp(bitmaps / "a/1.bmp", "black")


def copy_over(bitmaps):
    make_bmp(bitmaps.parent / "new.bmp", "black")
    shutil.copy2(bitmaps.parent / "new.bmp", bitmaps / "a/1.bmp")


def move_over(bitmaps):
    make_bmp(bitmaps.parent / "new.bmp", "black")
    (bitmaps.parent / "new.bmp").rename(bitmaps / "a/1.bmp")


def link_to_another(bitmaps):
    make_bmp(bitmaps.parent / "new.bmp", "black")
    (bitmaps / "a/1.bmp").unlink()
    (bitmaps / "a/1.bmp").symlink_to(bitmaps.parent / "new.bmp")


@pytest.mark.parametrize("change", [swap, overwrite, copy_over, move_over, link_to_another])
def test_other_content_of_equal_size_and_time_is_found(bitmaps, tmp_path, change):
    target = tmp_path / "features.h5"
    extract(bitmaps, target)
    sizes = {path: path.stat().st_size for path in bitmaps.rglob("*.bmp")}
    change(bitmaps)
    assert {path: path.stat().st_size for path in bitmaps.rglob("*.bmp")} == sizes
    assert {path.stat().st_mtime for path in bitmaps.rglob("*.bmp")} == {TIME}
    extract(bitmaps, target)
    require_right(bitmaps, target, tmp_path)


def test_only_files_whose_stamps_changed_are_read_again(bitmaps, tmp_path, read_files):
    target = tmp_path / "features.h5"
    extract(bitmaps, target)
    assert len(read_files) == 4
    read_files.clear()
    assert extract(bitmaps, target)[0].is_unchanged
    assert read_files == []
    (bitmaps / "b/2.bmp").chmod(0o600)
    summary, stand_in = extract(bitmaps, target)
    assert (read_files, stand_in.n_calls, summary.kept) == (["b/2.bmp"], 0, 4)
    read_files.clear()
    assert extract(bitmaps, target)[0].is_unchanged
    assert read_files == []
    extract(bitmaps, target, rehash=True)
    assert len(read_files) == 4


def test_a_file_from_before_there_were_stamps_costs_nothing_and_gets_them(
    bitmaps, tmp_path, read_files, monkeypatch
):
    target = tmp_path / "features.h5"

    def write_without(group, images):
        write(group, images)
        del group["ctime_ns"], group["inode"]

    write = feature_file.write_images
    with monkeypatch.context() as patch:
        patch.setattr(feature_file, "write_images", write_without)
        extract(bitmaps, target)
    read_files.clear()
    summary, stand_in = extract(bitmaps, target)
    assert (read_files, stand_in.n_calls, summary.kept) == ([], 0, 4)
    swap(bitmaps)
    extract(bitmaps, target)
    require_right(bitmaps, target, tmp_path)


def stamps(ctimes, inodes):
    return Stamps(np.array(ctimes, np.int64), np.array(inodes, np.uint64))


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (([1, 2, 3], [7, 8, 9]), ([1, 2, 3], [7, 8, 9]), [True, True, True]),
        (([1, 2, 3], [7, 8, 9]), ([1, 5, 3], [7, 8, 9]), [True, False, True]),
        (([4, 4, 4], [7, 8, 9]), ([4, 4, 4], [8, 7, 9]), [False, False, True]),
        (([1, 2, 3], [7, 8, 9]), ([1, 2, 3], [17, 18, 19]), [True, True, True]),  # a new mount
        (([1, 2, 3], [7, 8, 9]), ([1, 5, 3], [17, 18, 19]), [False, False, False]),
        (([0, 4, 3], [0, 8, 9]), ([1, 4, 3], [7, 8, 5]), [True, True, False]),
        (([1], [2**64 - 1]), ([1], [2**64 - 1]), [True]),
    ],
)
def test_stamps_that_differ_in_ctime_or_inode_are_of_changed_files(before, now, expected):
    assert find_unchanged(stamps(*before), stamps(*now)).tolist() == expected


def test_nothing_is_unchanged_in_an_empty_data_set():
    assert find_unchanged(no_stamps(0), no_stamps(0)).tolist() == []
