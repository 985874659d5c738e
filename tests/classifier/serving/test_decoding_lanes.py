"""Decoding in processes: what hangs, crashes or takes long costs itself alone."""

import hashlib
import io
import os
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

from benchmarks.stand_in import RECIPE
from pipeline.classifier.serving import lanes as lanes_module
from pipeline.classifier.serving.decoder import Decoder, DecoderLostError
from pipeline.classifier.serving.jobs import Job, RefusedError, Upload
from pipeline.classifier.serving.lanes import DecodingLanes
from pipeline.images.decoding.read_images import DEFAULT_LIMITS, Limits, read_image_bytes

GOOD_SECONDS = 20.0


def read_or_worse(data, recipe, limits):
    """Does what an upload says."""
    if data == b"die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"hang":
        time.sleep(60)
    if data.startswith(b"slow"):
        time.sleep(float(data[4:]))
        data = picture()
    return read_image_bytes(data, recipe, limits)


def picture(width: int = 16, height: int = 16) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(stream, "PNG")
    return stream.getvalue()


class Collector:
    """Takes what is delivered."""

    def __init__(self):
        self.jobs = []
        self._changed = threading.Condition()

    def __call__(self, job):
        with self._changed:
            self.jobs.append(job)
            self._changed.notify_all()

    def wait_for(self, n_jobs: int) -> list[Job]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.jobs) >= n_jobs, GOOD_SECONDS)
        return self.jobs


def send(lanes: DecodingLanes, data: bytes) -> Job:
    job = Job(Upload(None, data), None, [RECIPE])
    lanes.put(job)
    return job


@pytest.fixture
def open_lanes():
    opened = []

    def open_some(collector, limits=DEFAULT_LIMITS, *, quick=0.4, slow=1.0):
        lanes = DecodingLanes(
            limits, 1, collector, quick_seconds=quick, slow_seconds=slow, read=read_or_worse
        )
        opened.append(lanes)
        lanes.start()
        return lanes

    yield open_some
    for lanes in opened:
        lanes.stop()


def test_an_upload_comes_out_as_the_decoder_of_everything_else_makes_it():
    decoder = Decoder(10.0)
    try:
        ((digest, pixels),) = decoder.decode(picture(40, 30), [RECIPE], Limits())
        assert digest.tobytes() == hashlib.sha256(picture(40, 30)).digest()
        np.testing.assert_array_equal(
            pixels, read_image_bytes(picture(40, 30), RECIPE, Limits())[1]
        )
    finally:
        decoder.stop()


def test_a_process_that_dies_is_replaced():
    decoder = Decoder(10.0, read_or_worse)
    try:
        with pytest.raises(DecoderLostError, match=r"crashed: its process died of SIGSEGV"):
            decoder.decode(b"die", [RECIPE], Limits())
        assert decoder.decode(picture(), [RECIPE], Limits())[0][1].shape == (8, 8, 3)
    finally:
        decoder.stop()


def test_what_hangs_or_kills_its_decoder_is_skipped_with_a_reason(open_lanes):
    collector = Collector()
    lanes = open_lanes(collector)
    for data in (b"hang", b"die", picture()):
        send(lanes, data)
    reasons = {job.upload.data: job.forms[0][1] for job in collector.wait_for(3)}
    assert reasons[b"hang"] == "the decoder hangs: no picture within 1 seconds"
    assert reasons[b"die"] == "the decoder crashed: its process died of SIGSEGV"
    assert reasons[picture()].shape == (8, 8, 3)


def test_what_takes_long_is_overtaken_and_comes_out_in_the_end(open_lanes):
    collector = Collector()
    lanes = open_lanes(collector, slow=10.0)
    for data in (b"slow0.8", picture(), picture(9, 9)):
        send(lanes, data)
    order = [job.upload.data for job in collector.wait_for(3)]
    assert order[-1] == b"slow0.8"
    assert collector.jobs[-1].forms[0][1].shape == (8, 8, 3)


def test_an_image_of_very_many_pixels_takes_the_slow_lane(open_lanes, monkeypatch):
    monkeypatch.setattr(lanes_module, "QUICK_PIXELS", 1_000)
    collector = Collector()
    lanes = open_lanes(collector, Limits(max_pixels=5_000))
    for data in (picture(60, 60), picture(90, 90)):
        send(lanes, data)
    found = {len(job.upload.data): job.forms[0][1] for job in collector.wait_for(2)}
    assert found[len(picture(60, 60))].shape == (8, 8, 3)
    assert found[len(picture(90, 90))] == (
        "too large: 90 x 90 pixels is more than the limit of 5,000"
    )


def test_a_full_slow_lane_refuses_and_the_quick_one_goes_on(open_lanes, monkeypatch):
    monkeypatch.setattr(lanes_module, "QUICK_PIXELS", 1_000)
    monkeypatch.setattr(lanes_module, "MOST_SLOW", 0)
    collector = Collector()
    lanes = open_lanes(collector)
    refused = send(lanes, picture(60, 60))
    good = send(lanes, picture())
    with pytest.raises(RefusedError) as error:
        refused.answer.result(GOOD_SECONDS)
    assert (error.value.status, error.value.retry_seconds) == (503, 30)
    assert collector.wait_for(1) == [good]


def test_a_job_that_nobody_waits_for_is_not_decoded(open_lanes):
    collector = Collector()
    lanes = open_lanes(collector, quick=10.0)
    send(lanes, b"slow0.3")
    dropped = send(lanes, picture())
    dropped.answer.cancel()
    send(lanes, picture(9, 9))
    collector.wait_for(2)
    assert dropped not in collector.jobs
