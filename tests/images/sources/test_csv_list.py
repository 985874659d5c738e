import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import call, make_photos, run_as_nobody, save_image

from benchmarks.stand_in import RECIPE
from pipeline.errors import DatasetError
from pipeline.images.dataset import scan_dataset
from pipeline.images.decoding.read_images import read_image

LITE0 = ("--backbone", "efficientnet-lite0", "--image-size", 32, "--weights", "random")


@pytest.fixture
def table(tmp_path):
    """A function that writes lists/labels.csv beside lists/photos/."""
    make_photos(tmp_path / "lists" / "photos", n_per_class=2)

    def write(*lines, encoding="utf-8", name="labels.csv"):
        path = tmp_path / "lists" / name
        text = "\n".join(lines) + "\n"
        path.write_bytes(text.encode(encoding, "surrogateescape"))
        return path

    return write


def rows(dataset):
    return [
        (path, dataset.class_names[label] if label >= 0 else None, split)
        for path, label, split in zip(
            dataset.paths, dataset.labels.tolist(), dataset.splits.tolist(), strict=True
        )
    ]


def test_columns_are_found_by_name_and_paths_are_relative_to_the_csv(table):
    path = table(
        "split, Label ,id,PATH",
        "train,warm,7,photos/red/000.png",
        "test,cold,8,./photos/blue/001.png",
        "Validation,cold,9,photos/blue/000.png",
        ",warm,10,photos/red/001.png",
    )
    dataset = scan_dataset(path)
    assert rows(dataset) == [
        ("photos/blue/000.png", "cold", 1),
        ("photos/blue/001.png", "cold", 2),
        ("photos/red/000.png", "warm", 0),
        ("photos/red/001.png", "warm", -1),
    ]
    assert dataset.root == path.parent
    assert dataset.name == "labels-lists"
    assert dataset.sizes.tolist() == [(path.parent / p).stat().st_size for p in dataset.paths]


def test_without_labels_images_are_unlabelled(table):
    dataset = scan_dataset(table("path", "photos/red/000.png"))
    assert rows(dataset) == [("photos/red/000.png", None, -1)]
    half = scan_dataset(table("path,label", "photos/red/000.png,", "photos/red/001.png,warm"))
    assert rows(half)[0] == ("photos/red/000.png", None, -1)
    assert "1 of 2 images have no label." in half.notes


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_spreadsheets_write_is_read(table, delimiter):
    lines = ["path,label", "photos/red/000.png,warm", "photos\\blue\\000.png,cold"]
    lines = [line.replace(",", delimiter) for line in lines]
    dataset = scan_dataset(table(*lines, "", encoding="utf-8-sig"))
    assert dataset.paths == ["photos/blue/000.png", "photos/red/000.png"]
    assert dataset.class_names == ["cold", "warm"]


def test_odd_file_names_survive(table, tmp_path):
    names = ["a, b.png", 'say "x".png', "two\nlines.png", " space .png", "caf\u00e9.png",
             os.fsdecode(b"stray\xff.png")]  # fmt: skip
    for number, name in enumerate(names):
        (tmp_path / "lists" / name).write_bytes(save_image(tmp_path / "x.png", number).read_bytes())
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    dataset = scan_dataset(table("path,label", *(f"{name},\u82b1" for name in quoted)))
    assert sorted(dataset.paths) == sorted(names)
    assert dataset.class_names == ["\u82b1"]
    assert all((dataset.root / path).is_file() for path in dataset.paths)


def test_all_wrong_lines_are_named_with_their_numbers(table):
    path = table(
        "path,label,split",
        "photos/red/000.png,warm,train",
        ",warm,train",
        "photos/red/001.png,warm",
        "",
        "photos/blue/000.png,cold,evaluation",
        '"photos/blue/001.png",cold,maybe',
        "photos/red/000.png,cold,train",
        "photos/red/000.png,warm,train",
    )
    with pytest.raises(DatasetError) as caught:
        scan_dataset(path)
    message = str(caught.value)
    for words in (
        "line 3: no path",
        "line 4: not as many values",
        "line 6: unknown split 'evaluation'",
        "line 7: unknown split 'maybe'",
        "line 8: photos/red/000.png is in line 2 already",
    ):
        assert words in message
    assert "line 9" not in message
    assert message.startswith("5 lines")


