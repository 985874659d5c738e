"""A run's model, loaded once and used often, on images in all forms that people have them in."""

import json
import shutil
import time

import numpy as np
import pytest
from conftest import call
from PIL import Image

from pipeline.classifier.load import load_run
from pipeline.errors import ParameterError, ParityError, RunError
from pipeline.runs.predictions import read_predictions
from pipeline.runs.run_folder import open_run


@pytest.fixture(scope="module")
def model(fitted):
    return load_run(str(fitted), device="cpu")


def save(path, size, **how):
    """A photo-like image: smooth, with some noise."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    pixels = np.stack([x, y, x * y], axis=2) * 200
    pixels += np.random.default_rng(0).normal(20, 5, pixels.shape)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, **how)
    return path


def probabilities(predictions):
    return np.stack([prediction.probabilities for prediction in predictions])


def test_every_form_of_an_image_gives_what_its_file_gives(model, tmp_path):
    path = save(tmp_path / "a.png", (50, 40))
    with Image.open(path) as opened:
        loaded = opened.convert("RGB")
    forms = [path, str(path), path.read_bytes(), loaded, np.asarray(loaded), Image.open(path)]
    found = model.predict(forms)
    assert [prediction.path for prediction in found] == [path, path, None, None, None, None]
    for prediction in found[1:]:
        np.testing.assert_array_equal(prediction.probabilities, found[0].probabilities)
        assert prediction.label == found[0].label in model.class_names
    assert found[0].digest.tobytes() == found[2].digest.tobytes() != bytes(32)


def test_large_photo_that_was_opened_and_not_used_is_read_as_its_file(model, tmp_path):
    """A JPEG far larger than wanted is shrunk while it is decoded; this one lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.jpg", (640, 480), exif=exif)
    opened = Image.open(path)
    by_path, by_image, again = model.predict([path, opened, opened])
    np.testing.assert_array_equal(by_path.probabilities, by_image.probabilities)
    np.testing.assert_array_equal(by_path.probabilities, again.probabilities)
    opened.load()
    (by_pixels,) = model.predict([opened])
    # Of no colour that the head knows, so what the two ways of shrinking differ by counts for much.
    np.testing.assert_allclose(by_path.probabilities, by_pixels.probabilities, atol=0.15)
    assert opened.size == (640, 480)


@pytest.mark.parametrize("kind", ["png", "gif", "tiff", "webp"])
def test_image_of_several_frames_is_the_frame_that_it_stands_at(model, tmp_path, kind):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    path = tmp_path / f"a.{kind}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    expected = [Image.open(path) for _ in frames]
    for number, image in enumerate(expected):
        image.seek(number)
        image.load()
    opened, moved, returned = (Image.open(path) for _ in range(3))
    moved.seek(1)
    returned.seek(1)
    returned.seek(0)
    first, second, *found = model.predict([*expected, opened, moved, returned])
    assert not np.allclose(first.probabilities, second.probabilities, atol=1e-4)
    for prediction, wanted in zip(found, (first, second, first), strict=True):
        np.testing.assert_allclose(prediction.probabilities, wanted.probabilities, atol=1e-6)


@pytest.mark.parametrize("draft", [(None, (40, 30)), ("L", None)])
def test_draft_that_was_asked_for_is_what_is_classified(model, tmp_path, draft):
    path = save(tmp_path / "a.jpg", (320, 240))
    opened, loaded = Image.open(path), Image.open(path)
    opened.draft(*draft)
    loaded.draft(*draft)
    loaded.load()
    found, expected, whole = model.predict([opened, loaded, path])
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    assert not np.array_equal(found.probabilities, whole.probabilities)


def test_image_that_was_closed_is_said_to_be(model, tmp_path):
    path = save(tmp_path / "a.png", (50, 40))
    made = Image.new("RGB", (4, 4))
    unused, used = Image.open(path), Image.open(path)
    used.load()
    for image in (made, unused, used):
        image.close()
    with Image.open(path) as left:
        pass
    with path.open("rb") as file:
        of_file = Image.open(file)
    with Image.open(path) as kept:
        kept.load()
    *closed, usable = model.predict([made, unused, used, left, of_file, kept])
    assert {prediction.reason for prediction in closed} == {"cannot be read: the image was closed"}
    assert usable.reason is None


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "F", "YCbCr"])
def test_image_of_any_mode_gives_what_a_file_of_it_gives(model, tmp_path, mode):
    with Image.open(save(tmp_path / "a.png", (50, 40))) as image:
        converted = (
            image.convert("L").convert(mode) if mode in ("I;16", "F") else image.convert(mode)
        )
    kind = "tiff" if mode in ("CMYK", "F", "YCbCr") else "png"
    converted.save(tmp_path / f"b.{kind}")
    by_path, by_image = model.predict([tmp_path / f"b.{kind}", converted])
    assert by_path.reason is None
    np.testing.assert_allclose(by_path.probabilities, by_image.probabilities, atol=1e-6)


