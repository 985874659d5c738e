"""Which column of a list is which: by the names that people use, never in silence."""

import csv
import io
import os
import stat

import pytest
from conftest import call, make_photos
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import DatasetError
from pipeline.images.dataset import scan_dataset

TRAIN, VAL, TEST = 0, 1, 2
NAMES = ["blue/000.png", "blue/001.png", "green/000.png", "green/001.png", "red/000.png"]


@pytest.fixture
def write(tmp_path):
    """A function that writes a list of values beside photos, a line for each list."""
    make_photos(tmp_path, n_per_class=2)

    def write(*lines, name="list.csv"):
        path = tmp_path / name
        path.write_text("".join(f"{','.join(map(str, line))}\n" for line in lines))
        return path

    return write


def splits_by_name(path, column, words):
    """The split that each word gives, in a list with the column."""
    lines = [[name, "x", word] for name, word in zip(NAMES, words, strict=False)]
    dataset = scan_dataset(path(["path", "label", column], *lines))
    return dataset.splits.tolist(), " ".join(dataset.notes)


@pytest.mark.parametrize(
    ("column", "words", "expected"),
    [
        ("is_valid", ["True", "False", "true", ""], [VAL, TRAIN, VAL, -1]),
        ("is_valid", ["1", "0", "1.0", "0.0"], [VAL, TRAIN, VAL, TRAIN]),
        ("Is Valid", ["yes", "no", "Y", "n"], [VAL, TRAIN, VAL, TRAIN]),
        ("is_test", ["1", "0"], [TEST, TRAIN]),
        ("is_train", ["1", "0"], [TRAIN, TEST]),
        ("test", ["TRUE", "FALSE"], [TEST, TRAIN]),
        ("subset", ["train", "valid", "test"], [TRAIN, VAL, TEST]),
        ("set", ["training", "dev", "testing", ""], [TRAIN, VAL, TEST, -1]),
        ("fold", ["train", "val"], [TRAIN, VAL]),
        ("partition", ["Train", "Validation"], [TRAIN, VAL]),
        ("phase", ["train", "eval"], [TRAIN, VAL]),
    ],
)
def test_splits_are_understood_by_the_names_of_their_columns(write, column, words, expected):
    splits, notes = splits_by_name(write, column, words)
    assert splits == expected
    assert f"Column {column!r} was taken for the split" in notes
    assert "Not used" not in notes


def test_what_true_and_false_of_a_column_mean_is_said(write):
    _, notes = splits_by_name(write, "is_valid", ["1", "0"])
    assert "images where it is true are for val, where it is false for train." in notes
    _, notes = splits_by_name(write, "is_train", ["1", "0"])
    assert "images where it is true are for train, where it is false for test." in notes


def test_several_columns_of_true_and_false_divide_together(write):
    path = write(
        ["path", "label", "is_train", "is_val", "is_test"],
        *([name, "x", *bits] for name, bits in zip(NAMES[:3], ("100", "010", "001"), strict=True)),
    )
    assert scan_dataset(path).splits.tolist() == [TRAIN, VAL, TEST]
    path = write(["path", "label", "is_valid", "is_test"], [NAMES[0], "x", 1, 1])
    with pytest.raises(DatasetError, match="line 2: it is in val and in test at once"):
        scan_dataset(path)
    path = write(["path", "label", "is_valid"], [NAMES[0], "x", "maybe"])
    with pytest.raises(DatasetError, match="line 2: 'is_valid' is neither true nor false: 'maybe'"):
        scan_dataset(path)


def test_numbers_of_folds_are_no_division_and_said(write):
    splits, notes = splits_by_name(write, "fold", ["0", "1", "2", "3", "4"])
    assert splits == [-1] * 5
    assert "'fold' numbers folds (0, 1, 2, 3, 4), which is no division into train and val" in notes
    assert "Not used of list.csv: fold." in notes


def test_numbers_that_may_mean_any_split_are_an_error(write):
    with pytest.raises(DatasetError, match="unknown split '0' in column 'partition'"):
        splits_by_name(write, "partition", ["0", "1", "2"])


def test_words_of_another_kind_are_no_splits_and_the_column_is_named(write):
    splits, notes = splits_by_name(write, "set", ["summer", "winter"])
    assert splits == [-1, -1]
    assert "Not used of list.csv: set." in notes
    with pytest.raises(DatasetError, match="line 3: unknown split 'extra' in column 'set'"):
        splits_by_name(write, "set", ["train", "extra"])


