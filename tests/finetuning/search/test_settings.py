"""Which settings are tried."""

from dataclasses import replace

import pytest

from pipeline.backbones.frost_lines import FrostLine
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.search.settings import (
    CHOICES,
    Space,
    choose_deeper,
    list_settings,
)
from pipeline.runs.searched_settings import describe_setting


def lines(*shares):
    """Lines from the top, each with the share of the work that it thaws."""
    return [
        FrostLine(f"line{place}", "", (), (1, 1, 1), 1, 0, 1 - share, 2)
        for place, share in enumerate(shares)
    ]


def test_the_first_setting_is_what_was_given_and_none_comes_twice():
    settings = list_settings(FinetuneOptions(), "line3", seed=0)
    assert settings[0] == {}
    n_combinations = 2
    for values in CHOICES.values():
        n_combinations *= len(values) + 1
    assert len(settings) == n_combinations
    assert all(settings.count(one) == 1 for one in settings)
    for setting in settings:
        replace(FinetuneOptions(), **setting).check()


def test_the_seed_decides_the_order_of_the_rest():
    def draw(seed):
        return list_settings(FinetuneOptions(), "line3", seed)

    assert draw(1) == draw(1) != draw(2)


def test_what_was_given_is_not_searched():
    given = FinetuneOptions(layer_decay=0.9, learning_rate=1e-5, unfreeze="line0")
    searched = {name for one in list_settings(given, "line3", 0) for name in one}
    assert searched == CHOICES.keys() - {"layer_decay", "learning_rate"}


def test_a_rate_that_a_sweep_finds_is_not_searched():
    every = list_settings(FinetuneOptions(find_learning_rate=True), None, 0)
    assert not any("learning_rate" in setting for setting in every)


def test_where_all_is_given_there_is_one_setting():
    other = {name: values[0] for name, values in CHOICES.items()}
    assert list_settings(FinetuneOptions(**other), None, 0) == [{}]


@pytest.mark.parametrize(
    ("line", "expected"), [("line0", "line2"), ("line2", "line3"), ("line3", None), ("all", None)]
)
def test_the_deeper_line_thaws_about_a_quarter_more(line, expected):
    assert choose_deeper(lines(0.1, 0.2, 0.38, 0.9), line) == expected


def test_what_is_begun_at_is_the_lowest_line_of_those_that_are_tried():
    space = Space(list_settings(FinetuneOptions(), "deep", 0), "line", "deep")
    place = space.settings.index({"unfreeze": "deep"})
    assert [space.lowest_of(n) for n in (1, place, place + 1)] == ["line", "line", "deep"]


def test_settings_are_described_as_they_would_be_given():
    assert describe_setting({"unfreeze": "block4a", "flip": True, "learning_rate": 1e-3}) == (
        "unfreeze=block4a, flip, learning_rate=0.001"
    )
    assert describe_setting({"label_smoothing": 0.0}) == "label_smoothing=0"
    assert describe_setting({}) == "as it is"
