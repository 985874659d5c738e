"""A promise through the command line: what is answered, what is not, and what keeps it."""

import csv
import hashlib
import io
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import call, make_photos
from PIL import Image

from pipeline.finetuning.parent import open_parent
from pipeline.finetuning.renew_promise import renew_promise
from pipeline.runs.run_folder import open_run

OPTIONS = ("--promise", 0.9, "--unlike", 0.1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """120 photos, their features, a run that promises, and pictures of something else."""
    folder = tmp_path_factory.mktemp("promise")
    make_photos(folder / "photos", n_per_class=40)
    (folder / "stripes").mkdir()
    for i in range(4):
        pixels = np.zeros((24, 24, 3), np.uint8)
        pixels[:: i + 2] = 255
        Image.fromarray(pixels).save(folder / "stripes" / f"{i}.png")
    steps = [
        ["extract", folder / "photos", "--backbone", "efficientnet-lite0", "--image-size", 32,
         "--output", folder / "f.h5"],
        ["fit-head", folder / "f.h5", *OPTIONS, "--output", folder / "run"],
    ]  # fmt: skip
    for step in steps:
        outcome = call(*step)
        assert outcome.exit_code == 0, outcome.stderr
    return folder


def facts(run):
    return json.loads((run / "manifest.json").read_text())


def test_fit_says_what_it_promises_and_the_run_has_it(made, tmp_path):
    outcome = call("fit-head", made / "f.h5", *OPTIONS, "--output", tmp_path / "run")
    assert "Promise: at least 0.9 of its answers are right, at 95% confidence." in outcome.stdout
    assert "Shown on 30 test images: " in outcome.stdout
    promise = facts(tmp_path / "run")["promise"]
    assert promise["share"] == 0.9
    assert promise["bound"] >= 0.9
    digest = hashlib.sha256((tmp_path / "run" / "guard.npz").read_bytes()).hexdigest()
    assert promise["guard_sha256"] == digest
    as_json = call("fit-head", made / "f.h5", *OPTIONS, "--output", tmp_path / "b", "--json")
    assert json.loads(as_json.stdout)["promise"]["n_images"] == 30


def test_prediction_is_an_answer_or_says_why_it_is_none(made):
    outcome = call("predict", made / "run", made / "photos", made / "stripes", "--json")
    answers = json.loads(outcome.stdout)
    own, strange = answers[:-4], answers[-4:]
    assert [one["no_answer"] for one in strange] == ["unlike anything seen"] * 4
    assert [one["answer"] for one in strange] == [None] * 4
    answered = [one for one in own if one["answer"]]
    assert len(answered) > 90
    assert all(one["answer"] == one["classes"][0]["name"] for one in answered)
    least = facts(made / "run")["promise"]["least_confidence"]
    for one in own:
        if one["no_answer"] == "unsure":
            assert one["classes"][0]["probability"] < least


def test_a_contact_sheet_keeps_what_is_not_answered_apart(made, tmp_path):
    photos = made / "photos"
    outcome = call("predict", made / "run", photos, made / "stripes", "--json", "--output", "sheet")
    answers = json.loads(outcome.stdout)
    page = (tmp_path / "sheet/contact-sheet.html").read_text()
    groups = {part.split(" <")[0]: part for part in re.split(r"<h2[^>]*>", page)[1:]}
    assert list(groups)[-1] == "unlike anything seen"
    for name, part in groups.items():
        expected = [one for one in answers if name in (one["answer"], one["no_answer"])]
        assert part.count("<li>") == len(expected)
    assert len(groups) == len({one["answer"] or one["no_answer"] for one in answers})
    assert groups["unlike anything seen"].count("? ") >= 4  # with what it would be taken for
    n_answered = sum(one["answer"] is not None for one in answers)
    assert f"{n_answered} of 124 are answered, of which at least 90% are right" in page
    with (tmp_path / "sheet/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["answer"] or None for row in rows] == [one["answer"] for one in answers]
    assert [row["no_answer"] or None for row in rows] == [one["no_answer"] for one in answers]


def test_table_and_csv_say_it_too(made):
    table = call("predict", made / "run", made / "stripes").stdout
    assert table.count("unlike anything seen") == 4
    text = call("predict", made / "run", made / "stripes", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["answer"], row["no_answer"]) for row in rows] == [("", "unlike anything seen")] * 4
    assert all(row["class_1"] for row in rows)


def test_runs_that_promise_nothing_answer_as_before(made, tmp_path):
    assert call("fit-head", made / "f.h5", "--output", tmp_path / "run").exit_code == 0
    answers = json.loads(call("predict", tmp_path / "run", made / "stripes", "--json").stdout)
    assert all(set(one) == {"path", "classes"} for one in answers)
    assert facts(tmp_path / "run")["promise"] is None
    assert facts(tmp_path / "run")["temperature"] == 1


def test_evaluation_counts_what_predict_answers_on_images_that_did_not_train(made):
    outcome = call("evaluate", made / "run", made / "photos", "--json")
    found = json.loads(outcome.stdout)["answers"]
    with (made / "run" / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] != "train"]
    told = json.loads(call("predict", made / "run", made / "photos", "--json").stdout)
    by_path = {one["path"]: one for one in told}
    mine = [(by_path[str(made / "photos" / row["path"])], row["label"]) for row in rows]
    assert found["n_images"] == len(rows)
    assert found["n_answered"] == sum(one["answer"] is not None for one, _ in mine)
    assert found["n_right"] == sum(one["answer"] == label for one, label in mine)
    assert found["n_unlike"] == sum(one["no_answer"] == "unlike anything seen" for one, _ in mine)
    assert found["n_unsure"] == sum(one["no_answer"] == "unsure" for one, _ in mine)
    words = call("evaluate", made / "run", made / "photos").stdout
    assert f"Answered: {found['n_answered']} of {len(rows)} images" in words
    anew = json.loads(
        call("evaluate", made / "run", made / "photos", "--no-cache", "--json").stdout
    )
    assert anew["answers"] == found


