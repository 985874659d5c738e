"""Near duplicates of planted copies, and what an audit says of them."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
from audited import make_rows
from PIL import Image, ImageOps

from benchmarks import stand_in
from pipeline.heads.audit.near_duplicates.calibrate import find_limit
from pipeline.heads.audit.near_duplicates.check import find_near_duplicates

N_PICTURES = 16
RECIPE = replace(stand_in.RECIPE, image_size=64)


def make_picture(seed, side=96):
    random = np.random.default_rng(seed)
    pixels = np.zeros((side, side, 3))
    for cells in (3, 6, 12, 24):
        rough = Image.fromarray(random.integers(0, 256, (cells, cells, 3), np.uint8))
        pixels += np.asarray(rough.resize((side, side), Image.Resampling.BICUBIC)) * cells**-0.5
    return Image.fromarray((255 * pixels / pixels.max()).astype(np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixteen pictures; the first is also there mirrored, and small; the second twice."""
    folder = tmp_path_factory.mktemp("near")
    for seed in range(N_PICTURES):
        make_picture(seed).save(folder / f"{seed:02d}.png")
    ImageOps.mirror(make_picture(0)).save(folder / "mirrored.jpg", quality=60)
    make_picture(0).resize((50, 50)).save(folder / "small.png")
    make_picture(1).save(folder / "equal.png")
    return folder


def audit(folder, **facts):
    """Rows whose features are near each other where the pictures are, and a little elsewhere."""
    names = sorted(path.name for path in folder.iterdir())
    random = np.random.default_rng(0)
    of_picture = random.standard_normal((N_PICTURES, 16))
    number_of = {"mirrored.jpg": 0, "small.png": 0, "equal.png": 1}
    numbers = [number_of[name] if name in number_of else int(name[:2]) for name in names]
    features = of_picture[numbers] + 0.02 * random.standard_normal((len(names), 16))
    digests = np.frombuffer(
        b"".join(hashlib.sha256((folder / name).read_bytes()).digest() for name in names), np.uint8
    ).reshape(-1, 32)
    rows = make_rows(features, facts.pop("labels", [0] * len(names)), root=folder, paths=names)
    images = replace(rows.contents.images, digests=digests)
    contents = replace(rows.contents, images=images, recipe=RECIPE, **facts)
    return replace(rows, contents=contents), names


def test_changed_copies_are_one_group_and_equal_files_alone_are_none(folder):
    rows, names = audit(folder)
    issues, (finding,) = find_near_duplicates(rows)
    expected = {"00.png", "mirrored.jpg", "small.png"}
    assert [{names[row] for row in group} for group in rows.near_duplicates.groups] == [expected]
    assert {names[issue.row] for issue in issues} == expected - {"00.png"}
    assert all(set(map(names.__getitem__, issue.related)) < expected for issue in issues)
    assert finding.heading == "1 group of near duplicates"
    assert finding.n_rows == 3


def test_who_reads_is_told_that_the_backbone_could_not_be_asked(folder):
    rows, _ = audit(folder, weights_source="/nowhere/weights.h5")
    _, (finding,) = find_near_duplicates(rows)
    assert "The backbone could not be asked" in finding.text


def test_different_labels_and_given_splits_of_one_picture_are_told_of(folder):
    labels, splits = np.zeros(N_PICTURES + 3, int), np.zeros(N_PICTURES + 3, np.int8)
    rows, names = audit(folder, splits=splits)
    labels[names.index("small.png")] = 1
    splits[names.index("mirrored.jpg")] = 2
    contents = replace(rows.contents, labels=labels.astype(np.int32), splits=splits)
    issues, (finding,) = find_near_duplicates(replace(rows, contents=contents))
    assert {issue.suggestion for issue in issues} == {"its labels differ: decide"}
    assert "1 group in more than one of the splits that the source gives" in finding.text
    assert "1 group with more than one label" in finding.text


def test_files_that_are_gone_or_changed_are_no_near_duplicates(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    rows, names = audit(tmp_path)
    (tmp_path / "small.png").unlink()
    make_picture(0).save(tmp_path / "mirrored.jpg", quality=10)
    find_near_duplicates(rows)
    assert rows.near_duplicates.groups == []
    assert names.index("small.png") >= 0


def test_nothing_is_said_where_the_files_are_not_at_hand(folder):
    rows, _ = audit(folder)
    assert find_near_duplicates(replace(rows, root=None)) == ([], [])


@pytest.mark.parametrize("seed", range(3))
def test_the_limit_is_near_the_quantile_of_a_known_tail(seed):
    """Of a Gumbel distribution, whose quantiles are known; near duplicates among the pairs."""
    random = np.random.default_rng(seed)
    place, scale, share = 0.4, 0.05, 5e-5
    expected = place - scale * math.log(-math.log(1 - share))
    clean = np.tanh(random.gumbel(place, scale, 2000))
    limit = np.arctanh(find_limit(clean, share))
    assert abs(limit - expected) < 0.15
    mixed = np.concatenate([clean, np.full(20, 0.99)])
    assert np.arctanh(find_limit(mixed, share)) - limit < 0.2
