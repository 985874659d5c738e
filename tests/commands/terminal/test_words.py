"""Tests of pipeline/commands/terminal/words.py: what the library says, as people type it."""

import ast
import re
import shlex
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.commands.terminal.words import say_in_commands

PIPELINE = Path(__file__).resolve().parents[3] / "pipeline"


@click.group()
def main():
    """A program with two commands."""


@main.command("extract")
@click.argument("data")
@click.option("--batch-size", type=int)
@click.option("--no-reuse", "reuse", is_flag=True, default=True, flag_value=False)
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
    root = click.Context(main, info_name="python cli.py")
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
        ("`frostline.extract(DATA, moved=True)`", "`python cli.py extract DATA --moved`"),
        ('`frostline.extract("a, b", moved=True)`', "`python cli.py extract 'a, b' --moved`"),
        ("`frostline.list_extract()` lists", "`python cli.py extract` lists"),
        ("`frostline.extract(RUN, DATA)`", "`python cli.py extract RUN DATA`"),
        ("`frostline.extract(a,b = c.zip)`", "`python cli.py extract 'a,b = c.zip'`"),
        ("say `output=my photos.h5`", "say --output 'my photos.h5'"),
        ("say `output=$HOME`", "say --output '$HOME'"),
        (r"Received: `on_error='a\\b'`", r"Received: --on-error 'a\b'"),
        ("an empty `on_error=`", "an empty --on-error ''"),
        ("`frostline.extract()` wrote it", "`python cli.py extract` wrote it"),
        ("`frostline.fit_head(...)` fits it", "`python cli.py fit-head` fits it"),
        ("`frostline.unheard_of(1)` stays", "`frostline.unheard_of(1)` stays"),
        ("from `block7a` up", "from `block7a` up"),
        ("`pip install '.[hub]'` stays", "`pip install '.[hub]'` stays"),
        ("a backtick ` alone, `\nand one", "a backtick ` alone, `\nand one"),
    ],
)  # fmt: skip
def test_parameters_and_calls_become_options_and_commands(context, said, shown):
    assert say_in_commands(said) == shown


NAMES_THAT_LOOK_LIKE_WORDS = [
    "`batch_size`",
    "x`batch_size=64` `moved=True`",
    "a, moved=True",
    "say `frostline.extract(DATA)`!",
    "two\nlines `output`",
    "it's `moved`, really",
    "`` a ``",
]


@pytest.mark.parametrize("name", NAMES_THAT_LOOK_LIKE_WORDS)
def test_what_was_typed_is_shown_as_it_is_and_can_be_typed_again(context, name):
    context.params = {"data": Path(name), "output": None, "on_error": ("other", name)}
    said = f"Received: {name} with `batch_size=2`. Say "
    said += f"`output={name}` or `frostline.extract({name})`."
    shown = say_in_commands(said)
    before, _, rest = shown.removeprefix(f"Received: {name} with ").partition(". Say ")
    assert before == "--batch-size 2"
    option, _, command = rest.removesuffix(".").partition(" or ")
    assert shlex.split(option) == ["--output", name]
    assert shlex.split(command.strip("`")) == ["python", "cli.py", "extract", name]


@pytest.mark.parametrize(
    "said",
    ["the class '`batch_size`' is small", "photos/`output`/1.jpg", "`output`/1.jpg", '"`moved`"'],
)
def test_names_of_files_and_classes_are_left_alone(context, said):
    assert say_in_commands(said) == said


@given(
    st.text(min_size=3) | st.text("`,= a", min_size=3),
    st.sampled_from(["`batch_size=3`", "`moved`"]),
)
def test_no_typed_text_is_changed(name, word):
    root = click.Context(main, info_name="frostline")
    with click.Context(extract, parent=root) as inner:
        inner.params = {"data": name}
        shown = say_in_commands(f"{name} {word} {name}")
    assert shown.startswith(f"{name} ")
    assert shown.endswith(f" {name}")
    assert name in ("`batch_size=3`", "`moved`") or "--" in shown.removeprefix(name)


def test_without_a_command_the_words_stay():
    assert say_in_commands("Leave out `batch_size`.") == "Leave out `batch_size`."


def test_every_name_in_a_text_of_the_library_stands_apart_and_so_is_translated():
    """A name that touches a letter or a quote would be taken for a part of a path or for data."""
    name = re.compile(r"`(?:frostline\.)?[A-Za-z_]\w*(?:[=(][^`\n]*)?`")
    touching = [
        f"{path.name}: {found[0]}"
        for path in PIPELINE.rglob("*.py")
        for text in _list_texts(ast.parse(path.read_text()))
        for found in name.finditer(text)
        if re.search(r"[^\s(\[]\Z", text[: found.start()])
        or re.match(r"[^\s.,:;!?)\]]", text[found.end() :])
    ]
    assert touching == []


def _list_texts(tree: ast.Module):
    """The texts of a module without its docstrings; `_` stands for what is put into one."""
    holders = [
        n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]
    said = {id(n.body[0].value) for n in holders if n.body and isinstance(n.body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            said |= {id(part) for part in node.values}
            yield "".join(p.value if isinstance(p, ast.Constant) else "_" for p in node.values)
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said
        ):
            yield node.value
