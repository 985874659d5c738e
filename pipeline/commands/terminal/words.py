"""The library's words in terms of commands: `batch_size=64` becomes --batch-size 64.

Errors and notes of the library name parameters and functions in backticks, as Python has them:
`batch_size`, `force=True`, `frostline.extract(DATA)`. People at a terminal know options and
commands. What an option is called, click knows; so nothing here can drift from the command line.

What is shown can be typed: values are quoted for the shell. What the user named is not the
library's word, whatever it looks like: what was typed is taken out of a text before anything in it
is translated, and put back as it was; and a name in backticks that is a part of a path or stands
in quotes is left alone.
"""

import ast
import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipeline.report.gathering.steps import Step

# Words stand apart; in photos/`seed`/1.jpg and in '`seed`' is the name of a folder or class.
_APART = r"(?<![^\s(\[]){}(?![^\s.,:;!?)\]])"
_WORD = re.compile(
    _APART.format(
        r"`(?:frostline\.(?P<function>[a-z_]+)\((?P<arguments>[^`\n]*)\)"
        r"|(?P<name>[A-Za-z_]\w*)(?:=(?P<value>[^`\n]*))?)`"
    )
)
_NEXT_KEYWORD = re.compile(r"(?:,\s*|^)(?=[a-z_]+=)")
_PLACES = re.compile(r"[A-Z]+(, [A-Z]+)*")  # RUN, DATA
# A text with these signs and with letters could be taken for the library's own words.
_LOOKS_LIKE_WORDS = re.compile(r"(?=.*\w).*[`,=\n]", re.DOTALL)

# A number between two of these stands for what was typed. No file name and no text that was
# decoded has such half a character.
_MARK = "\ud860"
_MARKED = re.compile(rf"{_MARK}(\d+){_MARK}")


def say_in_commands(text: str) -> str:
    """Translates a text of the library for the command that runs; unchanged where none does."""
    context = click.get_current_context(silent=True)
    if context is None:
        return text
    typed = sorted(set(_list_typed(context.params.values())), key=len, reverse=True)
    for number, value in enumerate(typed):
        text = text.replace(value, f"{_MARK}{number}{_MARK}")

    def put_back(part: str) -> str:
        return _MARKED.sub(lambda found: typed[int(found[1])], part)

    def translate(found: re.Match[str]) -> str:
        if found["function"]:
            shown = _translate_call(found["function"], found["arguments"], context, put_back)
        else:
            shown = _translate(found["name"], found["value"], context, put_back)
        return found[0] if shown is None else shown

    return put_back(_WORD.sub(translate, text))


def spell_step(step: "Step") -> str:
    """A call of the library as the command that does it.

    Left out is what is as by default, and what the library alone has a parameter for.
    """
    context = click.get_current_context()
    command = _commands(context)[step.function.replace("_", "-")]
    usual = command.make_context(command.name, ["--", *step.places], parent=context).params
    words = [context.find_root().info_name or "frostline", command.name or ""]
    words += [quote_for_shell(place) for place in step.places]
    options = {one.name: one for one in _parameters([command]) if isinstance(one, click.Option)}
    for name, value in step.options.items():
        option = options.get(name)
        if option is not None and value != usual[name]:
            is_text = isinstance(value, str) and not value.isprintable()
            flag = max(option.opts, key=len)
            spelled = _spell(option, name, str(value), str) or flag
            words.append(f"{flag} {quote_for_shell(value)}" if is_text else spelled)
    return " ".join(words)


def quote_for_shell(text: str) -> str:
    """A word as a shell takes it, in letters that can be shown: `$'...'` where it has others."""
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_escape_for_shell, text))}'"


def _escape_for_shell(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))


def _list_typed(values: Any) -> Iterator[str]:
    """What was typed and could be taken for the library's own words or signs."""
    for value in values:
        if isinstance(value, tuple):
            yield from _list_typed(value)
        elif isinstance(value, str | PurePath):
            text = str(value)
            if len(text) > 2 and _LOOKS_LIKE_WORDS.match(text):
                yield text


def _translate_call(
    function: str, arguments: str, context: click.Context, put_back: Callable[[str], str]
) -> str | None:
    """`frostline.extract(DATA, prune=True)` -> `python cli.py extract DATA --prune`.

    `frostline.merge(SHARDS)` -> `python cli.py features SHARDS --merge`, which has such a flag.
    None where no command and no flag is called like the function.
    """
    command = _commands(context).get(function.removeprefix("list_").replace("_", "-"))
    flags: list[str] = []
    if command is None:
        command, flags = _find_flag(function, context)
    if command is None:
        return None
    words = [context.find_root().info_name or "frostline", command.name or ""]
    places, *keywords = _NEXT_KEYWORD.split(arguments)
    if _PLACES.fullmatch(places):
        words.append(places.replace(",", ""))
    elif places not in ("", "..."):
        words.append(_quote(places, put_back))
    for keyword in keywords:
        name, _, value = keyword.partition("=")
        words.append(_translate_by([command], name, value, put_back) or keyword)
    return f"`{' '.join(words + flags)}`"


def _find_flag(name: str, context: click.Context) -> tuple[click.Command | None, list[str]]:
    """The command that has a flag of this name, and how the flag is spelled."""
    for command in _commands(context).values():
        for parameter in _parameters([command]):
            if isinstance(parameter, click.Option) and parameter.is_flag and parameter.name == name:
                return command, [max(parameter.opts, key=len)]
    return None, []


def _translate(
    name: str, value: str | None, context: click.Context, put_back: Callable[[str], str]
) -> str | None:
    """An option of the command that runs; else of any other; None where there is no such."""
    others = _commands(context).values()
    return _translate_by([context.command, *others], name, value, put_back)


def _translate_by(
    commands: list[click.Command], name: str, value: str | None, put_back: Callable[[str], str]
) -> str | None:
    for parameter in _parameters(commands):
        if isinstance(parameter, click.Option):
            spelled = _spell(parameter, name, value, put_back)
            if spelled is not None:
                return spelled
        elif parameter.name == name and value is None:
            return parameter.make_metavar(click.Context(commands[0]))
    return None


def _spell(
    option: click.Option, name: str, value: str | None, put_back: Callable[[str], str]
) -> str | None:
    """The option as it is typed; `reuse=False` is --no-reuse."""
    if option.name != name:
        return None
    if value == "False" and option.secondary_opts:
        return option.secondary_opts[0]
    spelled = max(option.opts, key=len)
    if value is None or (option.is_flag and value == str(option.flag_value is not False)):
        return spelled
    return f"{spelled} {_quote(value, put_back)}"


def _parameters(commands: list[click.Command]) -> Iterator[click.Parameter]:
    for command in commands:
        yield from command.get_params(click.Context(command))


def _commands(context: click.Context) -> dict[str, click.Command]:
    root = context.find_root().command
    return dict(root.commands) if isinstance(root, click.Group) else {}


def _quote(value: str, put_back: Callable[[str], str]) -> str:
    """A value as the shell takes it; from Python's own quotes, where it stands in such."""
    value = put_back(value)
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        with suppress(ValueError, SyntaxError):  # quotes of its own
            value = ast.literal_eval(value)
    return shlex.quote(value)