def test_two_columns_that_may_be_the_split_are_an_error_that_names_both(write):
    path = write(["path", "label", "set", "is_valid"], [NAMES[0], "x", "train", 1])
    with pytest.raises(DatasetError, match=r"(?s)which column holds the split.*set, is_valid"):
        scan_dataset(path)
    path = write(["path", "label", "split", "is_valid"], [NAMES[0], "x", "train", 1])
    dataset = scan_dataset(path)
    assert dataset.splits.tolist() == [TRAIN]
    assert "Not used of list.csv: is_valid." in dataset.notes


@pytest.mark.parametrize("column", ["class", "Class Name", "labels", "category", "target"])
def test_labels_are_understood_by_the_names_of_their_columns(write, column):
    path = write(["image_id", column, "split"], [NAMES[0], "cold", "train"])
    dataset = scan_dataset(path)
    assert dataset.class_names == ["cold"]
    assert f"Column {column!r} was taken for the label." in dataset.notes
    assert "Column 'image_id' was taken for the path." in dataset.notes


def test_labels_that_cannot_be_found_are_an_error_that_lists_the_columns(write):
    path = write(["path", "species", "split"], [NAMES[0], "cold", "train"])
    outcome = call("extract", path)
    assert outcome.exit_code == 1
    assert "does not say which column holds the labels" in outcome.stderr
    assert "list.csv with path, species, split\n" in outcome.stderr
    assert "--label-from" in outcome.stderr
    path = write(["path", "class", "category"], [NAMES[0], "cold", "blue"])
    with pytest.raises(DatasetError, match=r"(?s)which column holds the label.*class, category"):
        scan_dataset(path)


def test_every_column_that_is_not_used_is_named(write):
    path = write(["", "path", "width", "label", "label_id"], [0, NAMES[0], 24, "x", 7])
    assert "Not used of list.csv: (no name), width, label_id." in scan_dataset(path).notes


@pytest.mark.parametrize("label", ["daisy|a", "['daisy', 'a']", "daisy;a", "a; daisy"])
def test_several_labels_in_a_cell_are_refused_with_column_and_cell(write, label):
    quoted = f'"{label}"'
    path = write(
        ["path", "class"], [NAMES[0], "daisy"], [NAMES[1], "a"], [NAMES[2], quoted],
    )  # fmt: skip
    with pytest.raises(DatasetError) as caught:
        scan_dataset(path)
    message = str(caught.value)
    assert "Column 'class' holds several labels in a cell" in message
    assert f"Received: {label!r} in line 4" in message


def test_a_class_with_a_comma_in_its_name_is_one_class(write):
    path = write(["path", "label"], [NAMES[0], '"Paris, Texas"'], [NAMES[1], "Paris"])
    assert scan_dataset(path).class_names == ["Paris", "Paris, Texas"]


def test_an_unused_column_without_a_name_is_said_to_be_one(write):
    dataset = scan_dataset(write(["", "path", "label"], *((0, name, "x") for name in NAMES)))
    assert any(note.endswith(": a column without a name.") for note in dataset.notes)


def test_paths_without_an_extension_lead_to_the_only_image_of_that_name(write, tmp_path):
    (tmp_path / "red" / "000.xml").write_text("<box/>")
    dataset = scan_dataset(write(["id", "label"], ["red/000", "x"], ["blue/001", "y"]))
    assert dataset.paths == ["blue/001.png", "red/000.png"]
    assert dataset.sizes.min() > 0
    assert any("2 paths lack an extension" in note for note in dataset.notes)
    (tmp_path / "red" / "000.jpg").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"line 2: red/000 may be red/000.jpg or red/000.png"):
        scan_dataset(write(["id", "label"], ["red/000", "x"]))


def test_a_list_of_which_no_file_is_there_says_where_it_looked(write, tmp_path):
    dataset = scan_dataset(write(["path", "label"], ["000.png", "x"], ["001.png", "y"]))
    assert f"relative to the list's folder, {tmp_path}." in dataset.notes[-1]
    assert dataset.notes[-1].startswith("None of the 2 files is there.")


def test_labels_of_a_list_may_stand_in_its_paths(write):
    path = write(["path", "width"], *([name, 24] for name in NAMES))
    dataset = scan_dataset(path, label_from="^([a-z]+)/")
    assert dataset.class_names == ["blue", "green", "red"]
    assert dataset.labels.tolist() == [0, 0, 1, 1, 2]


