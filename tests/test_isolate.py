"""Images that hang or kill their decoder, and what is left of the extraction."""

import hashlib
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import save_image

from benchmarks.stand_in import RECIPE
from pipeline.isolate import IsolatedReader
from pipeline.reading import Limits, read_image

SECONDS = 3.0


def read_or_die(path, recipe, limits):
    """A decoder that some images are too much for; runs in a worker process."""
    data = path.read_bytes()
    if data == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"leave":
        os._exit(3)
    if data == b"hang":
        time.sleep(1000)
    return read_image(path, recipe, limits)


@pytest.fixture
def reader(tmp_path):
    lock = tmp_path / "turnstile.lock"
    with IsolatedReader(RECIPE, Limits(), lock, 2, seconds=SECONDS, read=read_or_die) as reader:
        yield reader


def write(path, data):
    path.write_bytes(data)
    return path


def test_good_images_come_out_as_in_this_process_and_bad_ones_with_their_reason(reader, tmp_path):
    good = save_image(tmp_path / "a b\n\u82b1.png", 1)
    bad = write(tmp_path / "bad.png", b"no image")
    for path in (good, bad, good):
        digest, decoded = reader(path)
        expected_digest, expected = read_image(path, RECIPE)
        np.testing.assert_array_equal(digest, expected_digest)
        np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"crash", "SIGSEGV"), (b"leave", "exit code 3"), (b"hang", "hangs: no picture within 3 s")],
)
def test_image_that_kills_or_stops_its_worker_costs_itself_only(reader, tmp_path, data, words):
    culprit = write(tmp_path / "culprit.png", data)
    good = [save_image(tmp_path / f"{n}.png", n) for n in range(6)]
    paths = [*good[:3], culprit, *good[3:]]
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(reader, paths))
    assert time.monotonic() - started < SECONDS + 15
    digest, reason = results.pop(3)
    assert digest.tobytes() == hashlib.sha256(data).digest()
    assert words in reason
    for path, (_, pixels) in zip(good, results, strict=True):
        np.testing.assert_array_equal(pixels, read_image(path, RECIPE)[1])


def test_worker_killed_between_two_images_costs_none(reader, tmp_path):
    good = save_image(tmp_path / "a.png", 1)
    reader(good)
    worker = reader._idle.get()
    os.kill(worker._process.pid, signal.SIGKILL)
    worker._process.join()
    reader._idle.put(worker)
    assert not isinstance(reader(good)[1], str)


def test_no_worker_outlives_its_reader(tmp_path):
    with IsolatedReader(RECIPE, Limits(), tmp_path / "lock", 2) as reader:
        reader(save_image(tmp_path / "a.png", 1))
        worker = reader._idle.get()
        reader._idle.put(worker)
        assert worker.is_alive()
    assert not worker.is_alive()
    assert threading.active_count() < 10
