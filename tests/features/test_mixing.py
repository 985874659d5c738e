"""Rows of two engines in one file: measured, said, recorded; refused where they differ too much."""

import h5py
import numpy as np
import pytest
from conftest import call, make_photos, save_image

from benchmarks.stand_in import RECIPE, StandIn, extract
from pipeline.errors import EngineError
from pipeline.features import finished_rows
from pipeline.features.feature_file import FeatureFile
from pipeline.features.open_embedding import find_batch_size
from pipeline.features.part_file import read_part
from pipeline.features.update import update_features
from pipeline.features.update_job import UpdateOptions
from pipeline.images.dataset import scan_dataset
from pipeline.recipe import EngineRecord
from pipeline.system.sealed_hdf5 import write_sealed

STAND_IN = StandIn().record
OTHER = EngineRecord("other", "2.0", "cpu", "another chip")
A_GPU = EngineRecord("other", "2.0", "gpu", "a GPU", "9.0")


class Other(StandIn):
    """Another engine: rows are further off by a share of the greatest feature, 255 at most."""

    def __init__(self, batch_size=None, *, record=OTHER, share=1e-5, natural_batch_size=4):
        super().__init__(batch_size or natural_batch_size)
        self.record = EngineRecord(**{**vars(record), "batch_size": self.batch_size})
        self.share = share
        self.shown = []

    def __call__(self, pixels):
        self.shown.append(pixels)
        return super().__call__(pixels) * np.float32(1 + self.share)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "features.h5"


@pytest.fixture
def grown(photos, target):
    """A feature file of the stand-in, and one image more in the data set."""
    extract(photos, target)
    save_image(photos / "red" / "new.png", seed=77)
    return target


def update(photos, target, **other):
    """With the other engine; returns the summary and the last embedder that was made."""
    made = []
    options = {name: other.pop(name) for name in ("reuse", "batch_size") if name in other}

    def make(batch_size):
        made.append(Other(batch_size, **other))
        return made[-1]

    summary = update_features(scan_dataset(photos), RECIPE, target, make, UpdateOptions(**options))
    return summary, made[-1] if made else None


def read(target):
    with FeatureFile(target) as file:
        return file.contents, file.read_all()


def mixtures(summary):
    return [note for note in summary.notes if "mixed" in note]


def without_engines(source, copy, name="engines"):
    """As version 0.1.0 wrote it."""

    def fill(file, output):
        del output
        with h5py.File(source) as before:
            for entry in before:
                before.copy(entry, file)
            file.attrs.update(
                {k: v for k, v in before.attrs.items() if k not in {name, "tables_sha256"}}
            )

    write_sealed(copy, fill)
    return copy


def test_what_computed_the_rows_is_recorded_in_the_file(photos, target):
    extract(photos, target)
    contents, _ = read(target)
    assert contents.engines == [STAND_IN]
    assert contents.engine == STAND_IN
    extract(photos, target)
    assert read(target)[0].engines == [STAND_IN]


def test_rows_of_another_engine_are_measured_said_and_recorded(photos, grown):
    summary, other = update(photos, grown)
    assert mixtures(summary) == [
        "Rows of stand-in 1 on a stand-in and of other 2.0 on another chip are mixed: greatest "
        "difference 1e-05 of the greatest feature, measured on 8 images."
    ]
    contents, features = read(grown)
    assert contents.engines == [STAND_IN, OTHER.__class__(**{**vars(OTHER), "batch_size": 4})]
    row = contents.images.paths.index("red/new.png")
    (probes, new) = other.shown
    np.testing.assert_array_equal(features[row], StandIn()(new)[0] * np.float32(1 + 1e-5))
    assert len(probes) == 8
    assert (summary.kept, summary.computed) == (24, 1)


def test_the_same_engine_says_nothing(photos, grown):
    summary, _ = extract(photos, grown)
    assert mixtures(summary) == []
    assert read(grown)[0].engines == [STAND_IN]


@pytest.mark.parametrize(
    ("record", "share", "is_refused"),
    [(OTHER, 0.9e-3, False), (OTHER, 1.1e-3, True), (A_GPU, 1.9e-2, False), (A_GPU, 2.1e-2, True)],
)
def test_more_than_rounding_is_refused_before_anything_is_computed(
    photos, grown, record, share, is_refused
):
    before = grown.read_bytes()
    if not is_refused:
        summary, _ = update(photos, grown, record=record, share=share)
        assert len(mixtures(summary)) == 1
        return
    with pytest.raises(EngineError, match=r"Received: .* measured on 8 images\nExtract anew"):
        update(photos, grown, record=record, share=share)
    assert grown.read_bytes() == before
    assert list(grown.parent.glob("features.h5.parts/*")) == []


def test_another_engine_takes_the_batch_size_that_suits_it_and_says_so(photos, grown):
    summary, other = update(photos, grown, natural_batch_size=16)
    assert other.batch_size == 16
    assert any(note.startswith("The batch size is 16; the rows") for note in summary.notes)
    assert [engine.batch_size for engine in read(grown)[0].engines] == [4, 16]
    save_image(photos / "red" / "newer.png", seed=78)
    _, stand_in = extract(photos, grown, batch_size=9)
    assert stand_in.batch_size == 4