def test_what_cannot_be_used_comes_with_its_reason_in_its_place(model, tmp_path):
    good = save(tmp_path / "a.png", (50, 40))
    cut = good.read_bytes()[:300]
    found = model.predict([tmp_path / "no.png", good, b"hello", cut])
    assert [prediction.reason is None for prediction in found] == [False, True, False, False]
    assert "cannot be read" in found[0].reason
    assert "not an image" in found[2].reason
    assert [prediction.label is None for prediction in found] == [True, False, True, True]
    assert model.predict([]) == []


@pytest.mark.parametrize(
    ("images", "why"),
    [
        ("a.png", "one str"),
        (b"...", "one bytes"),
        ([3], "int at place 0"),
        ([np.zeros((4, 4, 3), np.float32)], r"float32 \(4, 4, 3\) at place 0"),
        ([np.zeros((4, 4), np.uint8)], r"uint8 \(4, 4\) at place 0"),
        ([np.zeros((0, 4, 3), np.uint8)], r"uint8 \(0, 4, 3\) at place 0"),
    ],
)
def test_what_is_no_image_is_refused(model, images, why):
    with pytest.raises(ParameterError, match=why) as caught:
        model.predict(images)
    assert caught.value.parameter == "images"


def test_predictions_are_those_that_the_run_recorded(model, fitted):
    recorded = read_predictions(open_run(fitted))
    found = model.predict([fitted.parent / "photos" / path for path in recorded.paths])
    np.testing.assert_allclose(probabilities(found), recorded.probabilities, atol=1e-5)


@pytest.mark.parametrize("head", ["linear", "dense"])
def test_fine_tuned_run_predicts_what_it_recorded(head, finetuned, extracted, tmp_path):
    run = finetuned
    if head == "dense":
        how = ("--epochs", 2, "--hidden", 8)
        call("fit-head", extracted / "features.h5", "--head", "dense", *how, "--output", "dense")
        run = tmp_path / "tuned"
        outcome = call(
            *("finetune", tmp_path / "dense", "--unfreeze", "block7a", "--epochs", 1),
            *("--no-trunk-cache", "--output", run),
        )
        assert outcome.exit_code == 0, outcome.stderr
    recorded = read_predictions(open_run(run))
    found = load_run(run).predict([extracted / "photos" / path for path in recorded.paths])
    np.testing.assert_allclose(probabilities(found), recorded.probabilities, atol=1e-5)


def test_second_prediction_of_one_photo_takes_under_50_ms(model, tmp_path):
    path = save(tmp_path / "a.jpg", (500, 375))
    model.predict([path])
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        model.predict([path])
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.05


def test_parity_is_checked_once_and_a_run_of_other_features_is_refused(fitted, tmp_path):
    shutil.copytree(fitted, tmp_path / "run")
    (tmp_path / "run/parity.json").unlink(missing_ok=True)
    load_run(tmp_path / "run")
    found = json.loads((tmp_path / "run/parity.json").read_text())
    assert found["greatest_difference"] <= 1e-3


def change_manifest(run, change):
    """Reads a run's manifest, lets `change` do something to it, and writes it."""
    values = json.loads((run / "manifest.json").read_text())
    change(values)
    (run / "manifest.json").write_text(json.dumps(values))


@pytest.mark.parametrize("kind", ["logreg", "finetuned"])
def test_names_of_classes_in_another_order_are_not_believed(kind, fitted, finetuned, tmp_path):
    shutil.copytree({"logreg": fitted, "finetuned": finetuned}[kind], tmp_path / "run")
    change_manifest(tmp_path / "run", lambda values: values["class_names"].reverse())
    with pytest.raises(ParityError):
        load_run(tmp_path / "run")
    change_manifest(tmp_path / "run", lambda values: values["class_names"].reverse())
    load_run(tmp_path / "run")


def test_model_of_another_run_is_refused(finetuned, tmp_path):
    import keras

    shutil.copytree(finetuned, tmp_path / "run")
    keras.Sequential([keras.layers.Input((32, 32, 3)), keras.layers.Flatten()]).save(
        tmp_path / "run/model.keras"
    )
    with pytest.raises(ParityError, match="do not belong to this head"):
        load_run(tmp_path / "run")
    change_manifest(tmp_path / "run", lambda values: values.pop("names_and_head_sha256"))
    with pytest.raises(RunError, match="without backbone, head, preprocessing"):
        load_run(tmp_path / "run")
