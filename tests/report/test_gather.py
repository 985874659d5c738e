"""What a report says of runs, against the files that the runs wrote and other libraries."""

import base64
import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_runs import (
    fit_undrawn,
    make_features,
    make_images,
    make_run,
    reports_without_what_takes_long,
)
from PIL import Image
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.neighbors import NearestNeighbors

import frostline
from pipeline.features.feature_file import FeatureFile
from pipeline.heads.audit import wrong_labels
from pipeline.report.contents import ReportContents
from pipeline.report.gathering import audit_findings
from pipeline.report.gathering.gather import gather_contents
from pipeline.runs.run_folder import open_run

CLASSES = ("blue", "green", "red")


def _gather(*folders: Path, data: Path | None = None) -> ReportContents:
    runs = [open_run(folder) for folder in folders]
    roots = [data or Path(run.manifest.data_root) for run in runs]
    return gather_contents(runs, roots, count_bytes=lambda contents: 100_000)


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with reports_without_what_takes_long():
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A run that is wrong now and then, in `run`, with a test split."""
    folder = tmp_path_factory.mktemp("made")
    make_run(folder, "run", CLASSES, 40, spread=2.2, test_fraction=0.4)
    return folder


@pytest.fixture(scope="module")
def contents(made) -> ReportContents:
    return _gather(made / "run")


def _read_rows(run: Path, name: str = "predictions.csv") -> list[dict[str, str]]:
    with (run / name).open() as file:
        return list(csv.DictReader(file))


def _wrong(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The wrong ones of the test split, the surest first."""
    wrong = [row for row in rows if row["split"] == "test" and row["label"] != row["predicted"]]
    return sorted(wrong, key=lambda row: -float(row[row["predicted"]]))


def test_the_mistakes_are_those_of_the_table_of_predictions(made, contents):
    expected = _wrong(_read_rows(made / "run"))
    (run,) = contents.runs
    assert len(expected) > 3
    assert run.split == "test" and run.n_mistakes == len(expected)
    shown = [contents.images[mistake.image] for mistake in run.mistakes]
    assert [image.path for image in shown] == [row["path"] for row in expected]
    names = contents.class_names
    for image, row in zip(shown, expected, strict=True):
        assert names[image.label] == row["label"] and image.split == "test"
        assert [names[called] for called in image.called] == [row["predicted"]]
        assert image.probability[0] == pytest.approx(float(row[row["predicted"]]), abs=1e-4)


def test_the_least_certain_are_those_with_the_lowest_highest_probability(made, contents):
    rows = [row for row in _read_rows(made / "run") if row["split"] == "test"]
    rows.sort(key=lambda row: float(row[row["predicted"]]))
    shown = [contents.images[number].path for number in contents.runs[0].uncertain]
    assert shown == [row["path"] for row in rows[: len(shown)]]


def test_neighbours_are_the_nearest_training_images(made, contents):
    rows = _read_rows(made / "run")
    with FeatureFile(made / "run.h5") as file:
        features, paths = file.read_all(), list(file.contents.images.paths)
    train = [row["path"] for row in rows if row["split"] == "train"]
    features = features - features.mean(axis=0)
    found = NearestNeighbors(n_neighbors=4, metric="cosine")
    found.fit(features[[paths.index(path) for path in train]])
    for mistake in contents.runs[0].mistakes:
        of = paths.index(contents.images[mistake.image].path)
        nearest = found.kneighbors(features[of : of + 1], return_distance=False)[0]
        shown = [contents.images[number].path for number in mistake.neighbours]
        assert shown == [train[place] for place in nearest]


def test_every_scored_image_is_there_for_the_cells_of_the_matrix(contents):
    (run,) = contents.runs
    counted = np.zeros_like(np.array(run.matrix))
    for image in contents.images:
        if image.split == run.split:
            counted[image.label, image.called[0]] += 1
    assert counted.tolist() == run.matrix
    assert counted.sum() == 48


