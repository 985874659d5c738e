"""Tests of pipeline/commands/terminal/words.py: what the library says, as people type it."""

import click
import pytest

from pipeline.commands.terminal.words import say_in_commands


@click.group()
def main():
    """A program with two commands."""


@main.command("extract")
@click.argument("data")
@click.option("--batch-size", type=int)
@click.option("--no-reuse", is_flag=True)
@click.option("--moved", is_flag=True)
@click.option("--on-error")
@click.option("-o", "--output")
def extract(**options):
    """Stage one."""


@main.command("fit-head")
@click.argument("features", nargs=-1)
@click.option("--hidden", "hidden_units", type=int)
@click.option("--trunk-cache/--no-trunk-cache", default=None)
def fit_head(**options):
    """Stage two."""


@pytest.fixture
def context():
    root = click.Context(main, info_name="cli.py")
    with click.Context(extract, parent=root, info_name="extract") as inner:
        yield inner


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Received: `batch_size=64`.", "Received: --batch-size 64."),
        ("Leave out `batch_size`.", "Leave out --batch-size."),
        ("say `moved=True`", "say --moved"),
        ("or `reuse=False`", "or --no-reuse"),
        ('say `on_error="skip"`', "say --on-error skip"),
        ("give another `output`", "give another --output"),
        ("of another command: `hidden_units=8`", "of another command: --hidden 8"),
        ("`trunk_cache=False` or `trunk_cache=True`", "--no-trunk-cache or --trunk-cache"),
        ("Expected `data` to be there", "Expected DATA to be there"),
        ("`frostline.extract(DATA, moved=True)`", "`cli.py extract DATA --moved`"),
        ('`frostline.extract("a, b", batch_size=8)`', "`cli.py extract a, b --batch-size 8`"),
        ("`frostline.list_extract()` lists", "`cli.py extract` lists"),
        ("`frostline.extract(RUN, DATA)`", "`cli.py extract RUN DATA`"),
        ("`frostline.extract(a,b = c.zip)`", "`cli.py extract a,b = c.zip`"),
        ("`frostline.extract()` wrote it", "`cli.py extract` wrote it"),
        ("`frostline.fit_head(...)` fits it", "`cli.py fit-head` fits it"),
        ("`frostline.unheard_of(1)` stays", "`frostline.unheard_of(1)` stays"),
        ("from `block7a` up", "from `block7a` up"),
        ("`pip install '.[hub]'` stays", "`pip install '.[hub]'` stays"),
        ("a backtick ` alone, `\nand one", "a backtick ` alone, `\nand one"),
    ],
)  # fmt: skip
def test_parameters_and_calls_become_options_and_commands(context, said, shown):
    assert say_in_commands(said) == shown


def test_without_a_command_the_words_stay():
    assert say_in_commands("Leave out `batch_size`.") == "Leave out `batch_size`."
