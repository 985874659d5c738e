import csv
import json
import os

import numpy as np
import pytest
from conftest import call
from sklearn.utils.class_weight import compute_class_weight

from pipeline.errors import ClassWeightError
from pipeline.heads.class_weights import weigh_classes

NAMES = ["blue", "green", "red"]
LABELS = np.array([0] * 10 + [1] * 4 + [2])


def test_balanced_is_scikit_learns_formula():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(weigh_classes("balanced", LABELS, NAMES), expected)
    assert weigh_classes(None, LABELS, NAMES) is None


def test_files_give_each_class_its_weight_in_any_order(tmp_path):
    (tmp_path / "w.json").write_text(json.dumps({"red": 3, "blue": 0.5, "green": 1}))
    (tmp_path / "w.csv").write_text("class,weight\nred,3\ngreen, 1\n\nblue,0.5\n")
    (tmp_path / "bare.csv").write_text("\ufeffred,3\ngreen,1\nblue,5e-1\n", "utf-8")
    for name in ("w.json", "w.csv", "bare.csv"):
        weights = weigh_classes(str(tmp_path / name), LABELS, NAMES)
        np.testing.assert_array_equal(weights, [0.5, 1, 3])


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("w.json", '{"red": 1, "blue": 1}', "missing: 'green'"),
        ("w.json", '{"red": 1, "blue": 1, "green": 1, "gray": 1}', "unknown: 'gray'"),
        ("w.csv", "red,1\nblue,1\ngreen,1\nred,2", "there twice: 'red'"),
        ("w.csv", "red,0\nblue,1\ngreen,1", "'red' is not one.*above 0. Received: '0'"),
        ("w.csv", "red,much\nblue,1\ngreen,1", "Received: 'much'"),
        ("w.json", '{"red": null, "blue": 1, "green": 1}', "Received: None"),
        ("w.json", '{"red": Infinity, "blue": 1, "green": 1}', "Received: inf"),
        ("w.json", "[1, 2, 3]", "cannot be read"),
        ("w.json", '{"red": 1, "blue": 1, "green": 1, "red": 9}', "there twice: 'red'"),
        ("w.json", '{"red": {"a": 1}, "blue": 1, "green": 1}', "'red' is not one"),
        ("w.json", "{", "cannot be read"),
        ("w.csv", "red;1", "cannot be read"),
        ("w.csv", "", "missing: 'blue', 'green', 'red'"),
    ],
)
def test_what_does_not_fit_the_classes_is_refused(tmp_path, name, text, match):
    (tmp_path / name).write_text(text)
    with pytest.raises(ClassWeightError, match=match):
        weigh_classes(str(tmp_path / name), LABELS, NAMES)


@pytest.mark.parametrize("header", ["Class,Weight", "CLASS, weight ", "class,weight"])
def test_header_may_be_in_capitals(tmp_path, header):
    (tmp_path / "w.csv").write_text(f"{header}\nred,3\ngreen,1\nblue,0.5\n")
    np.testing.assert_array_equal(
        weigh_classes(str(tmp_path / "w.csv"), LABELS, NAMES), [0.5, 1, 3]
    )


@pytest.mark.parametrize("name", ["two\nlines", "two\r\nlines", "two\x0clines", "two\u2028lines"])
def test_quoted_names_may_have_line_breaks(tmp_path, name):
    text = f'"{name}",3\r\n"a, b",1\r\n'
    (tmp_path / "w.csv").write_bytes(text.encode())
    weights = weigh_classes(str(tmp_path / "w.csv"), np.array([0, 1]), ["a, b", name])
    np.testing.assert_array_equal(weights, [1, 3])


def test_of_many_missing_classes_three_are_named(tmp_path):
    names = [f"c{n:04d}" for n in range(1200)]
    (tmp_path / "w.csv").write_text("c0000,1\n")
    with pytest.raises(ClassWeightError) as caught:
        weigh_classes(str(tmp_path / "w.csv"), np.zeros(1, int), names)
    assert "missing: 'c0001', 'c0002', 'c0003' and 1,196 more" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_missing_file_names_the_other_words(tmp_path):
    words = r"read: No such file or directory\. Expected balanced, none, a JSON file"
    with pytest.raises(ClassWeightError, match=words):
        weigh_classes(str(tmp_path / "balance"), LABELS, NAMES)


def test_what_is_no_file_is_refused_and_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", "/dev/zero"):
        with pytest.raises(ClassWeightError, match="it is a pipe or device, not a file"):
            weigh_classes(str(path), LABELS, NAMES)


def test_weights_reach_both_heads(extracted, tmp_path):
    (tmp_path / "w.json").write_text('{"blue": 1, "green": 1, "red": 100}')
    mean_of_red, last_loss = {}, {}
    for weight in ("none", "w.json"):
        for head in (("--C", "0.001"), ("--head", "dense", "--learning-rate", 0.01, "--epochs", 5)):
            run = tmp_path / f"{weight}{head[0]}"
            outcome = call("fit-head", extracted / "features.h5", "--class-weight", weight, *head,
                           "--output", run)  # fmt: skip
            assert outcome.exit_code == 0, outcome.stderr
            lines = (run / "predictions.csv").read_text().splitlines()[1:]
            mean_of_red[run.name] = np.mean([float(line.rsplit(",", 1)[1]) for line in lines])
            with (run / "history.csv").open() as file:
                last_loss[run.name] = float(list(csv.DictReader(file))[-1]["train_loss"])
    assert mean_of_red["w.json--C"] > mean_of_red["none--C"] + 0.05
    # The loss in the history is not weighted, so that a head that looks at red only has a worse.
    assert last_loss["w.json--head"] > 1.2 * last_loss["none--head"]


def test_wrong_weights_are_an_error_before_any_work_in_all_commands(extracted, fitted, tmp_path):
    (tmp_path / "w.json").write_text('{"red": 1}')
    for command, subject in (("fit-head", extracted / "features.h5"), ("finetune", fitted)):
        outcome = call(command, subject, "--class-weight", "w.json", "--output", tmp_path / "out")
        assert outcome.exit_code == 1
        assert "missing: 'blue', 'green'" in outcome.stderr
        assert not (tmp_path / "out").exists()
