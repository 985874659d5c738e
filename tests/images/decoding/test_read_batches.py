"""A crash in the decoder ends the run; the next one finds the image that did it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_photos, save_image

from benchmarks.stand_in import RECIPE, extract
from pipeline.errors import DatasetError
from pipeline.features.feature_file import FeatureFile
from pipeline.images.decoding.read_batches import BatchReader, ReaderSettings, read_notes
from pipeline.images.decoding.read_images import Limits

ROOT = Path(__file__).resolve().parents[3]
# Python imports a module of this name wherever it starts: in the run and in its workers a certain
# image crashes the decoder.
SITECUSTOMIZE = """
import signal
import pipeline.images.decoding.read_images
decode = pipeline.images.decoding.read_images.decode_image
def crash(data, *a, **k):
    if data == b"crash":
        signal.raise_signal(signal.SIGSEGV)  # this thread dies here, as of a crash
    return decode(data, *a, **k)
pipeline.images.decoding.read_images.decode_image = crash
"""
RUN = """
import sys
from benchmarks.stand_in import extract
summary, stand_in = extract(sys.argv[1], __import__("pathlib").Path(sys.argv[2]),
                            **{name: True for name in sys.argv[3:]})
print(stand_in.n_images, summary.skipped, summary.notes)
"""


@pytest.fixture
def run(tmp_path):
    """Extracts in a child process whose decoder crashes at the image `crash`."""
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    photos = make_photos(tmp_path / "photos", n_per_class=8)
    (photos / "green" / "culprit.png").write_bytes(b"crash")

    def call(*options):
        return subprocess.run(
            [sys.executable, "-c", RUN, photos, tmp_path / "f.h5", *options],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, tmp_path)))},
            timeout=120,
        )

    return call


def test_run_after_a_crash_names_the_culprit_and_keeps_the_rest(run, tmp_path):
    first = run()
    assert first.returncode == -signal.SIGSEGV
    suspects = read_notes(tmp_path / "f.h5.parts")
    assert tmp_path / "photos/green/culprit.png" in suspects
    assert len(suspects) <= 8  # two streams of batches of four
    second = run()
    assert second.returncode == 0, second.stderr
    assert "green/culprit.png" in second.stdout
    assert "the decoder crashed: its process died of SIGSEGV" in second.stdout
    assert "ended while it decoded" in second.stdout
    assert sorted(path.name for path in tmp_path.glob("f.h5*")) == ["f.h5"]
    with FeatureFile(tmp_path / "f.h5") as file:
        assert len(file.contents.images) == 24
        assert file.contents.skipped.paths == ["green/culprit.png"]
    third = run()
    assert third.stdout.startswith("0 ")


def test_isolated_run_is_not_ended_by_the_culprit(run):
    only = run("isolate")
    assert only.returncode == 0, only.stderr
    assert only.stdout.startswith("24 [('green/culprit.png', 'the decoder crashed")


def test_isolated_and_plain_extraction_give_equal_features(tmp_path):
    photos = make_photos(tmp_path / "photos", n_per_class=4)
    extract(photos, tmp_path / "a.h5")
    extract(photos, tmp_path / "b.h5", isolate=True, reuse=False)
    with FeatureFile(tmp_path / "a.h5") as a, FeatureFile(tmp_path / "b.h5") as b:
        np.testing.assert_array_equal(a.read_all(), b.read_all())


def test_notes_are_there_while_images_are_decoded_and_gone_afterwards(tmp_path):
    photos = make_photos(tmp_path / "photos", n_per_class=1)
    paths = sorted(photos.rglob("*.png"))
    seen = []

    def spy(path, recipe, limits):
        seen.append(read_notes(tmp_path / "notes"))
        return np.zeros(32, np.uint8), "reason"

    with BatchReader(ReaderSettings(RECIPE, Limits(), tmp_path / "notes", read=spy), 1) as read:
        read(paths)
    assert seen == [set(paths)] * 3
    assert read_notes(tmp_path / "notes") == set()


def test_half_a_note_names_half_the_suspects(tmp_path):
    (tmp_path / "in-flight-1-2").write_bytes(b"/a/1.png\0/a/2.png\0/a/3.p")
    assert read_notes(tmp_path) == {Path("/a/1.png"), Path("/a/2.png")}


def test_on_error_fail_stops_at_the_first_and_keeps_what_was_finished(tmp_path):
    photos = make_photos(tmp_path / "photos", n_per_class=8)
    (photos / "red" / "005.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"red/005\.png: not an image"):
        extract(photos, tmp_path / "f.h5", stop_at_failure=True)
    assert not (tmp_path / "f.h5").exists()
    summary, stand_in = extract(photos, tmp_path / "f.h5")
    assert summary.resumed >= 16
    assert stand_in.n_images <= 8
    with pytest.raises(DatasetError, match=r"red/005\.png"):
        extract(photos, tmp_path / "f.h5", stop_at_failure=True)


def test_larger_limits_try_again_what_was_too_large(tmp_path):
    photos = make_photos(tmp_path / "photos", n_per_class=2)
    summary, _ = extract(photos, tmp_path / "f.h5", limits=Limits(max_pixels=24 * 24))
    assert not summary.skipped
    save_image(photos / "red" / "large.png", 1, size=40)
    summary, _ = extract(photos, tmp_path / "f.h5", limits=Limits(max_pixels=24 * 24))
    assert [path for path, _ in summary.skipped] == ["red/large.png"]
    summary, stand_in = extract(photos, tmp_path / "f.h5")
    assert (len(summary.skipped), stand_in.n_calls) == (1, 0)
    summary, stand_in = extract(photos, tmp_path / "f.h5", limits=Limits(max_pixels=40 * 40))
    assert (len(summary.skipped), stand_in.n_images) == (0, 1)
