import os

import numpy as np
import pytest
from conftest import call, make_photos, run_as_nobody, save_image
from PIL import Image

from pipeline.errors import DatasetError
from pipeline.images.dataset import expand_images, scan_dataset
from pipeline.images.dataset_notes import note_typos


def test_class_folders_become_sorted_paths_and_labels(tmp_path):
    make_photos(tmp_path, n_per_class=2)
    dataset = scan_dataset(tmp_path)
    assert dataset.class_names == ["blue", "green", "red"]
    assert dataset.paths == [f"{c}/{i:03d}.png" for c in ("blue", "green", "red") for i in (0, 1)]
    assert dataset.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert set(dataset.splits.tolist()) == {-1}
    assert dataset.sizes[0] == (tmp_path / "blue/000.png").stat().st_size


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("train", "valid", "test"),
        ("Training", "Validation", "Testing"),
        ("seg_train", "seg_val", "seg_test"),
        ("training_set", "validation_set", "test_set"),
    ],
)
def test_split_folders_are_known_by_their_common_names(tmp_path, names):
    for name in names:
        make_photos(tmp_path / name, n_per_class=1)
    dataset = scan_dataset(tmp_path)
    assert dataset.class_names == ["blue", "green", "red"]
    by_split = {
        path.split("/")[0]: s for path, s in zip(dataset.paths, dataset.splits, strict=True)
    }
    assert by_split == {name: split for split, name in enumerate(names)}


def test_doubled_split_folders_and_unlabelled_ones_beside_them(tmp_path):
    make_photos(tmp_path / "seg_train" / "seg_train", n_per_class=1)
    make_photos(tmp_path / "seg_test" / "seg_test", n_per_class=1)
    save_image(tmp_path / "seg_pred" / "seg_pred" / "1.png", 1)
    dataset = scan_dataset(tmp_path)
    assert dataset.class_names == ["blue", "green", "red"]
    assert sorted(set(dataset.splits.tolist())) == [0, 2]
    assert any("seg_pred" in note for note in dataset.notes)


def test_classes_named_like_splits_are_classes_when_others_are_not(tmp_path):
    make_photos(tmp_path, n_per_class=1, classes=("bus", "car", "train"))
    dataset = scan_dataset(tmp_path)
    assert dataset.class_names == ["bus", "car", "train"]
    assert set(dataset.splits.tolist()) == {-1}


def splits_of(dataset):
    """(path, class, split) of each image."""
    return [
        (path, dataset.class_names[label] if label >= 0 else None, split)
        for path, label, split in zip(
            dataset.paths, dataset.labels.tolist(), dataset.splits.tolist(), strict=True
        )
    ]


def test_folders_beside_the_splits_turn_no_split_into_a_class(tmp_path):
    for split in ("train", "val"):
        make_photos(tmp_path / split, n_per_class=1, classes=("cats", "dogs"))
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / "labels" / split / "000.txt").write_text("0 0.5 0.5 1 1")
    make_photos(tmp_path / "extra", n_per_class=1, classes=("cats", "dogs"))
    save_image(tmp_path / "contact-sheet.png", 1)
    dataset = scan_dataset(tmp_path)
    assert splits_of(dataset) == [
        ("train/cats/000.png", "cats", 0),
        ("train/dogs/000.png", "dogs", 0),
        ("val/cats/000.png", "cats", 1),
        ("val/dogs/000.png", "dogs", 1),
    ]
    assert dataset.notes == [
        "Left out extra/: its name is not that of a split (train, val, test).",
        "Left out labels/: no images in it.",
        "Passed over 1 image outside the split folders.",
    ]


def test_one_odd_folder_with_the_classes_of_train_is_no_class(tmp_path):
    for name in ("train", "extra"):
        make_photos(tmp_path / name, n_per_class=1, classes=("cats", "dogs"))
    assert [row[1:] for row in splits_of(scan_dataset(tmp_path))] == [("cats", 0), ("dogs", 0)]