def test_line_numbers_count_the_lines_of_quoted_names(table):
    with pytest.raises(DatasetError, match="line 4: unknown split 'x'"):
        scan_dataset(table("path,label,split", '"two\nlines.png",a,train', "b.png,a,x"))


def test_repeated_lines_are_counted_once(table):
    line = "photos/red/000.png,warm"
    dataset = scan_dataset(table("path,label", line, line, line))
    assert len(dataset) == 1
    assert "Passed over 2 lines that repeat another one." in dataset.notes


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (
            ["picture,label", "a,b"],
            "(?s)with picture, label.*Rename the column that holds the paths",
        ),
        (["Datei;Klasse", "a.png;x"], "with Datei, Klasse\nColumn 'Datei' seems to hold the paths"),
        (["a.png;x", "b.png;y"], "an image already: put the line `path;label` above it"),
        (["x,a.png,train", "y,b.png,val"], "put the line `label,path,split` above it"),
        (["path,label", "x,photos/red/000.png", "x,b.png"], "swap the two names in the first line"),
        (["path,path", "a,b"], "once each"),
        ([""], "an empty first line\nBegin it with the line `path,label`"),
        (["path,label"], "it has a header and no lines"),
        (["path,label", '"a"b,c'], "This is no CSV: .* from line 2 on"),
        (
            ["path,label", os.fsdecode(b"a.png,caf\xe9")],
            "(?s)line 2: its label is not UTF-8.*`CSV UTF-8`",
        ),
    ],
)
def test_what_is_no_list_is_refused(table, lines, match):
    with pytest.raises(DatasetError, match=match):
        scan_dataset(table(*lines))


