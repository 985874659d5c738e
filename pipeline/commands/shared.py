"""What the commands share: printing an error, options that several have, small conversions."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from pipeline.commands.options import FieldOption, options_of
from pipeline.features.options import ExtractOptions

EXISTING = click.Path(path_type=Path)
EXAMPLE_PROGRAM = "python cli.py"  # in the examples of help texts

# What is left of a command that was stopped; of all others nothing is.
_AFTER_STOP = {
    "extract": "What was finished is kept: run the same command again to continue.",
    "finetune": "Finished epochs are kept: run the same command with --resume to continue.",
}
_NOTHING_KEPT = "Run the same command again to begin anew."


class Command(click.Command):
    """A command that prints a FrostlineError as one message.

    It leaves with exit code 2 where an option has a value that it can never have, as click does
    for what it finds itself; with 1 for all else.
    """

    def get_help(self, ctx: click.Context) -> str:
        return _as_typed(super().get_help(ctx), ctx)

    def invoke(self, ctx: click.Context) -> Any:
        from pipeline.commands.terminal.output import complain
        from pipeline.commands.terminal.words import say_in_commands
        from pipeline.errors import FrostlineError, ParameterError
        from pipeline.system.printable import printable_lines

        try:
            return super().invoke(ctx)
        except FrostlineError as error:
            if ctx.params.get("debug"):
                raise
            if isinstance(error, ParameterError):
                raise click.UsageError(printable_lines(say_in_commands(str(error))), ctx) from error
            complain(f"Error: {error}")
            ctx.exit(1)
        except KeyboardInterrupt:
            complain(f"Stopped. {_AFTER_STOP.get(self.name or '', _NOTHING_KEPT)}")
            ctx.exit(130)


class Program(click.Group):
    """The commands together; what each is for is said in full, however narrow the terminal."""

    def get_help(self, ctx: click.Context) -> str:
        return _as_typed(super().get_help(ctx), ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are used."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [
            (name, command.get_short_help_str(limit=len(command.help or "")))
            for name, command in self.commands.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _as_typed(text: str, ctx: click.Context) -> str:
    """Help with the program's name as it was called: examples are there to be typed."""
    return text.replace(EXAMPLE_PROGRAM, ctx.find_root().info_name or EXAMPLE_PROGRAM)


def command(
    name: str, cls: type[click.Command] = Command
) -> Callable[[Callable[..., None]], click.Command]:
    """A click command with the options that all have; its function gets a Terminal first."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @wraps(function)
        def call(*, quiet: bool, debug: bool, **options: Any) -> None:
            from pipeline.commands.terminal.terminal import Terminal

            function(Terminal(quiet=quiet), **options)

        made = click.command(name, cls=cls)(call)
        made.params += [
            click.Option(["--quiet"], is_flag=True, help="Say nothing but results and errors."),
            click.Option(["--debug"], is_flag=True, help="Show the traceback of an error."),
        ]
        return made

    return decorate


def option(*names: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A click option whose default is shown, in words where it has `default_words`."""
    settings.setdefault("show_default", True)
    return click.option(*names, cls=FieldOption, **settings)


output_option = option(
    "--output", type=EXISTING, help="Where to write.", default_words="a new name"
)
force_option = click.option("--force", is_flag=True, help="Overwrite what is there.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
device_option = options_of(ExtractOptions, only=("device",))
engine_option = options_of(ExtractOptions, only=("engine",))
network_store_option = options_of(ExtractOptions, only=("network_store",))
weights_option = option(
    "--weights",
    help="Where the backbone's weights are now.",
    default_words="where they came from",
)
limits_options = options_of(ExtractOptions, only=("max_pixels", "max_bytes"))
class_depth_option = options_of(ExtractOptions, only=("class_depth",))
label_from_option = options_of(ExtractOptions, only=("label_from",))