def test_a_class_called_train_may_have_folders_as_the_other_classes_have(tmp_path):
    for name in ("bus", "car", "train"):
        make_photos(tmp_path / name, n_per_class=1, classes=("front", "side"))
    dataset = scan_dataset(tmp_path)
    assert dataset.class_names == ["bus", "car", "train"]
    assert set(dataset.splits.tolist()) == {-1}


def test_flat_split_folders_are_unlabelled_images_with_splits(tmp_path):
    save_image(tmp_path / "train" / "1.png", 1)
    save_image(tmp_path / "test" / "2.png", 2)
    (tmp_path / "labels" / "train").mkdir(parents=True)
    dataset = scan_dataset(tmp_path)
    assert splits_of(dataset) == [("test/2.png", None, 2), ("train/1.png", None, 0)]
    assert "2 of 2 images have no label." in dataset.notes


def test_other_files_are_passed_over_and_counted(tmp_path):
    make_photos(tmp_path, n_per_class=1)
    (tmp_path / "red" / "notes.txt").write_text("hello")
    (tmp_path / "red" / ".hidden.png").write_bytes(b"")
    (tmp_path / "red" / "Thumbs.db").write_bytes(b"")
    (tmp_path / ".git" / "x").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    dataset = scan_dataset(tmp_path)
    assert len(dataset) == 3
    assert dataset.class_names == ["blue", "green", "red"]
    notes = " ".join(dataset.notes)
    assert "1 .txt file, which" in notes
    assert "2 hidden files" in notes
    assert "empty/" in notes


def test_a_clock_that_was_centuries_wrong_hinders_nothing(tmp_path):
    make_photos(tmp_path, n_per_class=1)
    (tmp_path / "list.csv").write_text("path\nred/000.png\nblue/000.png\n")
    for path, year in (("red/000.png", 2300), ("blue/000.png", 1902)):
        seconds = (year - 1970) * 31_556_952
        os.utime(tmp_path / path, (seconds, seconds))
    for source in (tmp_path, tmp_path / "list.csv"):
        dataset = scan_dataset(source)
        mtimes = dict(zip(dataset.paths, dataset.mtimes.tolist(), strict=True))
        assert mtimes["blue/000.png"] < 0 < 2**62 < mtimes["red/000.png"]


def test_images_are_known_by_content_where_the_name_says_nothing(tmp_path):
    make_photos(tmp_path, n_per_class=1)
    (tmp_path / "red/000.png").rename(tmp_path / "red/000")
    (tmp_path / "red/README").write_text("no image")
    assert "red/000" in scan_dataset(tmp_path).paths
    assert "red/README" not in scan_dataset(tmp_path).paths


def test_unknown_extensions_are_candidates_and_files_without_one_unless_they_are_text(tmp_path):
    make_photos(tmp_path, n_per_class=1)
    (tmp_path / "red/README").write_text("photos by Zo\u00eb, " * 100)
    (tmp_path / "red/LICENSE").write_text("")
    (tmp_path / "red/half.part").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    (tmp_path / "red/text.p7").write_text("P7 332")
    (tmp_path / "red/unknown").write_bytes(bytes(range(256)))
    dataset = scan_dataset(tmp_path)
    assert [p for p in dataset.paths if p.startswith("red")] == [
        *("red/000.png", "red/half.part", "red/text.p7", "red/unknown"),
    ]
    assert "Passed over 2 unnamed files, which are not images." in dataset.notes


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000"])
def test_image_that_is_called_something_else_is_a_candidate(tmp_path, format_name):
    make_photos(tmp_path, n_per_class=1)
    with Image.open(tmp_path / "red/000.png") as image:
        image.save(tmp_path / "red/photo.pdf", format_name)
    (tmp_path / "red/bmw.txt").write_text("BMW builds cars." * 9)
    (tmp_path / "red/list.csv").write_text("P3 1 1 255")
    (tmp_path / "red/real.pdf").write_bytes(b"%PDF-1.7\n")
    (tmp_path / "red/sound.wav").write_bytes(b"RIFF\0\0\0\0WAVEfmt ")
    (tmp_path / "red/film.mp4").write_bytes(b"\0\0\0\x20ftypisom\0\0\2\0")
    (tmp_path / "red/empty.txt").write_bytes(b"")
    dataset = scan_dataset(tmp_path)
    assert [p for p in dataset.paths if p.startswith("red")] == ["red/000.png", "red/photo.pdf"]
    assert "Passed over 1 .pdf file, which is not an image." in dataset.notes


