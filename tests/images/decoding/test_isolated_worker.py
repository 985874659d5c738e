"""Images that hang or kill their decoder, and what is left of the extraction."""

import hashlib
import itertools
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import save_image
from killed_parent import ENDS, survivors_of_a_kill

from benchmarks.stand_in import RECIPE
from pipeline.images.decoding import decode as images
from pipeline.images.decoding.isolated_worker import IsolatedReader
from pipeline.images.decoding.read_images import Limits, read_image

SECONDS = 3.0
plain_load = images.load_pixels


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


LARGE, HANGS = 40, 41  # pixels a side


def read_slowly(path, recipe, limits):
    """Each image takes half a second, and those of 40 pixels and more are large."""

    def load(image, stream, truncated):
        started = time.monotonic()
        time.sleep(1000 if image.width == HANGS else 0.5)
        plain_load(image, stream, truncated)
        path.with_suffix(".times").write_text(f"{started} {time.monotonic()}")

    images.LARGE_PIXELS, images.load_pixels = LARGE**2 - 1, load
    return read_image(path, recipe, limits)


@pytest.fixture
def slow_reader(tmp_path):
    """Two workers, both up."""
    lock = tmp_path / "turnstile.lock"
    with (
        IsolatedReader(RECIPE, Limits(), lock, 2, seconds=SECONDS, read=read_slowly) as reader,
        ThreadPoolExecutor(2) as pool,
    ):
        list(pool.map(reader, [save_image(tmp_path / f"first{n}.png", n) for n in range(2)]))
        yield reader


def count_overlaps(paths):
    """Pairs of images that were decoded at the same time."""
    spans = [map(float, path.with_suffix(".times").read_text().split()) for path in paths]
    spans = sorted(tuple(span) for span in spans)
    return sum(second[0] < first[1] for first, second in itertools.combinations(spans, 2))


def test_large_images_are_decoded_one_at_a_time_in_all_workers(slow_reader, tmp_path):
    small = [save_image(tmp_path / f"small{n}.png", n) for n in range(4)]
    large = [save_image(tmp_path / f"large{n}.png", n, size=LARGE) for n in range(4)]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(slow_reader, [*small, *large]))
    assert not any(isinstance(pixels, str) for _, pixels in results)
    assert count_overlaps(large) == 0
    assert count_overlaps(small) > 0  # so the clock can tell


def test_large_image_that_hangs_costs_none_that_waits_for_its_turn(slow_reader, tmp_path):
    culprit = save_image(tmp_path / "culprit.png", 1, size=HANGS)
    waiting = save_image(tmp_path / "waiting.png", 2, size=LARGE)
    with ThreadPoolExecutor(2) as pool:
        lost = pool.submit(slow_reader, culprit)
        time.sleep(0.2)  # less than a picture takes
        kept = pool.submit(slow_reader, waiting)
        assert "hangs: no picture within 3 seconds" in lost.result()[1]
        np.testing.assert_array_equal(kept.result()[1], read_image(waiting, RECIPE)[1])


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
    os.kill(worker.process_id, signal.SIGKILL)
    worker.describe_end()
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


@pytest.mark.parametrize("end", ENDS)
def test_no_worker_outlives_a_parent_that_is_killed(tmp_path, end):
    (tmp_path / "slow.py").write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "def read(path, recipe, limits):\n"
        "    path.with_name(f'child-{os.getpid()}').touch()\n"
        "    time.sleep(1000)\n"
    )
    program = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from pathlib import Path\n"
        "from benchmarks.stand_in import RECIPE\n"
        "from pipeline.images.decoding.isolated_worker import IsolatedReader\n"
        "from pipeline.images.decoding.read_images import Limits\n"
        "from slow import read\n"
        "reader = IsolatedReader(RECIPE, Limits(), Path('lock').absolute(), 2, read=read)\n"
        "with ThreadPoolExecutor(2) as pool:\n"
        "    list(pool.map(reader, [Path('a.png').absolute(), Path('b.png').absolute()]))\n"
    )
    assert survivors_of_a_kill(program, tmp_path, n_children=2, end=end) == []
