"""The library's words in terms of commands: `batch_size=64` becomes --batch-size 64.

Errors and notes of the library name parameters and functions in backticks, as Python has them:
`batch_size`, `force=True`, `frostline.extract(DATA)`. People at a terminal know options and
commands. What an option is called, click knows; so nothing here can drift from the command line.
"""

import re
from collections.abc import Iterator

import click

_PARAMETER = re.compile(r"`([A-Za-z_]\w*)(?:=([^`\n]*))?`")
_CALL = re.compile(r"`frostline\.([a-z_]+)\(([^`\n]*)\)`")
_NEXT_KEYWORD = re.compile(r"(?:,\s*|^)(?=[a-z_]+=)")
_PLACES = re.compile(r"[A-Z]+(, [A-Z]+)*")  # RUN, DATA


def say_in_commands(text: str) -> str:
    """Translates a text of the library for the command that runs; unchanged where none does."""
    context = click.get_current_context(silent=True)
    if context is None:
        return text
    program = context.find_root().info_name or "frostline"
    text = _CALL.sub(lambda found: _translate_call(found, context, program), text)
    return _PARAMETER.sub(lambda found: _translate(found[1], found[2], context) or found[0], text)


def _translate_call(found: re.Match, context: click.Context, program: str) -> str:
    """`frostline.extract(DATA, prune=True)` -> `cli.py extract DATA --prune`."""
    name = found[1].removeprefix("list_").replace("_", "-")
    command = _commands(context).get(name)
    if command is None:
        return found[0]
    words = [program, command.name or ""]
    places, *keywords = _NEXT_KEYWORD.split(found[2])
    if places not in ("", "..."):
        words.append(places.replace(",", "") if _PLACES.fullmatch(places) else _unquote(places))
    for keyword in keywords:
        name, _, value = keyword.partition("=")
        words.append(_translate_by([command], name, value) or keyword)
    return f"`{' '.join(words)}`"


def _translate(name: str, value: str | None, context: click.Context) -> str | None:
    """An option of the command that runs; else of any other; None where there is no such."""
    others = _commands(context).values()
    return _translate_by([context.command, *others], name, value)


def _translate_by(commands: list[click.Command], name: str, value: str | None) -> str | None:
    for parameter in _parameters(commands):
        if isinstance(parameter, click.Option):
            spelled = _spell(parameter, name, value)
            if spelled is not None:
                return spelled
        elif parameter.name == name and value is None:
            return parameter.make_metavar(click.Context(commands[0]))
    return None


def _spell(option: click.Option, name: str, value: str | None) -> str | None:
    """The option as it is typed; `reuse=False` is --no-reuse, whichever of the two click knows."""
    if option.name == f"no_{name}" and value == "False":
        return option.opts[0]
    if option.name != name:
        return None
    if value == "False" and option.secondary_opts:
        return option.secondary_opts[0]
    spelled = max(option.opts, key=len)
    if value is None or (option.is_flag and value == "True"):
        return spelled
    return f"{spelled} {_unquote(value)}"


def _parameters(commands: list[click.Command]) -> Iterator[click.Parameter]:
    for command in commands:
        yield from command.get_params(click.Context(command))


def _commands(context: click.Context) -> dict[str, click.Command]:
    root = context.find_root().command
    return dict(root.commands) if isinstance(root, click.Group) else {}


def _unquote(value: str) -> str:
    is_quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if is_quoted else value
