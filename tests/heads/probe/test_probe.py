"""`frostline.probe`: what it tries, what it leaves behind, and what `extract` makes of that."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import call, make_photos

import frostline
from benchmarks.stand_in import StandIn
from pipeline.backbones.weights import resolve
from pipeline.errors import BackboneError, ParameterError, SplitError, WeightsError
from pipeline.features.feature_file import FeatureFile
from pipeline.heads.probe import embed_sample
from pipeline.heads.probe.candidates import list_candidates, list_neighbours

LITE = "efficientnet-lite0"


class Stopping(StandIn):
    """Ends everything after so many images."""

    n_streams = 1
    n_left = 10**9

    def __call__(self, pixels):
        Stopping.n_left -= len(pixels)
        if Stopping.n_left < 0:
            raise KeyboardInterrupt
        return super().__call__(pixels)


@pytest.fixture
def cheap(monkeypatch):
    """Embeds with a stand-in, whatever backbone is named; gives those that were made."""
    made = []

    def make(recipe, weights, device, engine, batch_size=None, **_):
        if recipe.image_size == 34:
            raise BackboneError("No such size.\nTake another.")
        made.append(Stopping(batch_size))
        return made[-1]

    monkeypatch.setattr(embed_sample, "make_embedder", make)
    monkeypatch.setattr(Stopping, "n_left", 10**9)
    return made


def embedded(made):
    return sum(one.n_images for one in made)


def test_what_was_embedded_is_what_extract_does_not_compute(tmp_path):
    """With the real network, at the command line: rows are those of an extraction, bit for bit."""
    how = ("--backbones", LITE, "--image-sizes", "32", "--images", 20, "--seconds", 600)
    make_photos(tmp_path / "more/photos", n_per_class=8)
    outcome = call("probe", "more/photos", *how, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert [one["n_images"] for one in found["tried"]] == [20]
    assert found["n_total"] == 24 and found["seconds"] < 600
    words = found["next"].split()
    assert words == f"python cli.py extract more/photos --backbone {LITE} --image-size 32".split()
    extracted = json.loads(call(*words[2:], "--json").stdout)
    assert extracted["computed"] == 4 and extracted["resumed"] == 20
    call(*words[2:], "--output", "alone.h5", "--no-reuse")
    with FeatureFile(Path(extracted["path"])) as probed, FeatureFile(Path("alone.h5")) as alone:
        np.testing.assert_array_equal(probed.read_all(), alone.read_all())
    assert not Path(extracted["path"] + ".parts").exists()


def test_the_table_marks_one_and_says_why_and_what_to_type(tmp_path, cheap):
    root = make_photos(tmp_path / "photos", n_per_class=12)
    (root / "blue/broken.png").write_bytes(b"")
    outcome = call(
        *("probe", tmp_path / "photos", "--backbones", f"{LITE},alexnet={tmp_path}/a.pth"),
        *("--image-sizes", "32,34,36", "--resize", "crop"),
    )
    assert outcome.exit_code == 1 and "The weights file does not exist" in outcome.stderr
    outcome = call(
        *("probe", "photos", "--backbones", LITE, "--image-sizes", "32,34,36", "--resize", "crop")
    )
    assert outcome.exit_code == 0, outcome.stderr
    lines = outcome.stdout.splitlines()
    assert len([line for line in lines if line.startswith(" * ")]) == 1
    assert max(len(line) for line in lines if line.startswith("   ") or line[:3] == " * ") <= 80
    assert lines[-1].startswith(f"python cli.py extract photos --backbone {LITE} --image-size 3")
    assert lines[-1].endswith("--resize crop")
    assert f"Left out {LITE} at 34 pixels: No such size." in outcome.stderr
    assert f"Not tried: {LITE} 34." in outcome.stdout
    assert "minutes that all 37 images take here" in " ".join(outcome.stdout.split())


def test_a_probe_that_was_stopped_loses_nothing_that_was_embedded(tmp_path, cheap, monkeypatch):
    make_photos(tmp_path / "photos", n_per_class=12)
    probe = partial(frostline.probe, tmp_path / "photos", backbones=[LITE], image_sizes=[32])
    monkeypatch.setattr(Stopping, "n_left", 20)
    with pytest.raises(KeyboardInterrupt):
        probe()
    n_before = embedded(cheap)
    monkeypatch.setattr(Stopping, "n_left", 10**9)
    found = probe()
    assert found.tried[0].n_images == 36
    assert n_before == 20 and embedded(cheap) == 36
    again = probe()  # nothing is missing: the speed alone is measured
    assert again.tried[0].accuracy == found.tried[0].accuracy
    assert again.tried[0].extract_minutes == 0


def test_the_rows_of_a_feature_file_are_read_and_none_is_written_to_it(tmp_path, cheap):
    root = make_photos(tmp_path / "photos", n_per_class=12)
    extracted = frostline.extract(root, backbone=LITE, image_size=32, limit=None)
    before = extracted.path.read_bytes()
    found = frostline.probe(root, backbones=[LITE], image_sizes=[32], images=20)
    assert found.tried[0].n_images == 20
    assert extracted.path.read_bytes() == before
    assert not list((tmp_path / "cache").glob("*.parts"))


def test_nothing_is_downloaded_that_was_not_named(monkeypatch):
    def fetch(backbone, source):
        raise WeightsError(f"fetched {backbone.name}")

    monkeypatch.setattr(resolve, "fetch_if_absent", fetch)
    monkeypatch.setenv("KERAS_HOME", "nowhere")
    notes = []
    found = list_candidates(None, None, {}, notes.append)
    assert {one.backbone for one in found} >= {LITE} and notes == []
    assert [one.image_size for one in found if one.backbone == LITE] == [
        160, 192, 224, 256, 288, 320,
    ]  # fmt: skip
    with pytest.raises(WeightsError, match="fetched resnet50"):
        list_candidates(["resnet50"], None, {}, notes.append)


def test_image_sizes_lie_around_the_backbones_own():
    assert list_neighbours(224) == [160, 192, 224, 256, 288, 320]
    assert list_neighbours(260) == [192, 224, 260, 288, 320, 384]
    assert 600 in list_neighbours(600)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backbones": []}, "`backbones` to be names"),
        ({"backbones": LITE}, "`backbones` to be a list"),
        ({"backbones": ["run:tuned"]}, "has learnt the labels that it would be judged by"),
        ({"image_sizes": [0]}, "`image_sizes` to be whole numbers"),
        ({"seconds": 1}, "`seconds` to be"),
        ({"pooling": "max"}, "no such option to probe backbones"),
        ({"device": "all"}, "on one device"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(options, words):
    with pytest.raises(ParameterError, match=words):
        frostline.probe("nowhere", **options)


def test_mistakes_at_the_command_line_are_one_message(tmp_path, cheap):
    make_photos(tmp_path / "photos", n_per_class=3)
    outcome = call("probe", "photos", "--image-sizes", "224,big")
    assert outcome.exit_code == 2
    assert "expected numbers such as 160,224; received '224,big'" in outcome.stderr
    outcome = call("probe", "photos", "--backbones", "efficientnet-lite9")
    assert outcome.exit_code == 1 and "There is no backbone 'efficientnet-lite9'" in outcome.stderr
    outcome = call("probe", "photos", "--backbones", LITE, "--image-sizes", "34")
    assert outcome.exit_code == 1 and "No such size." in outcome.stderr
    with pytest.raises(SplitError, match="1 of 3 classes"):
        frostline.probe(tmp_path / "photos", exclude=_exclude(tmp_path, "red", "green"))


def _exclude(folder, *names):
    """A list that leaves these classes out."""
    paths = [f"{name}/{number:03d}.png" for name in names for number in range(3)]
    (folder / "out.csv").write_text("\n".join(["path", *paths]) + "\n")
    return folder / "out.csv"
