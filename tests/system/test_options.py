"""Options stated once: checked by what their fields say, and on the command line as they are."""

import math
from dataclasses import asdict, dataclass

import click
import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.commands.options import options_of
from pipeline.errors import ParameterError
from pipeline.features.options import SplitOptions
from pipeline.finetuning.options import FinetuneOptions
from pipeline.heads.options import DenseOptions, LogregOptions
from pipeline.system.options import build_options, check_options, list_options, option


@dataclass(frozen=True)
class Soup:
    salt: float = option(1.5, help="Grams.", least=0, below=10)
    n_carrots: int = option(3, help="How many.", least=1, flag="carrots")
    share: float = option(0.5, help="For you.", above=0, below=1)
    heat: float | None = option(None, help="Watts.", above=0, below=math.inf, none_word="auto")
    kind: str = option("leek", help="Which.", choices=("leek", "pea"), aliases=(("porro", "leek"),))
    stir: bool = option(False, help="Stir it.")
    garnish: bool = option(True, help="Leave the parsley away.")
    lid: bool | None = option(None, help="Use a lid.", default_words="where there is one")
    name: str | None = option(None, help="Of the soup.")


def run(*arguments):
    made = []

    @click.command()
    @options_of(Soup)
    def cook(**values):
        made.append(Soup(**values))

    result = CliRunner().invoke(cook, [str(argument) for argument in arguments])
    return result.exit_code, result.output, made[0] if made else None


def test_command_line_has_names_types_and_defaults_of_the_dataclass():
    assert run() == (0, "", Soup())
    _, _, soup = run(
        *("--salt", 2, "--carrots", 5, "--heat", "7.5", "--kind", "pea", "--stir", "--no-lid"),
        *("--name", "green"),
    )
    assert soup == Soup(2.0, 5, 0.5, 7.5, "pea", True, True, False, "green")
    assert run("--heat", "auto", "--lid")[2] == Soup(lid=True)
    assert run("--no-garnish")[2] == Soup(garnish=False)
    text = " ".join(run("--help")[1].split())
    for said in (
        "--salt FLOAT Grams. [default: 1.5; 0<=x<10]",
        "--carrots INTEGER How many. [default: 3; x>=1]",
        "--share FLOAT For you. [default: 0.5; 0<x<1]",
        "--heat TEXT Watts. [default: auto; x>0]",
        "--no-garnish Leave the parsley away. --lid",
        "--kind [leek|pea] Which. [default: leek]",
        "--lid / --no-lid Use a lid. [default: where there is one]",
        "--name TEXT Of the soup. --help",
    ):
        assert said in text


@pytest.mark.parametrize("value", ["banana", "-1", "0", "nan", "inf"])
def test_wrong_word_is_wrong_usage_and_names_its_option(value):
    code, output, _ = run("--heat", value)
    assert code == 2
    assert "--heat" in output
    assert f"expected auto or a number above 0, received '{value}'" in output


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("--carrots", "0", "expected a whole number at least 1, received '0'"),
        ("--carrots", "2.5", "expected a whole number at least 1, received '2.5'"),
        ("--salt", "nan", "expected a number at least 0 and below 10, received 'nan'"),
        ("--share", "1", "expected a number above 0 and below 1, received '1'"),
        ("--share", "half", "expected a number above 0 and below 1, received 'half'"),
    ],
)
def test_number_out_of_range_is_wrong_usage_and_names_its_option(flag, value, expected):
    code, output, _ = run(flag, value)
    assert code == 2
    assert f"'{flag}'" in output
    assert expected in output


def test_former_spelling_is_understood_and_not_shown():
    assert run("--kind", "porro")[2] == Soup(kind="leek")
    assert build_options(Soup, {"kind": "porro"}, "cook") == Soup(kind="leek")
    assert build_options(Soup, {}, "cook", base=Soup(kind="porro")) == Soup(kind="leek")
    assert "porro" not in run("--help")[1]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("salt", 10.0, "`salt` to be at least 0 and below 10. Received: 10.0"),
        ("salt", math.nan, "at least 0 and below 10. Received: nan"),
        ("salt", "2", "a number at least 0 and below 10. Received: 2"),
        ("n_carrots", 0, "at least 1. Received: 0"),
        ("n_carrots", 2.0, "a whole number at least 1. Received: 2.0"),
        ("n_carrots", True, "a whole number at least 1. Received: True"),
        ("share", 1.0, "`share` to be above 0 and below 1. Received: 1.0"),
        ("heat", math.inf, "None or a number above 0. Received: inf"),
        ("kind", "beef", "one of leek, pea. Received: beef"),
        ("stir", 1, "true or false. Received: 1"),
        ("name", 7, "a text. Received: 7"),
        ("salt", None, "Received: None"),
    ],
)
def test_value_that_makes_no_sense_is_named(name, value, expected):
    with pytest.raises(ParameterError) as caught:
        check_options(Soup(**{name: value}), "cook")
    assert str(caught.value).startswith(f"This cannot be used to cook. Expected `{name}` to be")
    assert expected in str(caught.value)
    assert caught.value.parameter == name


def test_numbers_of_numpy_are_numbers():
    check_options(Soup(salt=np.float32(2), n_carrots=np.int64(4), heat=np.float64(1)), "cook")
    check_options(Soup(salt=2), "cook")


@pytest.mark.parametrize("options", [FinetuneOptions, DenseOptions, LogregOptions, SplitOptions])
def test_defaults_make_sense_and_every_option_has_help(options):
    check_options(options(), "be tried")
    entries = list_options(options)
    assert [entry.name for entry in entries] == list(asdict(options()))
    assert all(entry.facts.help for entry in entries)
    bounded = [entry for entry in entries if entry.type in (int, float)]
    assert all(not entry.accepts(math.nan) for entry in bounded)
    assert all(not entry.accepts(-1e9) for entry in bounded)


def test_options_are_built_of_plain_numbers_and_unknown_ones_are_named():
    soup = build_options(Soup, {"n_carrots": np.int64(4), "salt": np.float32(0.5)}, "cook")
    assert type(soup.n_carrots) is int and soup.n_carrots == 4
    assert type(soup.salt) is float
    assert build_options(Soup, {"stir": True}, "cook", base=soup).n_carrots == 4
    with pytest.raises(ParameterError, match=r"no such option to cook\. .*n_carrots") as caught:
        build_options(Soup, {"n_carots": 3}, "cook")
    assert caught.value.parameter == "n_carots"
    with pytest.raises(ParameterError, match="`options` to be Soup"):
        build_options(Soup, {}, "cook", base={"stir": True})