def test_what_a_german_spreadsheet_writes_is_refused_with_the_way_out(table):
    path = table("path;label", "photos/red/000.png;g\u00e4nse", encoding="cp1252")
    with pytest.raises(DatasetError, match=r"(?s)1 line of .*in a spreadsheet .* `CSV UTF-8`"):
        scan_dataset(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused_with_the_way_out(table, encoding):
    path = table("path,label", "photos/red/000.png,warm", encoding=encoding)
    with pytest.raises(DatasetError, match=r"This list is UTF-16\. (.|\n)*Save it as UTF-8"):
        scan_dataset(path)


def test_endless_first_line_is_no_csv(table):
    with pytest.raises(DatasetError, match=r"This is no CSV: field larger .* from line 1 on"):
        scan_dataset(table("x" * 200_000, "photos/red/000.png"))


def test_path_that_no_file_can_have_is_skipped_with_that_reason(table):
    dataset = scan_dataset(table("path,label", "photos/red/000.png,warm", f"{'x' * 300}.png,cold"))
    assert dataset.paths == ["photos/red/000.png", f"{'x' * 300}.png"]
    _, reason = read_image(dataset.root / dataset.paths[1], RECIPE)
    assert reason == "cannot be read: File name too long"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_path_into_a_folder_of_another_user_is_skipped_with_that_reason(table, tmp_path):
    path = table("path,label", "photos/red/000.png,warm", "photos/blue/000.png,cold")
    (tmp_path / "lists/photos/red").chmod(0o000)

    def read():
        dataset = scan_dataset(path)
        return [read_image(dataset.root / name, RECIPE)[1] for name in dataset.paths]

    blue, red = run_as_nobody(read, tmp_path)
    assert red == "cannot be read: Permission denied"
    assert blue.shape == (8, 8, 3)


def test_class_depth_of_a_list_is_refused(table):
    path = table("path,label", "photos/red/000.png,warm")
    outcome = call("extract", path, *LITE0, "--class-depth", 2)
    assert outcome.exit_code == 1
    assert "A CSV names the label of each image" in outcome.stderr
    assert "Received: --class-depth 2 for" in outcome.stderr


@pytest.mark.usefixtures("stand_in_backbone")
def test_a_list_goes_through_the_whole_job(table, fitted, tmp_path):
    lines = ["path,label,split"]
    for number in range(8):
        save_image(tmp_path / "lists" / f"{number}.png", number)
        label, split = ("warm", "cold")[number % 2], ("train", "val")[number // 4]
        lines.append(f"{number}.png,{label},{split}")
    lines += ["gone.png,warm,train", "photos,warm,train"]
    path = table(*lines)
    outcome = call("extract", path, *LITE0, "--output", "f.h5")
    assert outcome.exit_code == 0, outcome.stderr
    assert "8 computed, 2 skipped" in outcome.stderr
    assert "No such file" in outcome.stderr
    outcome = call("fit-head", "f.h5", "--output", "run", "--C", "1")
    assert outcome.exit_code == 0, outcome.stderr
    text = (tmp_path / "run/predictions.csv").read_text()
    assert text.count(",val,") == 4
    lines = ["photos/red/000.png,red,24", "photos/blue/000.png,blue,24"]
    some = table("path,label,width", *lines, lines[0], name="t.csv")
    outcome = call("evaluate", fitted, some, "--json")
    assert "Not used of t.csv: width." in outcome.stderr
    assert "Passed over 1 line that repeats another one." in outcome.stderr
    scores = json.loads(outcome.stdout)
    assert (scores["n_samples"], scores["accuracy"]) == (2, 1.0)


@pytest.mark.usefixtures("stand_in_backbone")
def test_a_list_gives_its_name_to_what_is_made_of_it(table, tmp_path, monkeypatch):
    lines = [f"photos/{colour}/00{n}.png,{colour}" for colour in ("red", "blue") for n in (0, 1)]
    table("path,label", *lines, name="merged.csv")
    monkeypatch.chdir(tmp_path / "lists")
    outcome = call("extract", "merged.csv", *LITE0)
    assert "merged.csv: 4 images, 2 classes\n" in outcome.stderr
    (file,) = (tmp_path / "lists").glob("cache/merged*.h5")  # as people look for it
    assert outcome.stdout == f"cache/{file.name}\n"
    assert file.name.startswith("merged-lists-efficientnet-lite0-")
    outcome = call("fit-head", file, "--C", 1, "--val-fraction", 0.5)
    assert outcome.exit_code == 0, outcome.stderr
    assert Path("runs/merged-lists-efficientnet-lite0-logreg-1").is_dir()


def test_large_list_is_read_in_order(table):
    names = [f"{n:05d}.png" for n in range(20_000)]
    order = np.random.default_rng(0).permutation(len(names))
    dataset = scan_dataset(table("path,label", *(f"{names[i]},c{i % 7}" for i in order)))
    assert dataset.paths == names
    assert dataset.labels[:8].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]


def test_long_lists_and_large_folders_tell_how_far_they_are_read(tmp_path):
    told = []
    (tmp_path / "list.csv").write_text(
        "path,label\n" + "".join(f"{number}.png,a\n" for number in range(2500))
    )
    scan_dataset(tmp_path / "list.csv", on_progress=lambda *facts: told.append(facts))
    assert told == [("Reading the list", 1000, 0), ("Reading the list", 2000, 0)]
    (tmp_path / "folder" / "a").mkdir(parents=True)
    for number in range(1001):
        (tmp_path / "folder" / "a" / f"{number}.png").write_bytes(b"x")
    told.clear()
    scan_dataset(tmp_path / "folder", on_progress=lambda *facts: told.append(facts))
    assert told[-1] == ("Looking for images", 1000, 0)


def test_a_list_that_lies_elsewhere_is_said_to_lead_nowhere(table, tmp_path):
    path = table("path,label", "red/000.png,warm", "blue/000.png,cold")
    outcome = call("extract", path, *LITE0)
    assert outcome.exit_code == 1
    assert "Not one of the 2 files that this list names is there" in outcome.stderr
    assert f"Received: {path}, whose blue/000.png would be {path.parent / 'blue/000.png'}" in (
        outcome.stderr
    )


def test_a_list_with_a_header_alone_asks_for_lines(table):
    outcome = call("extract", table("path,label"))
    assert "Expected a line for each image." in outcome.stderr
    assert "archive" not in outcome.stderr


def test_a_list_that_is_not_called_csv_may_be_renamed(table):
    outcome = call("extract", table("path,label", "photos/red/000.png,warm", name="list.txt"))
    assert "give it a name that ends with .csv" in outcome.stderr