def test_promise_that_too_few_images_can_show_writes_nothing_and_says_how_many(made, tmp_path):
    outcome = call("fit-head", made / "f.h5", "--promise", 0.98, "--output", tmp_path / "run")
    assert outcome.exit_code == 1
    assert "Expected at least 149 different test images" in outcome.stderr
    assert "Received: 30" in outcome.stderr and "--test-fraction" in outcome.stderr
    assert not (tmp_path / "run").exists()
    assert call("fit-head", made / "f.h5", "--promise", 1).exit_code == 2
    idle = call("fit-head", made / "f.h5", "--unlike", 0.1)
    assert "--unlike changes nothing without --promise." in idle.stderr


def spoil_guard(run):
    data = bytearray((run / "guard.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (run / "guard.npz").write_bytes(data)


def exchange_guard(run):
    with np.load(run / "guard.npz") as file:
        arrays = dict(file)
    np.savez(run / "guard.npz", **{**arrays, "least_confidence": np.float64(0.25)})


def lower_promise(run):
    values = facts(run)
    values["promise"]["least_confidence"] = 0.123
    (run / "manifest.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda run: (run / "guard.npz").unlink(), "there is no such file"),
        (spoil_guard, "the file that keeps it cannot be read"),
        (exchange_guard, "is not the one that the run was written with"),
        (lower_promise, "or its manifest was changed"),
    ],
)
def test_run_whose_promise_was_tampered_with_answers_nothing(made, tmp_path, harm, said):
    shutil.copytree(made / "run", tmp_path / "run")
    harm(tmp_path / "run")
    for words in (("predict", made / "stripes"), ("evaluate", made / "photos")):
        outcome = call(words[0], tmp_path / "run", words[1])
        assert outcome.exit_code == 1
        assert said in outcome.stderr
        assert outcome.stdout == ""


@pytest.mark.slow
def test_fine_tuning_renews_the_promise_by_the_tuned_networks_own_answers(made, tmp_path):
    outcome = call(
        *("finetune", made / "run", "--unfreeze", "block7a", "--epochs", 1),
        *("--output", tmp_path / "tuned"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    promise = facts(tmp_path / "tuned")["promise"]
    assert "It calls no picture unlike anything seen" in outcome.stderr
    assert promise["greatest_distance"] is None
    answers = json.loads(call("predict", tmp_path / "tuned", made / "photos", "--json").stdout)
    for one in answers:
        sure = one["classes"][0]["probability"] >= promise["least_confidence"]
        assert one["no_answer"] == (None if sure else "unsure")


def test_promise_is_renewed_on_test_images_without_a_distance(made):
    run = open_run(made / "run")
    parent = open_parent(run, None, None)
    guard, notes = renew_promise(parent, parent.before)
    assert guard is not None and guard.surroundings is None
    assert guard.facts.n_images == facts(made / "run")["promise"]["n_images"]
    assert "It calls no picture unlike anything seen" in notes[0]


def test_promise_that_the_tuned_network_does_not_keep_is_named_and_gone(made):
    run = open_run(made / "run")
    parent = open_parent(run, None, None)
    wrong = np.roll(np.eye(3, dtype=np.float32)[np.maximum(parent.before.labels, 0)], 1, axis=1)
    guard, notes = renew_promise(parent, replace(parent.before, probabilities=wrong))
    assert guard is None
    assert f"The promise of {run.folder} is not renewed" in notes[0]
    assert "answers every image" in notes[0]
