"""Which images a run is wrong about."""

import numpy as np
from conftest import call, make_photos

from benchmarks.stand_in import extract
from pipeline.commands.terminal.sentences import describe_mistakes
from pipeline.runs.mistakes import find_mistakes
from pipeline.runs.predictions import Predictions, read_predictions
from pipeline.runs.run_folder import open_run

NAMES = ["cats", "dogs"]
TRAIN, VAL = 0, 1


def say(probabilities_of_dogs, labels, splits, paths=None):
    dogs = np.array(probabilities_of_dogs, np.float32)
    return Predictions(
        paths or [f"{row}.jpg" for row in range(len(dogs))],
        np.array(splits, np.int8),
        np.array(labels, np.int32),
        np.stack([1 - dogs, dogs], axis=1),
    )


def test_the_surest_mistakes_of_a_split_come_first_and_others_do_not_count():
    said = say([0.75, 0.9, 0.1, 0.95, 0.8], [0, 0, 0, 0, -1], [VAL, VAL, VAL, TRAIN, VAL])
    found = find_mistakes(said, NAMES, VAL, "val")
    assert (found.n_wrong, found.n_images) == (2, 3)
    assert [mistake.path for mistake in found.worst] == ["1.jpg", "0.jpg"]
    assert describe_mistakes(found, "runs/x/predictions.csv") == [
        "2 of 3 val images are wrong:",
        "  1.jpg: cats, taken for dogs (0.90)",
        "  0.jpg: cats, taken for dogs (0.75)",
        "All predictions: runs/x/predictions.csv",
    ]


def test_of_many_mistakes_ten_are_shown_and_names_do_nothing_to_a_terminal():
    said = say([0.9] * 18, [0] * 18, [VAL] * 18, ["a\x1b[31m.jpg"] * 18)
    lines = describe_mistakes(find_mistakes(said, NAMES, VAL, "val"), "x")
    assert lines[0] == "18 of 18 val images are wrong, the 10 surest of them:"
    assert len(lines) == 12
    assert lines[1] == "  a\\x1b[31m.jpg: cats, taken for dogs (0.90)"


def test_without_a_mistake_nothing_is_said():
    assert describe_mistakes(find_mistakes(say([0.1], [0], [VAL]), NAMES), "x") == []


def test_fit_head_names_the_mistakes_that_predictions_csv_has(tmp_path):
    """Two classes of the same gray noise, which nothing can tell apart."""
    make_photos(tmp_path / "noise", n_per_class=20, classes=("a", "b"))
    extract(tmp_path / "noise", tmp_path / "noise.h5")
    outcome = call("fit-head", "noise.h5", "--output", "run")
    assert outcome.exit_code == 0, outcome.stderr
    said = read_predictions(open_run("run"))
    is_val = said.splits == VAL
    wrong = is_val & (said.probabilities.argmax(axis=1) != said.labels)
    assert wrong.any()
    assert f"{wrong.sum()} of {is_val.sum()} val images" in outcome.stdout
    surest = max(np.flatnonzero(wrong), key=lambda row: said.probabilities[row].max())
    assert f"  noise/{said.paths[surest]}: " in outcome.stdout
    assert "All predictions: run/predictions.csv" in outcome.stdout