def test_intervals_of_classes_are_scipys(contents):
    (run,) = contents.runs
    for label, scores in enumerate(run.classes):
        hits, n_images = run.matrix[label][label], sum(run.matrix[label])
        interval = binomtest(hits, n_images).proportion_ci(method="wilson")
        assert scores.n_images == n_images and scores.recall == hits / n_images
        assert (scores.low, scores.high) == pytest.approx((interval.low, interval.high))


def test_calibration_is_scikit_learns(made, contents):
    rows = [row for row in _read_rows(made / "run") if row["split"] == "test"]
    sure = np.array([float(row[row["predicted"]]) for row in rows])
    right = np.array([row["label"] == row["predicted"] for row in rows])
    accuracy, confidence = calibration_curve(right, sure, n_bins=10)
    bins = [one for one in contents.runs[0].calibration if one.n_images]
    assert [one.accuracy for one in bins] == pytest.approx(accuracy)
    assert [one.confidence for one in bins] == pytest.approx(confidence, abs=1e-6)
    assert sum(one.n_images for one in bins) == len(rows)


def test_the_first_sentences_say_how_good_it_is_and_what_that_is_worth(contents):
    (run,) = contents.runs
    n_right = sum(run.matrix[label][label] for label in range(3))
    text = " ".join(run.summary)
    assert "A logreg head on features of stand-in at 8 pixels, fitted on" in text
    assert f"It is right for {n_right} of 48 test images: {100 * n_right / 48:.1f}% (95%" in text
    assert "To say the most common class each time would be right for 33.3%." in text
    assert [score.name for score in run.scores] == [
        "this logreg head",
        "the most common class each time",
    ]
    assert "flatters" not in text


def test_a_thumbnail_is_the_picture_of_its_image(contents):
    hue = {"blue": 0, "green": 1, "red": 2}
    large = {mistake.image for mistake in contents.runs[0].mistakes}
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet.url.partition(",")[2]))))
        for sheet in contents.sheets
    ]
    for number, image in enumerate(contents.images):
        sheet_number, place = image.thumbnail
        sheet, picture = contents.sheets[sheet_number], pictures[sheet_number]
        top, left = (sheet.tile * n for n in divmod(place, sheet.columns))
        mean = picture[top : top + sheet.tile, left : left + sheet.tile].mean(axis=(0, 1))
        assert mean.argmax() == hue[contents.class_names[image.label]]
        assert sheet.tile == 128 if number in large else sheet.tile >= 16


def test_the_map_has_every_image_and_is_the_same_each_time(made, contents):
    again = _gather(made / "run")
    drawn = contents.feature_map
    assert drawn.x == again.feature_map.x and drawn.y == again.feature_map.y
    assert len(set(drawn.images)) == len(drawn.images) == 120
    places = np.array([drawn.x, drawn.y])
    assert places.min() >= 0 and places.max() <= 1 and np.ptp(places, axis=1).max() > 0.99


def test_clusters_stay_together_on_the_map(tmp_path):
    make_run(tmp_path, "run", CLASSES, 34, spread=0.3)
    drawn = (contents := _gather(tmp_path / "run")).feature_map
    labels = np.array([contents.images[number].label for number in drawn.images])
    places = np.array([drawn.x, drawn.y]).T
    nearest = NearestNeighbors(n_neighbors=6).fit(places).kneighbors(return_distance=False)
    assert (labels[nearest] == labels[:, None]).mean() > 0.99


def test_images_that_are_gone_or_changed_are_told_and_not_shown(made, tmp_path):
    shutil.copytree(made / "photos", tmp_path / "photos")
    (tmp_path / "photos" / "red" / "003.png").unlink()
    Image.new("RGB", (24, 24), "white").save(tmp_path / "photos" / "blue" / "007.png")
    found = _gather(made / "run", data=tmp_path / "photos")
    without = [image.path for image in found.images if image.thumbnail is None]
    assert sorted(without) == ["blue/007.png", "red/003.png"]
    notes = "\n".join(found.notes)
    assert "red/003.png is not where it was" in notes
    assert "blue/007.png is not the one that the run was made of" in notes


