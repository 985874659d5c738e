"""CSV files: every cell comes back, through Python's reader, too, whatever is in it."""

import csv
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import StorageError
from pipeline.system.csv_files import format_csv, read_csv, write_csv

cells = st.one_of(
    st.binary(max_size=8).map(os.fsdecode),
    st.text("\r\n,;\"' \t\0\ufeff\u2028a\udce4", max_size=6),
)
tables = st.lists(st.lists(cells, min_size=1, max_size=4), max_size=6)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("csv") / "a.csv"


@settings(deadline=None)
@example([["a\rb.png", "x"]])
@example([["G\udce4nse/1.png"], [""]])
@given(tables)
def test_whatever_is_written_is_read_back(path, rows):
    write_csv(path, rows)
    assert list(read_csv(path)) == rows
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert list(csv.reader(file, strict=True)) == rows


def test_bytes_of_a_name_that_is_no_utf8_stay_as_they_are(path):
    write_csv(path, [["path"], [os.fsdecode(b"G\xe4nse/1.png")]])
    assert path.read_bytes() == b"path\nG\xe4nse/1.png\n"


def test_a_carriage_return_is_quoted_and_lines_end_with_a_line_feed():
    assert format_csv([["a\rb", "c\nd", 'e"f', "g,h", None], [1, 0.5]]) == (
        '"a\rb","c\nd","e""f","g,h",\n1,0.5\n'
    )


def test_many_rows_are_written_as_they_come_and_a_failure_leaves_the_old_file(path):
    write_csv(path, ([number] for number in range(25_000)))
    assert sum(1 for _ in read_csv(path)) == 25_000

    def rows():
        yield ["new"]
        raise OSError("the disk went")

    with pytest.raises(StorageError):
        write_csv(path, rows())
    assert next(read_csv(path)) == ["0"]


def test_what_is_no_csv_is_a_value_error(path):
    path.write_bytes(b'a,"b')
    with pytest.raises(ValueError, match="it is no CSV"):
        list(read_csv(path))


def test_a_file_of_a_terabyte_without_a_line_break_takes_no_memory(path):
    with path.open("wb") as file:
        file.write(b"a,b\n")
        file.truncate(2**40)
    with pytest.raises(ValueError, match="it is no CSV: a line has more than 1,048,576 characters"):
        list(read_csv(path))


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(OSError, match="it is a pipe or device, not a file"):
        next(read_csv(tmp_path / "a.csv"))
