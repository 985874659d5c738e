"""Confusions, mistakes that open, and the curve of training, as a terminal shows them."""

import io
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.commands.terminal.confusions import confusion_table, describe_confusions
from pipeline.commands.terminal.links import can_link
from pipeline.commands.terminal.output import Output
from pipeline.commands.terminal.score_output import ScoreOutput
from pipeline.commands.terminal.sparkline import describe_curve, draw_sparkline
from pipeline.runs.mistakes import Mistake, Mistakes
from pipeline.runs.scores import score_predictions


class Screen(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def score(labels, called, names):
    return score_predictions(np.array(labels), np.eye(len(names))[called], names)


def show(monkeypatch, function, columns=80, screen=None, **environ):
    stream = screen or Screen()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", str(columns))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    function(ScoreOutput())
    return stream.getvalue()


def test_a_small_matrix_has_labels_in_rows_and_what_they_are_taken_for_above(monkeypatch):
    metrics = score([0, 0, 0, 1, 1], [0, 1, 1, 1, 1], ["cats", "dogs"])
    shown = show(monkeypatch, lambda out: out.print_confusions(metrics), TERM="dumb")
    assert [line.split() for line in shown.splitlines() if line.strip()] == [
        ["label", "\\", "taken", "for", "cats", "dogs"],
        ["─" * (len("label \\ taken for") + 2 * 7 - 2)],
        ["cats", "1", "2"],
        ["dogs", "·", "2"],
    ]


def test_what_has_no_room_as_a_matrix_is_said_as_its_worst_cells(monkeypatch):
    names = [f"a very long name of class {letter}" for letter in "abcdefgh"]
    labels = [0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7]
    metrics = score(labels, [1, 1, 0, 2, 1, 2, 3, 4, 5, 6, 7], names)
    shown = show(monkeypatch, lambda out: out.print_confusions(metrics), columns=40)
    assert shown.splitlines() == [
        "Taken for another class:",
        f"  {names[0]}, taken for {names[1]}: 2 of 3",
        f"  {names[1]}, taken for {names[2]}: 1 of 2",
    ]


def test_of_many_classes_the_ten_worst_pairs_are_named_and_how_many_there_are():
    names = [str(number) for number in range(14)]
    labels = np.arange(14)
    lines = describe_confusions(score(labels, np.roll(labels, 1), names))
    assert lines[0] == "Taken for another class, the 10 most frequent of 14:"
    assert len(lines) == 11


def test_where_nothing_is_wrong_nothing_is_shown():
    metrics = score([0, 1], [0, 1], ["a", "b"])
    assert confusion_table(metrics, 80) is None
    assert describe_confusions(metrics) == []


def test_names_are_shown_as_they_are_whatever_they_mean_elsewhere(monkeypatch):
    names = ["C:\\", ":dog:", "[bold]", ">so"]
    metrics = score([0, 1, 2, 3], [1, 2, 3, 0], names)
    shown = show(monkeypatch, lambda out: out.print_confusions(metrics), TERM="dumb")
    lines = [line.split() for line in shown.splitlines() if line.strip()]
    assert lines[0] == ["label", "\\", "taken", "for", *names]
    assert [line[0] for line in lines[2:]] == names


@given(st.lists(st.text(min_size=1, max_size=40), min_size=2, max_size=12, unique=True))
@example(["0", "0\U00018d09", "0\x1f\U00018cd6\\", "000\x1f\U00018d09", "000000"])
@settings(deadline=None, max_examples=30)
def test_a_matrix_never_runs_out_of_the_line(names):
    labels = np.arange(len(names))
    table = confusion_table(score(labels, np.roll(labels, 1), names), 80)
    if table is not None:
        assert Output()._wide.measure(table).maximum <= 80


def make_mistakes(path):
    return Mistakes("val", 3, 1, [Mistake(path, "cats", "dogs", 0.9)])


def test_a_mistake_is_a_link_where_the_terminal_knows_links(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a b.png").touch()

    def print_it(out):
        out.print_mistakes(make_mistakes("a b.png"), "p.csv", "photos")

    linked = show(monkeypatch, print_it, TERM="xterm-kitty")
    uri = (tmp_path / "photos/a b.png").as_uri()
    assert f"\n  \x1b]8;;{uri}\x1b\\a b.png\x1b]8;;\x1b\\: cats, taken for dogs" in linked
    for plain in (
        show(monkeypatch, print_it, TERM="linux"),
        show(monkeypatch, print_it, TERM="xterm-kitty", screen=io.StringIO()),
    ):
        assert "\x1b" not in plain
        assert "\n  photos/a b.png: cats, taken for dogs (0.90)\n" in plain


def test_a_hostile_name_in_a_link_does_nothing_to_the_terminal(tmp_path, monkeypatch):
    name = "x\x1b]0;owned\x07\n.png"
    (tmp_path / name).touch()
    shown = show(
        monkeypatch,
        lambda out: out.print_mistakes(make_mistakes(name), "p.csv", tmp_path),
        TERM="xterm-kitty",
    )
    assert shown.count("\x1b") == 4  # two ends of the link, each of two
    assert "\x07" not in shown
    assert len(shown.splitlines()) == 3


def test_an_image_that_is_gone_is_named_as_the_run_has_it(tmp_path, monkeypatch):
    shown = show(
        monkeypatch,
        lambda out: out.print_mistakes(make_mistakes("a.png"), "p.csv", tmp_path),
        TERM="xterm-kitty",
    )
    assert "\n  a.png: cats" in shown


@pytest.mark.parametrize(
    ("environ", "can"),
    [
        ({}, False),
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "linux", "WT_SESSION": "1"}, False),
        ({"TERM": "xterm-256color", "VTE_VERSION": "7006"}, True),
        ({"TERM": "xterm-256color", "VTE_VERSION": "4600"}, False),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode"}, True),
        ({"TERM": "dumb", "FORCE_HYPERLINK": "1"}, True),
        ({"TERM": "xterm-kitty", "FORCE_HYPERLINK": "0"}, False),
    ],
)
def test_links_are_for_terminals_that_are_known_to_show_them(environ, can):
    assert can_link(environ) is can


def test_a_curve_falls_and_rises_in_bars_and_says_where_it_was_least():
    history = [{"epoch": n, "val_loss": loss} for n, loss in enumerate([1.0, 0.5, 0.3, 0.4])]
    assert describe_curve(history, "epoch") == [
        "Loss of validation, epoch 0 to 3: █▃▁▂ least 0.3000 at 2"
    ]
    assert describe_curve(history[:2], "epoch") == []


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=100))
@settings(deadline=None, max_examples=50)
def test_any_curve_has_room_in_a_line(values):
    line = draw_sparkline(values)
    assert 1 <= len(line) <= 24
    assert set(line) <= set("▁▂▃▄▅▆▇█")