def test_cells_that_name_no_regular_file_are_skipped_with_a_reason_and_never_opened(
    write, tmp_path
):
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mknod(tmp_path / "socket.jpg", stat.S_IFSOCK | 0o600)
    names = ["/dev/zero", "pipe.jpg", "socket.jpg", "red", "gone.png", "/dev/null/x"]
    path = write(["path", "label"], *([name, "x"] for name in names), [NAMES[0], "y"])
    outcome = call(
        *("extract", path, "--backbone", "lite0", "--image-size", 32, "--output", "f.h5"),
        *("--weights", "random", "--on-error", "fail"),
    )
    assert outcome.exit_code == 1
    assert "/dev/null/x: cannot be read: Not a directory" in outcome.stderr
    reasons = scan_reasons(path)
    assert reasons["/dev/zero"] == "cannot be read: it is a pipe or device, not a file"
    assert reasons["pipe.jpg"] == "cannot be read: it is a pipe or device, not a file"
    assert reasons["socket.jpg"] == "cannot be read: it is a socket, not a file"
    assert reasons["red"] == "cannot be read: it is a folder, not a file"
    assert reasons["gone.png"] == "cannot be read: No such file or directory"
    assert reasons[NAMES[0]] is None


def scan_reasons(path):
    from pipeline.images.decoding.read_images import hash_image_file

    dataset = scan_dataset(path)
    return {name: hash_image_file(dataset.root / name)[1] for name in dataset.paths}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"path,label\nred/000.png,x\0y\n", "NUL characters, from line 2 on"),
        (b"path,label\n" + b"x" * (1 << 21), "more than 1,048,576 characters, from line 2 on"),
        (b"path,label\n" + b'"' + b"x\n" * (1 << 17), "field larger than .*, from line 2 on"),
        (b"PK\3\4\x14\n" * 99, "Expected path"),
    ],
)
def test_what_is_no_text_ends_in_one_message(tmp_path, content, match):
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=match) as caught:
        scan_dataset(tmp_path / "list.csv")
    assert len(str(caught.value)) < 1000


def test_an_endless_or_empty_thing_that_is_called_a_list_is_refused(tmp_path):
    os.mkfifo(tmp_path / "list.csv")
    with pytest.raises(DatasetError, match="neither a folder nor a file"):
        scan_dataset(tmp_path / "list.csv")
    with pytest.raises(DatasetError, match="neither a folder nor a file"):
        scan_dataset("/dev/zero")


plain_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
label_text = plain_text.filter(lambda text: text.strip() and not set(text) & set("|[;,"))
SPLIT_COLUMNS = {
    "split": ["train", "val", "test"],
    "Subset": ["training", "valid", "testing"],
    "partition": ["TRAIN", "dev", "test"],
    "is_valid": ["0", "True", None],
    "is_test": ["false", None, "1"],
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_list_says_the_same_whatever_its_columns_are_called_and_separated(tmp_path_factory, data):
    """Any order, separator, quoting, line end, byte order mark, and any columns besides."""
    draw = data.draw
    split_column = draw(st.sampled_from([None, *SPLIT_COLUMNS]))
    codes = [
        code for code in (TRAIN, VAL, TEST) if split_column and SPLIT_COLUMNS[split_column][code]
    ]
    n_rows = draw(st.integers(1, 5))
    paths = [
        f"{number}{draw(plain_text)}".replace("/", "_").strip() + ".png" for number in range(n_rows)
    ]
    labels = [draw(label_text) for _ in range(n_rows)]
    splits = [draw(st.sampled_from(codes)) if codes else -1 for _ in range(n_rows)]
    columns = {
        draw(st.sampled_from(["path", " Path", "file_name", "image"])): paths,
        draw(st.sampled_from(["label", "LABEL ", "class", "category"])): labels,
    }
    if split_column:
        columns[split_column] = [SPLIT_COLUMNS[split_column][split] for split in splits]
    for number in range(draw(st.integers(0, 3))):
        name = f"extra {number}{draw(plain_text)}"
        columns[name] = [draw(plain_text) for _ in range(n_rows)]
    order = draw(st.permutations(list(columns)))
    text = io.StringIO(newline="")
    # With the least quotes, Python leaves a bare carriage return out of them unless it ends lines.
    quoting, end = draw(
        st.sampled_from(
            [(csv.QUOTE_ALL, "\n"), (csv.QUOTE_ALL, "\r\n"), (csv.QUOTE_MINIMAL, "\r\n")]
        )
    )
    delimiter = draw(st.sampled_from(",;\t"))
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow(order)
    writer.writerows(zip(*(columns[name] for name in order), strict=True))
    folder = tmp_path_factory.mktemp("lists", numbered=True)
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig"]))
    (folder / "list.csv").write_bytes(text.getvalue().encode(encoding))
    dataset = scan_dataset(folder / "list.csv")
    found = {
        path: (dataset.class_names[label], split)
        for path, label, split in zip(
            dataset.paths, dataset.labels.tolist(), dataset.splits.tolist(), strict=True
        )
    }
    assert found == {
        path: (label.strip(), split)
        for path, label, split in zip(paths, labels, splits, strict=True)
    }
    unused = [name for name in order if name.startswith("extra")]
    assert any(note.startswith("Not used of list.csv") for note in dataset.notes) == bool(unused)