def test_without_images_and_features_a_report_still_says_the_rest(made, tmp_path):
    shutil.copytree(made / "run", tmp_path / "run")
    manifest = tmp_path / "run" / "manifest.json"
    moved = manifest.read_text().replace(str(made), str(tmp_path / "elsewhere"))
    manifest.write_text(moved)
    found = _gather(tmp_path / "run")
    assert found.feature_map is None and found.sheets == []
    assert found.runs[0].n_mistakes == len(found.runs[0].mistakes) > 3
    notes = "\n".join(found.notes)
    assert "the features are gone, so there are no neighbours and no map" in notes
    assert f"The images are not at {tmp_path / 'elsewhere' / 'photos'} any more" in notes


def test_a_run_with_folds_is_shown_as_its_folds_judged_it(tmp_path):
    make_run(tmp_path, "run", CLASSES, 20, spread=2.2, folds=4)
    rows = _read_rows(tmp_path / "run", "out-of-fold.csv")
    wrong = [row["path"] for row in rows if row["label"] != row["predicted"]]
    found = _gather(tmp_path / "run")
    (run,) = found.runs
    assert run.split == "folds" and run.n_mistakes == len(wrong) > 3
    assert {found.images[mistake.image].path for mistake in run.mistakes} == set(wrong)
    assert "Each was judged by a head that was fitted without it: 4 folds." in run.summary
    for mistake in run.mistakes:
        assert mistake.image not in mistake.neighbours and len(mistake.neighbours) == 4


def test_a_head_on_joined_features_has_neighbours_in_all_of_them(tmp_path):
    paths = make_images(tmp_path / "photos", CLASSES, 20)
    files = [
        make_features(
            *(tmp_path / f"{size}.h5", tmp_path / "photos", paths),
            **{"spread": 2.5, "seed": size, "image_size": size},
        )
        for size in (8, 10)
    ]
    fit_undrawn(files, tmp_path / "run", join=True)
    found = _gather(tmp_path / "run")
    parts = []
    for path in files:
        with FeatureFile(path) as file:
            features, paths = file.read_all(), list(file.contents.images.paths)
        features -= features.mean(axis=0)
        parts.append(features / np.linalg.norm(features, axis=1, keepdims=True))
    joined = np.hstack(parts)
    train = [row["path"] for row in _read_rows(tmp_path / "run") if row["split"] == "train"]
    of_train = joined[[paths.index(path) for path in train]]
    assert len(found.runs[0].mistakes) > 2
    for mistake in found.runs[0].mistakes:
        alike = of_train @ joined[paths.index(found.images[mistake.image].path)]
        nearest = [train[place] for place in np.argsort(-alike)[:4]]
        assert [found.images[number].path for number in mistake.neighbours] == nearest
    extracts, (fit,) = found.runs[0].commands[:2], found.runs[0].commands[2:]
    assert ["image_size=8" in extracts[0], "image_size=10" in extracts[1]] == [True, True]
    assert fit == "frostline.fit_head(['8.h5', '10.h5'], join=True, C=1.0)"


def test_validation_that_chose_is_said_to_flatter(tmp_path):
    make_run(tmp_path, "run", CLASSES, 20, C=None)
    (run,) = _gather(tmp_path / "run").runs
    assert run.split == "val"
    (sentence,) = [one for one in run.summary if "flatters" in one]
    assert sentence.startswith("They chose C = ")
    assert run.plots[0].mark[1].startswith("chosen: C = ")


def test_two_runs_show_the_images_on_which_they_disagree(made, tmp_path):
    other = make_features(
        tmp_path / "other.h5",
        made / "photos",
        [row["path"] for row in _read_rows(made / "run")],
        spread=1.5,
        seed=5,
    )
    fit_undrawn(other, tmp_path / "other", C=0.1, test_fraction=0.4)
    first, second = (
        {row["path"]: row["label"] == row["predicted"] for row in _read_rows(run)
         if row["split"] == "test"}
        for run in (made / "run", tmp_path / "other")
    )  # fmt: skip
    found = _gather(made / "run", tmp_path / "other")
    (comparison,) = found.comparisons
    for numbers, (right, wrong) in (
        (comparison.only_first, (first, second)),
        (comparison.only_second, (second, first)),
    ):
        shown = {found.images[number].path for number in numbers}
        assert shown == {path for path in first if right[path] and not wrong[path]} != set()
    text = " ".join(comparison.sentences)
    assert "On 48 test images that trained neither: run" in text and "McNemar" in text
    assert all(len(image.called) == 2 for image in found.images)
    assert all(None not in image.called for image in found.images)