def test_classes_further_down_are_found_by_their_depth(tmp_path):
    for name in ("cats/persian/1.jpg", "cats/siam/1.jpg", "cats/siam/kittens/2.jpg",
                 "dogs/siam/1.jpg"):  # fmt: skip
        save_image(tmp_path / name, len(name))
    save_image(tmp_path / "cats/loose.jpg", 1)
    save_image(tmp_path / "top.jpg", 2)
    assert scan_dataset(tmp_path).class_names == ["cats", "dogs"]
    dataset = scan_dataset(tmp_path, class_depth=2)
    assert dataset.class_names == ["cats/persian", "cats/siam", "dogs/siam"]
    assert [dataset.class_names[label] for label in dataset.labels] == [
        *("cats/persian", "cats/siam", "cats/siam", "dogs/siam"),
    ]
    assert "Passed over 1 image outside the class folders, in cats/." in dataset.notes
    assert "Passed over 1 image outside the class folders, in ./." in dataset.notes
    with pytest.raises(DatasetError, match="`class_depth=4`"):
        scan_dataset(tmp_path, class_depth=4)


def test_depth_counts_from_the_split_folders(tmp_path):
    for split in ("train", "val"):
        save_image(tmp_path / split / "cats" / "siam" / "1.jpg", len(split))
    dataset = scan_dataset(tmp_path, class_depth=2)
    assert dataset.class_names == ["cats/siam"]
    assert sorted(dataset.splits.tolist()) == [0, 1]


@pytest.mark.parametrize("names", [("Cat", "cat"), ("caf\u00e9", "cafe\u0301"), ("cat", "cat ")])
def test_classes_that_people_would_take_for_one_are_two_and_said(tmp_path, names):
    make_photos(tmp_path, n_per_class=1, classes=(*names, "dog"))
    dataset = scan_dataset(tmp_path)
    assert dataset.class_names == sorted([*names, "dog"])
    (note,) = (note for note in dataset.notes if "two classes" in note)
    assert all(repr(name) in note for name in names)


