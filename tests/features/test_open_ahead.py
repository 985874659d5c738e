"""A network that is opened while images are still being looked for."""

import threading

import pytest
from conftest import call, save_image

from pipeline.errors import EngineError
from pipeline.features.open_ahead import OpenedAhead


def test_what_was_begun_is_given_once_and_only_for_its_batch_size():
    made = []

    def make(batch_size):
        made.append((batch_size, threading.current_thread() is threading.main_thread()))
        return len(made)

    opened = OpenedAhead(make, None)
    opened.begin()
    assert [opened(None), opened(None), opened(8)] == [1, 2, 3]
    assert made == [(None, False), (None, True), (8, True)]


def test_failure_is_raised_where_the_network_is_asked_for():
    def fail(batch_size):
        raise EngineError(f"cannot run at {batch_size}")

    opened = OpenedAhead(fail, 4)
    opened.begin()
    with pytest.raises(EngineError, match="cannot run at 4"):
        opened(4)


def test_only_a_file_that_lacks_images_has_its_network_opened_ahead(tmp_path, monkeypatch):
    begun = []
    begin = OpenedAhead.begin
    monkeypatch.setattr(OpenedAhead, "begin", lambda self: begun.append(1) or begin(self))
    for place, colour in enumerate([(250, 0, 0), (0, 0, 250)]):
        save_image(tmp_path / f"photos/{place}/a.png", seed=place, colour=colour)
    how = ("--backbone", "efficientnet-lite0", "--image-size", 32, "--output", tmp_path / "f.h5")
    extract = ("extract", tmp_path / "photos", *how)
    assert call(*extract).exit_code == 0
    assert call(*extract).exit_code == 0
    assert begun == []
    save_image(tmp_path / "photos/0/b.png", seed=7, colour=(0, 250, 0))
    outcome = call(*extract)
    assert outcome.exit_code == 0 and "1 computed" in outcome.stderr
    assert begun == [1]
