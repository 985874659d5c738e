"""Decoder processes give the file that threads give, and are chosen by a rule."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import call

from benchmarks.stand_in import RECIPE, StandIn, extract
from pipeline.errors import BackboneError, DatasetError
from pipeline.features.feature_file import FeatureFile
from pipeline.features.open_embedding import Workers, open_embedding
from pipeline.images.decoding.read_batches import ReaderSettings
from pipeline.images.decoding.read_images import DEFAULT_LIMITS, read_image

DECODERS = Workers("decoders", 2)


class OnGPU(StandIn):
    """Calls itself a GPU."""

    def __init__(self, batch_size=None):
        super().__init__(batch_size)
        self.record = replace(self.record, device="gpu")


class NotFinite(StandIn):
    """A damaged network."""

    def __call__(self, pixels):
        return super().__call__(pixels) * np.nan


def read(path):
    with FeatureFile(path) as file:
        contents = file.contents
        return contents.images.paths, contents.skipped.paths, contents.reasons, file.read_all()


def note_process(path, recipe, limits):
    """Reads an image and leaves a file that says in which process."""
    Path(f"read-by-{os.getpid()}").touch()
    return read_image(path, recipe, limits)


def processes_that_read(workers, make, photos, folder):
    settings = ReaderSettings(RECIPE, DEFAULT_LIMITS, folder / "notes", read=note_process)
    with open_embedding(make, [], settings, None, workers, lambda note: None) as embedding:
        paths = sorted(photos.rglob("*.png"))
        assert list(embedding.map([paths[:4], paths[4:8]]))
    marks = list(folder.glob("read-by-*"))
    for mark in marks:
        mark.unlink()
    return {int(mark.name.removeprefix("read-by-")) for mark in marks}


@pytest.mark.parametrize("isolate", [False, True])
def test_decoders_give_the_file_that_threads_give(photos, tmp_path, isolate):
    for name in ("red/bad.png", "blue/000a.png"):
        (photos / name).write_bytes(b"no image")
    summary, stand_in = extract(
        photos, tmp_path / "a.h5", workers=DECODERS, reuse=False, isolate=isolate
    )
    extract(photos, tmp_path / "b.h5", workers=Workers("threads"), reuse=False)
    assert stand_in.n_images == summary.computed == 24
    *found, features = read(tmp_path / "a.h5")
    *expected, wanted = read(tmp_path / "b.h5")
    assert found == expected
    assert found[1] == ["blue/000a.png", "red/bad.png"]
    np.testing.assert_array_equal(features, wanted)
    assert sorted(path.name for path in tmp_path.glob("a.h5*")) == ["a.h5"]


def test_processes_decode_for_a_gpu_and_threads_for_a_cpu(photos, tmp_path):
    auto = Workers("auto", 1)
    assert processes_that_read(auto, StandIn, photos, tmp_path) == {os.getpid()}
    assert os.getpid() not in processes_that_read(auto, OnGPU, photos, tmp_path)
    threads = Workers("threads")
    assert processes_that_read(threads, OnGPU, photos, tmp_path) == {os.getpid()}


def test_image_that_cannot_be_used_stops_it_where_that_is_asked_for(photos, tmp_path):
    (photos / "red" / "bad.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"red/bad\.png"):
        extract(photos, tmp_path / "a.h5", workers=DECODERS, stop_at_failure=True)
    summary, _ = extract(photos, tmp_path / "a.h5", workers=DECODERS)
    assert summary.resumed + summary.computed == 24


def test_network_that_gives_no_numbers_names_the_image(photos, tmp_path):
    (photos / "blue" / "000.png").write_bytes(b"no image")
    settings = ReaderSettings(RECIPE, DEFAULT_LIMITS, tmp_path / "notes")
    with (
        open_embedding(NotFinite, [], settings, None, DECODERS, lambda note: None) as embedding,
        pytest.raises(BackboneError, match=r"not finite(.|\n)*such for .*blue/001\.png"),
    ):
        list(embedding.map([sorted(photos.rglob("*.png"))[:4]]))


def test_command_line_with_decoders_gives_the_rows_of_threads(extracted, tmp_path):
    outcome = call(
        *("extract", extracted / "photos", "--backbone", "efficientnet-lite0", "--no-reuse"),
        *("--image-size", 32, "--parallel", "decoders", "--jobs", 2),
        *("--output", tmp_path / "a.h5"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    np.testing.assert_array_equal(read(tmp_path / "a.h5")[-1], read(extracted / "features.h5")[-1])
