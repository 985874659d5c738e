"""Pictures that are not as they should be, of image files."""

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from audited import make_rows
from PIL import Image, ImageFilter

from benchmarks import stand_in
from pipeline.heads.audit.pictures import find_odd_pictures
from pipeline.images.decoding.looks import look_at

SIZE = 96
RECIPE = replace(stand_in.RECIPE, image_size=SIZE)


def make_photo(seed):
    """A picture with edges of all sizes, as photographs have."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((SIZE, SIZE, 3))
    for cell in (48, 24, 12, 6, 3):
        rough = random.random((SIZE // cell, SIZE // cell, 3))
        pixels += np.kron(rough, np.ones((cell, cell, 1))) * cell**0.5
    return Image.fromarray((255 * pixels / pixels.max()).astype(np.uint8))


def make_deep(greatest):
    values = np.random.default_rng(0).integers(0, greatest + 1, (SIZE, SIZE)).astype(np.uint16)
    values[0, 0] = greatest
    return Image.fromarray(values)


ODD = {
    "dark": make_photo(1).point(lambda value: value // 8),
    "bright": make_photo(2).point(lambda value: 240 + value // 17),
    "blurred": make_photo(3).filter(ImageFilter.GaussianBlur(6)),
    "one colour": Image.new("RGB", (SIZE, SIZE), (90, 140, 30)),
    "tiny": make_photo(4).crop((0, 0, 5, 5)),
    "odd shape": make_photo(5).resize((SIZE * 4, SIZE)),
    "little range": make_deep(6000),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(12):
        make_photo(100 + seed).save(folder / f"usual-{seed}.png")
    for name, image in ODD.items():
        image.save(folder / f"{name}.png")
    make_deep(7000).save(folder / "usual-deep.png")
    return folder


def rows_of(folder, names):
    digests = [hashlib.sha256((folder / name).read_bytes()).digest() for name in names]
    labels = [0] * len(names)
    rows = make_rows(np.zeros((len(names), 4)), labels, root=folder, paths=names, recipe=RECIPE)
    rows.contents.images.digests[:] = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    return rows


def test_each_odd_picture_is_found_and_no_usual_one(folder):
    names = sorted(path.name for path in folder.iterdir())
    issues, findings = find_odd_pictures(rows_of(folder, names))
    said = {}
    for issue in issues:
        said.setdefault(names[issue.row].removesuffix(".png"), set()).add(issue.kind)
        assert 0 <= issue.score <= 1
    # 16 bits of which little is used look dark; that is what is to be found.
    said["little range"].discard("dark")
    said.pop("usual-deep", None)
    assert said == {name: {name} for name in ODD}
    assert {finding.kind for finding in findings} == set(ODD)


def test_what_most_images_are_is_said_once_and_of_none(folder):
    names = ["tiny.png", "usual-1.png"]
    for number in range(4):
        make_photo(number).crop((0, 0, 4, 4)).save(folder / f"tiny-{number}.png")
        names.append(f"tiny-{number}.png")
    issues, findings = find_odd_pictures(rows_of(folder, names))
    for number in range(4):
        (folder / f"tiny-{number}.png").unlink()
    assert issues == []
    assert [finding.heading for finding in findings] == ["Most images are tiny"]


def test_a_file_that_was_changed_is_not_looked_at(folder):
    rows = rows_of(folder, ["usual-1.png", "usual-2.png"])
    rows.contents.images.digests[1] = 0
    assert rows.looks[1] == "was changed since its features were extracted"
    assert not isinstance(rows.looks[0], str)


def test_blur_grows_with_the_radius():
    blurs = []
    for radius in (0, 1, 2, 4, 8):
        buffer = io.BytesIO()
        make_photo(7).filter(ImageFilter.GaussianBlur(radius)).save(buffer, "PNG")
        blurs.append(look_at(buffer.getvalue(), RECIPE).blur)
    assert blurs == sorted(blurs)
    assert blurs[0] < 0.4
    assert blurs[-1] > 0.6
