"""Rates: said where they say something, and of what was done here."""

import pytest

from pipeline.commands.terminal import progress
from pipeline.commands.terminal.progress import describe_rate, progress_lines


@pytest.mark.parametrize(
    ("done", "seconds", "rate"),
    [
        (1, 0.02, None),
        (1, 60, None),
        (1000, 0.0002, None),
        (0, 10, None),
        (36, 2, "18.0"),
        (123_456, 10, "12,346"),
    ],
)
def test_a_rate_is_of_some_images_and_some_time(done, seconds, rate):
    assert describe_rate(done, seconds) == rate


def test_what_was_done_before_is_not_counted_as_done_now(monkeypatch):
    """1,000 of 1,300 rows were there; then 100 rows take 20 seconds, so 200 take 40."""
    now, said = [100.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    update = progress_lines(said.append)
    update("Embedding", 1000, 1300)
    now[0] = 120.0
    update("Embedding", 1100, 1300)
    assert said == ["Embedding: 1,100 of 1,300, 5.0/s, 40 s left"]


def test_a_stage_that_stands_still_promises_nothing(monkeypatch):
    now, said = [0.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    update = progress_lines(said.append)
    update("Fitting", 3, 15)
    now[0] = 11.0
    update("Fitting", 3, 15)
    assert said == ["Fitting: 3 of 15"]


def test_a_stage_without_a_known_end_tells_how_many_so_far(monkeypatch):
    now, said = [0.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    update = progress_lines(said.append)
    update("Reading the list", 1000, 0)
    now[0] = 20.0
    update("Reading the list", 3000, 0)
    assert said == ["Reading the list: 3,000, 100/s"]