def test_links_to_images_and_folders_are_followed(tmp_path):
    make_photos(tmp_path / "store", n_per_class=2)
    root = tmp_path / "data"
    (root / "red").mkdir(parents=True)
    (root / "red" / "a.png").symlink_to(tmp_path / "store/red/000.png")
    (root / "blue").symlink_to(tmp_path / "store/blue")
    (root / "red" / "broken.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(root / "red" / "pipe.png")
    dataset = scan_dataset(root)
    assert dataset.paths == ["blue/000.png", "blue/001.png", "red/a.png"]
    assert "Passed over 2 broken links and special files." in dataset.notes


def test_what_operating_systems_leave_behind_is_passed_over(tmp_path):
    make_photos(tmp_path, n_per_class=1)
    for name in ("__MACOSX/red/._000.png", "red/@eaDir/000.png", "red/.DS_Store", "red/Thumbs.db",
                 "$RECYCLE.BIN/1.png", "red/desktop.ini", ".git/x.png"):  # fmt: skip
        save_image(tmp_path / "x.png", 1).rename(_made(tmp_path / name))
    dataset = scan_dataset(tmp_path)
    assert dataset.class_names == ["blue", "green", "red"]
    assert len(dataset) == 3
    assert "Passed over 3 hidden files." in dataset.notes
    assert "Passed over 4 hidden folders." in dataset.notes


def _made(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_folder_that_cannot_be_listed_is_named_and_the_rest_goes_on(tmp_path, monkeypatch):
    make_photos(tmp_path, n_per_class=1)
    scandir = os.scandir

    def deny(folder):
        if os.path.basename(folder) == "red":  # noqa: PTH119
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", deny)
    dataset = scan_dataset(tmp_path)
    assert dataset.class_names == ["blue", "green"]
    assert any("red" in note and "Permission denied" in note for note in dataset.notes)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("closed", ["red", "train", "train/red"])
def test_folder_of_another_user_is_named_and_the_rest_goes_on(tmp_path, closed):
    root = tmp_path / "data"
    for place in [root] if closed == "red" else [root / "train", root / "val"]:
        make_photos(place, n_per_class=1)
    (root / closed).chmod(0o000)
    dataset = run_as_nobody(lambda: scan_dataset(root), tmp_path)
    n_lost = 3 if closed == "train" else 1
    assert len(dataset) == (3 if closed == "red" else 6) - n_lost
    assert not any(path.startswith(closed) for path in dataset.paths)
    words = f"Left out {root / closed}/: it cannot be listed: Permission denied."
    assert dataset.notes.count(words) == 1
    images, notes = run_as_nobody(lambda: expand_images([root]), tmp_path)
    assert [root / path for path in dataset.paths] == images
    assert notes == [words]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("find", [scan_dataset, lambda path: expand_images([path])])
def test_data_set_of_another_user_is_an_error_that_says_why(tmp_path, find):
    make_photos(tmp_path / "data" / "photos", n_per_class=1)
    (tmp_path / "data").chmod(0o000)
    for path, words in (
        (tmp_path / "data", "it cannot be listed: Permission denied"),
        (tmp_path / "data" / "photos", "This path cannot be read: Permission denied"),
    ):
        with pytest.raises(DatasetError, match=words):
            run_as_nobody(lambda path=path: find(path), tmp_path)


def test_path_too_long_for_any_file_is_an_error_that_says_why():
    for command in (("extract",), ("fetch",)):
        for name in ("x" * 300, "x" * 300 + ".zip"):
            outcome = call(*command, name)
            assert outcome.exit_code == 1
            assert "Expected" in outcome.stderr
    with pytest.raises(DatasetError, match="File name too long"):
        scan_dataset("x" * 300)


def test_unlabelled_test_folder_beside_labelled_ones_is_named_and_left_out(tmp_path):
    make_photos(tmp_path / "train", n_per_class=1)
    save_image(tmp_path / "test" / "1.png", 1)
    dataset = scan_dataset(tmp_path)
    assert len(dataset) == 3
    assert "Left out test/: no class folders in it." in dataset.notes


def test_file_names_with_stray_bytes_survive(tmp_path):
    make_photos(tmp_path, n_per_class=1)
    name = os.fsdecode("caf\u00e9 'x' \n".encode() + b"\xff.png")
    (tmp_path / "red/000.png").rename(tmp_path / "red" / name)
    path = next(p for p in scan_dataset(tmp_path).paths if p.startswith("red/"))
    assert (tmp_path / path).is_file()


def test_link_that_leads_back_up_does_not_end_in_a_circle(tmp_path):
    make_photos(tmp_path, n_per_class=1)
    (tmp_path / "red" / "again").symlink_to(tmp_path / "red")
    dataset = scan_dataset(tmp_path)
    assert len(dataset) == 3
    assert any("leads back" in note for note in dataset.notes)


@pytest.mark.parametrize("target", [".", "..", "../..", "red"])
def test_link_to_the_data_set_itself_gives_no_image_another_class(tmp_path, target):
    root = make_photos(tmp_path / "store" / "photos", n_per_class=1)
    save_image(tmp_path / "store" / "elsewhere.png", 1)
    link = root / "red" / "up"
    link.symlink_to(os.path.relpath(root / target, link.parent))
    (tmp_path / "link").symlink_to(root)
    for place in (root, tmp_path / "link"):
        dataset = scan_dataset(place)
        assert dataset.paths == [f"{name}/000.png" for name in ("blue", "green", "red")]
        (note,) = dataset.notes
        assert note == "Passed over 1 link that leads back to a folder above it."
        assert len(expand_images([place])[0]) == 3


@pytest.mark.parametrize("link", ["cats/loop", "cats/siam/loop"])
@pytest.mark.parametrize("depth", [2, 3, 9])
def test_link_that_leads_back_up_makes_no_class_further_down(tmp_path, link, depth):
    prefix = "".join(f"{letter}/" for letter in "abcdefg"[: depth - 2])
    place = tmp_path / prefix
    save_image(place / "cats/siam/1.png", 1)
    save_image(place / "dogs/husky/1.png", 2)
    (place / link).symlink_to("..")
    dataset = scan_dataset(tmp_path, class_depth=depth)
    assert dataset.class_names == [f"{prefix}cats/siam", f"{prefix}dogs/husky"]
    assert len(dataset) == 2
    assert dataset.notes == ["Passed over 1 link that leads back to a folder above it."]


def test_link_loop_has_no_classes_deeper_than_its_folders(tmp_path):
    save_image(tmp_path / "a" / "1.png", 1)
    (tmp_path / "a" / "loop").symlink_to("..")
    with pytest.raises(DatasetError, match="1 links that lead back"):
        scan_dataset(tmp_path, class_depth=9)


def test_link_to_a_split_folder_above_gives_no_image_another_class(tmp_path):
    for split in ("train", "val"):
        make_photos(tmp_path / split, n_per_class=1)
    (tmp_path / "train" / "red" / "up").symlink_to(tmp_path / "train")
    assert len(scan_dataset(tmp_path)) == 6


def test_flat_folder_is_unlabelled(tmp_path):
    save_image(tmp_path / "a.png", 1)
    dataset = scan_dataset(tmp_path)
    assert dataset.labels.tolist() == [-1]
    assert dataset.class_names == []


def test_limit_keeps_every_class_in_its_share(tmp_path):
    make_photos(tmp_path, n_per_class=10)
    assert np.bincount(scan_dataset(tmp_path).limited(6).labels).tolist() == [2, 2, 2]


def test_expanding_a_folder_finds_images_at_any_depth(tmp_path):
    save_image(tmp_path / "x" / "y" / "a.png", 1)
    save_image(tmp_path / "b.png", 2)
    (tmp_path / "x" / "notes.txt").write_text("hello")
    images, notes = expand_images([tmp_path, tmp_path / "b.png"])
    assert images == [tmp_path / "b.png", tmp_path / "x/y/a.png", tmp_path / "b.png"]
    assert notes == ["Passed over 1 .txt file, which is not an image."]
    with pytest.raises(DatasetError, match="no such folder or file"):
        expand_images([tmp_path / "c.png"])


def test_one_of_a_kind_that_is_passed_over_is_told_in_the_singular(tmp_path):
    make_photos(tmp_path, n_per_class=1)
    (tmp_path / "red" / ".hidden").write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / "red" / "README").write_text("x")
    (tmp_path / "red" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    passed_over = [note for note in scan_dataset(tmp_path).notes if note.startswith("Passed over")]
    assert sorted(passed_over) == [
        "Passed over 1 broken link or special file.",
        "Passed over 1 hidden file.",
        "Passed over 1 hidden folder.",
        "Passed over 1 unnamed file, which is not an image.",
    ]


def test_a_small_class_that_is_called_almost_like_a_large_one_is_a_slip():
    notes = note_typos(["cat", "cats", "dgos", "dogs"], [1, 40, 2, 35])
    assert notes == [
        "Class 'cat' has 1 image. Did you mean 'cats', which has 40?",
        "Class 'dgos' has 2 images. Did you mean 'dogs', which has 35?",
    ]


def test_names_that_are_far_apart_or_differ_in_digits_or_case_alone_are_no_slips():
    assert note_typos(["ant", "cats", "dogs"], [1, 40, 35]) == []
    assert note_typos(["n01440764", "n01440765"], [2, 40]) == []
    assert note_typos(["Cats", "cats"], [2, 40]) == []  # which is said otherwise
    assert note_typos(["cat", "cats"], [20, 40]) == []


def test_extract_names_the_class_that_was_meant(tmp_path):
    make_photos(tmp_path / "d", n_per_class=16, classes=("dogs", "cats"))
    make_photos(tmp_path / "d", n_per_class=1, classes=("dgos",))
    assert any("Did you mean 'dogs'" in note for note in scan_dataset(tmp_path / "d").notes)
