"""Grids of settings: what they come to, and what is said of one that makes no sense."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import HeadError, ParameterError
from pipeline.heads.sweep.settings import Setting, drop_idle_weights, list_settings

GRID = """
[logreg]
C = [0.01, 1, "auto"]
class_weight = ["none", "balanced"]

[[dense]]
hidden = 0

[[dense]]
hidden-units = [64, 256]
dropout = [0.2, 0.5]

[class-mean]
"""


def test_the_usual_grid_has_24_logistic_and_6_dense_settings_and_some_quick_ones():
    heads = [setting.head for setting in list_settings(None, None, {})]
    assert heads.count("logreg") == 24
    assert heads.count("dense") == 6
    assert set(heads) == {"logreg", "dense", "ridge", "neighbours", "class-mean"}


def test_a_toml_file_names_options_as_python_or_the_command_line_does(tmp_path):
    (tmp_path / "grid.toml").write_text(GRID)
    tried = list_settings(tmp_path / "grid.toml", None, {})
    assert [str(setting) for setting in tried] == [
        "logreg C=0.01",
        "logreg C=0.01 class_weight=balanced",
        "logreg C=1",
        "logreg C=1 class_weight=balanced",
        "logreg C=auto",
        "logreg C=auto class_weight=balanced",
        "dense hidden_units=0",
        "dense hidden_units=64 dropout=0.2",
        "dense hidden_units=64 dropout=0.5",
        "dense hidden_units=256 dropout=0.2",
        "dense hidden_units=256 dropout=0.5",
        "class-mean",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[logref]\nC = 1", "Received: 'logref'"),
        ("[logreg]\nCs = 1", "The head 'logreg' has no option 'Cs'"),
        ("[logreg]\nC = [1, -1]", "Expected `C` to be None or a number above 0"),
        ("[dense]\ndropout = ['much']", "Expected `dropout` to be"),
        ("[dense]\ndropout = []", "Received: no value"),
        ("logreg = 3", "a table of options"),
        ("[logreg\n", "cannot be read"),
        ("", "Expected `grid` to name a head"),
        (
            f"[dense]\nepochs = {list(range(1, 100))}\nbatch_size = {list(range(1, 100))}",
            "Received: 9,801",
        ),
    ],
)
def test_a_grid_that_makes_no_sense_is_told_of(tmp_path, text, said):
    (tmp_path / "grid.toml").write_text(text)
    with pytest.raises(ParameterError) as caught:
        list_settings(tmp_path / "grid.toml", None, {})
    assert said in str(caught.value)
    assert caught.value.parameter == "grid"


def test_what_is_given_must_be_an_option_of_a_head_that_is_tried():
    with pytest.raises(ParameterError, match="None of the heads ridge has an option `C`"):
        list_settings(None, ["ridge"], {"C": [1.0]})
    with pytest.raises(ParameterError, match="Expected `C` to be"):
        list_settings(None, ["logreg"], {"C": [1.0, 0.0]})
    with pytest.raises(HeadError, match="no such kind of head"):
        list_settings(None, ["logref"], {})


VALUES = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=4, unique=True)
RATES = st.lists(st.floats(0, 0.9), min_size=1, max_size=4, unique=True)
WIDTHS = st.lists(st.integers(1, 512), min_size=1, max_size=4, unique=True)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(strengths=VALUES, rates=RATES, widths=WIDTHS)
def test_every_combination_is_there_once(strengths, rates, widths):
    grid = {
        "logreg": {"C": strengths},
        "dense": [{"dropout": rates, "hidden_units": widths}, {"dropout": rates[:1]}],
    }
    found = [(one.head, tuple(one.options.items())) for one in list_settings(grid, None, {})]
    expected = {("logreg", (("C", C),)) for C in strengths}
    expected |= {
        ("dense", (("dropout", rate), ("hidden_units", width)))
        for rate in rates
        for width in widths
    }
    assert set(found) == expected | {("dense", (("dropout", rates[0]),))}
    assert len(found) == len(set(found))
    # What is given counts for all tables of a head, and what is the same then is tried once.
    assert len(list_settings(grid, None, {"hidden_units": 7})) == len(strengths) + len(rates)
    assert len(list_settings(grid, ["logreg"], {"C": [1, 2]})) == 2


@pytest.mark.parametrize(("n_train", "expected"), [([5, 5, 5], 1), ([5, 5, 6], 2)])
def test_balanced_weights_that_are_all_one_are_not_tried(n_train, expected):
    tried = [Setting("ridge", {"class_weight": word}) for word in (None, "balanced")]
    assert len(drop_idle_weights(tried, n_train)) == expected
