import io

import numpy as np
import pytest
from rich.console import Console

from pipeline.commands.terminal.class_chart import draw_class_chart
from pipeline.system.printable import printable


def draw(names, counts, columns):
    stream = io.StringIO()
    Console(file=stream, width=80, soft_wrap=True).print(draw_class_chart(names, counts, columns))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_bars_are_as_long_as_classes_are_large():
    counts = np.array([[80, 20], [40, 10], [1, 0], [0, 0]])
    lines = draw(["a", "b", "c", "d"], counts, ["train", "val"])
    assert lines[1].split() == ["class", "train", "val", "images"]
    rows = [line.split() for line in lines[3:7]]
    assert rows[0] == ["a", "80", "20", "100", "█" * 20]
    assert rows[1] == ["b", "40", "10", "50", "█" * 10]
    assert rows[2] == ["c", "1", "0", "1", "▎"]
    assert rows[3] == ["d", "0", "0", "0"]


@pytest.mark.parametrize("n_classes", [2, 30, 31, 100, 1000])
def test_chart_fits_80_columns_and_a_screen_whatever_the_classes(n_classes):
    rng = np.random.default_rng(0)
    names = [f"{'a very long name of a class ' * 3}{n}" for n in range(n_classes)]
    names[0], names[1] = "\u82b1" * 40, "[bold]red[/bold]\n\x1b[31m"
    counts = rng.integers(0, 10_000_000, (n_classes, 3))
    lines = draw(names, counts, ["train", "val", "test"])
    assert all(Console().measure(line).maximum <= 80 for line in lines)
    assert len(lines) <= 35
    assert not any("\x1b" in line for line in lines)


def test_of_many_classes_the_largest_and_the_smallest_are_shown():
    counts = np.arange(100)[:, None] + 1
    lines = draw([f"class{n:02d}" for n in range(100)], counts, [])
    shown = [line.split()[0] for line in lines if line.strip().startswith("class0")]
    assert [line.split()[0] for line in lines[3:13]] == [f"class{n}" for n in range(99, 89, -1)]
    assert lines[13].split() == ["80", "more", "90-11"]
    assert shown == [f"class0{n}" for n in range(9, -1, -1)]


def test_names_are_shown_as_one_printable_line():
    assert printable("a b\u82b1.png") == "a b\u82b1.png"
    assert printable("two\nlines\x1b[0m") == "two\\nlines\\x1b[0m"
    assert printable("stray\udcff") == "stray\\udcff"