def test_resume_with_another_engine_is_measured_on_images_that_have_rows(
    photos, target, monkeypatch
):
    monkeypatch.setattr(finished_rows, "PART_ROWS", 4)

    class Stopping(StandIn):
        def __call__(self, pixels):
            if self.n_images >= 12:
                raise KeyboardInterrupt
            return super().__call__(pixels)

    stopping = Stopping()
    stopping.n_streams = 1
    with pytest.raises(KeyboardInterrupt):
        update_features(scan_dataset(photos), RECIPE, target, lambda size: stopping)
    (part, *_) = sorted(target.with_name("features.h5.parts").glob("part-*.h5"))
    assert read_part(part, RECIPE)[1] == STAND_IN
    with pytest.raises(EngineError, match="measured on 8 images"):
        update(photos, target, share=0.5)
    summary, _ = update(photos, target)
    assert summary.resumed == 12
    assert len(mixtures(summary)) == 1
    assert [engine.name for engine in read(target)[0].engines] == ["stand-in", "other"]


def test_rows_of_a_sibling_file_are_measured_and_can_be_done_without(photos, target, tmp_path):
    extract(photos, target)
    more = make_photos(tmp_path / "more", n_per_class=10)
    summary, _ = update(more, target.with_name("more.h5"))
    assert (summary.reused, summary.computed, len(mixtures(summary))) == (24, 6, 1)
    summary, _ = update(more, target.with_name("alone.h5"), share=0.5, reuse=False)
    assert (summary.computed, mixtures(summary)) == (30, [])
    assert [engine.name for engine in read(target.with_name("alone.h5"))[0].engines] == ["other"]


def test_a_file_that_has_rows_takes_none_of_another_engine_from_a_sibling(photos, target, tmp_path):
    update(photos, target.with_name("a-sibling.h5"))
    few = make_photos(tmp_path / "few", n_per_class=2)
    extract(few, target, reuse=False)
    make_photos(few, n_per_class=8)
    summary, stand_in = extract(few, target)
    assert (summary.reused, stand_in.n_images, mixtures(summary)) == (0, 18, [])


def test_retired_rows_of_another_engine_count_and_are_measured_on_the_probes(
    photos, target, tmp_path
):
    """No image is left that has a row; the probes are."""
    extract(photos, target)
    photos.rename(tmp_path / "unmounted")
    for number in range(8):
        save_image(photos / "red" / f"{number}.png", seed=500 + number)
    summary, _ = update(photos, target)
    assert len(mixtures(summary)) == 1
    assert "measured on 8 images" in mixtures(summary)[0]
    assert len(read(target)[0].engines) == 2


def test_a_file_from_before_engines_were_recorded_says_unknown_and_is_measured(photos, grown):
    old = without_engines(grown, grown.with_name("old.h5"))
    contents, _ = read(old)
    assert contents.engines == [EngineRecord(batch_size=4)]
    assert not contents.engine.is_known
    before = old.read_bytes()
    (photos / "red" / "new.png").rename(photos.with_name("aside.png"))
    assert extract(photos, old)[0].is_unchanged
    assert old.read_bytes() == before
    photos.with_name("aside.png").rename(photos / "red" / "new.png")
    summary, _ = extract(photos, old, reuse=False)
    assert mixtures(summary) == [
        "Rows of an unknown engine and of stand-in 1 on a stand-in are mixed: greatest difference "
        "0 of the greatest feature, measured on 8 images."
    ]
    assert [engine.name for engine in read(old)[0].engines] == ["unknown", "stand-in"]


def test_a_part_from_before_engines_were_recorded_is_unknown(photos, target, tmp_path):
    finished_rows.write_part(
        tmp_path / "new.h5", RECIPE, STAND_IN, np.zeros((1, 32), np.uint8), np.ones((1, 24))
    )
    old = without_engines(tmp_path / "new.h5", tmp_path / "old.h5", name="engine")
    assert read_part(tmp_path / "new.h5", RECIPE)[1] == STAND_IN
    assert read_part(old, RECIPE)[1] == EngineRecord(batch_size=4)


def test_the_engine_that_decides_the_tolerance_is_the_least_exact_one():
    from dataclasses import replace

    assert OTHER.tolerance == 1e-3
    assert A_GPU.tolerance == 2e-2
    assert replace(OTHER, precision="mixed_float16").tolerance == 2e-2
    assert replace(OTHER, precision="mixed_bfloat16").tolerance == 6e-2
    assert replace(A_GPU, precision="mixed_bfloat16").tolerance == 6e-2
    assert EngineRecord().tolerance == 1e-3


def test_the_batch_size_of_the_same_engine_is_kept_whatever_the_threads():
    eight = EngineRecord("other", "2.0", "cpu", "another chip", "", "", 2, 8)
    assert find_batch_size([STAND_IN, eight], OTHER) == 8
    assert find_batch_size([STAND_IN], OTHER) is None
    assert find_batch_size([EngineRecord(batch_size=3)], OTHER) == 3
    assert find_batch_size([EngineRecord()], OTHER) is None


def test_features_shows_what_computed_them(photos, grown):
    import json

    update(photos, grown)
    outcome = call("features", grown, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    engines = json.loads(outcome.stdout)["engines"]
    assert [(e["name"], e["device_name"], e["batch_size"]) for e in engines] == [
        ("stand-in", "a stand-in", 4),
        ("other", "another chip", 4),
    ]
    text = " ".join(call("features", grown).stdout.split())
    assert "stand-in 1 on a stand-in" in text
    assert "other 2.0 on another chip" in text