def test_runs_of_other_images_stand_side_by_side_and_are_not_compared(made, tmp_path):
    make_run(tmp_path, "cats", ("cat", "dog"), 12)
    found = _gather(made / "run", tmp_path / "cats")
    assert not found.comparisons
    assert any("run and cats stand side by side and are not compared" in n for n in found.notes)
    assert found.class_names == ["blue", "green", "red", "cat", "dog"]
    assert np.array(found.runs[1].matrix)[3:, 3:].sum() == np.array(found.runs[1].matrix).sum() > 0
    of_cats = [image for image in found.images if image.called[0] is None]
    assert {found.class_names[image.label] for image in of_cats} == {"cat", "dog"}
    assert {path.path.split("/")[0] for path in of_cats} == {"cat", "dog"}


def test_one_class_of_wide_features_and_few_images_has_a_map(tmp_path):
    paths = make_images(tmp_path / "photos", ("a", "b"), 4)
    features = make_features(tmp_path / "f.h5", tmp_path / "photos", paths)
    fit_undrawn(features, tmp_path / "run", C=1.0)
    drawn = _gather(tmp_path / "run").feature_map
    assert len(drawn.images) == 8 and np.isfinite([drawn.x, drawn.y]).all()


def _write_audit(folder: Path, features: Path, created: str, **parts) -> None:
    folder.mkdir()
    with FeatureFile(features) as file:
        sha256 = file.contents.features_sha256
    said = {
        "format": "frostline-audit",
        "version": 1,
        "created": created,
        "features_file": str(features),
        "features_sha256": sha256,
        "findings": [],
        "issues": [],
        **parts,
    }
    (folder / "audit.json").write_text(json.dumps(said))


def test_the_newest_audit_of_the_feature_file_has_its_say(tmp_path):
    make_run(tmp_path, "run", CLASSES, 20, spread=2.5)
    assert _gather(tmp_path / "run").findings is None
    wrong = [row for row in _read_rows(tmp_path / "run") if row["split"] == "val"]
    wrong = [row["path"] for row in wrong if row["label"] != row["predicted"]]
    doubted = wrong[:2]
    issues = [{"path": path, "issue": "wrong label", "score": 0.9} for path in doubted]
    finding = {"heading": "2 labels are likely wrong", "text": "Look.", "n_images": 2}
    features = tmp_path / "run.h5"
    _write_audit(tmp_path / "old", features, "2026-11-01T00:00:00+00:00")
    _write_audit(
        *(tmp_path / "new", features, "2026-11-02T00:00:00+00:00"),
        issues=issues,
        findings=[{**finding, "kind": "wrong label", "paths": [*doubted, "gone.png"]}],
    )
    found = _gather(tmp_path / "run")
    (said,) = found.findings
    assert (said.heading, said.text, said.n_images) == (finding["heading"], "Look.", 2)
    assert [found.images[number].path for number in said.images] == doubted
    suspects = [one.image for one in found.runs[0].mistakes if one.is_suspect]
    assert {found.images[number].path for number in suspects} == set(doubted)
    (tmp_path / "new" / "audit.json").write_text('{"format": "frostline-audit"')
    again = _gather(tmp_path / "run")
    assert again.findings == [] and "An audit cannot be read" in "".join(again.notes)


def test_what_an_audit_writes_is_what_a_report_reads(tmp_path):
    make_run(tmp_path, "run", CLASSES, 20, spread=0.3)
    audit = frostline.audit(tmp_path / "run.h5", output=tmp_path / "audit")
    found = _gather(tmp_path / "run")
    assert [one.heading for one in found.findings] == [one.heading for one in audit.findings]
    assert audit_findings.WRONG_LABEL == wrong_labels.KIND
