"""Tests of how much memory there is and how a user says how much may be taken."""

import pytest
from conftest import call

from pipeline.system import memory
from pipeline.system.memory import available_bytes, parse_memory


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("2GB", 2_000_000_000),
        ("500 MB", 500_000_000),
        ("64kB", 64_000),
        ("1.5GiB", 1_610_612_736),
        ("1TiB", 1_099_511_627_776),
        ("3mib", 3_145_728),
        ("100B", 100),
        ("4096", 4096),
    ],
)
def test_sizes_are_read_in_decimal_and_binary_units(text, n_bytes):
    assert parse_memory(text) == n_bytes


def test_a_share_is_one_of_what_is_available(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 8000)
    assert parse_memory("50%") == 4000
    assert parse_memory("12.5 %") == 1000


@pytest.mark.parametrize("text", ["", "much", "-2GB", "0", "0%", "101%", "2XB", "2 G B", "1e9"])
def test_what_is_no_size_is_wrong_usage(extracted, text):
    with pytest.raises(ValueError, match="expected a size such as 2GB"):
        parse_memory(text)
    outcome = call("fit-head", extracted / "features.h5", f"--memory={text}")
    assert outcome.exit_code == 2
    assert "--memory" in outcome.stderr
    assert repr(text) in outcome.stderr


def test_a_container_may_leave_less_than_the_machine(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._read_container(tmp_path) is None
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory._read_container(tmp_path) == 2000
    assert memory._read_container(tmp_path / "nothing") is None


def test_there_is_some_memory_and_not_more_than_the_machine_has():
    assert 2**20 < available_bytes() < 2**50
