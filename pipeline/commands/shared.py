"""What the commands share: printing an error, options that several have, small conversions."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NoReturn

import click

from pipeline.commands.options import FieldOption, options_of
from pipeline.features.options import ExtractOptions
from pipeline.system.endings import end_at_once_when_told, raising_when_told_to_end

if TYPE_CHECKING:
    from pipeline.errors import FrostlineError

EXISTING = click.Path(path_type=Path)
EXAMPLE_PROGRAM = "python cli.py"  # in the examples of help texts

# What is left of a command that was stopped; of all others nothing is.
_AFTER_STOP = {
    "extract": "What was finished is kept: run the same command again to continue.",
    "probe": "What was embedded is kept: run the same command again, or extract.",
    "finetune": "Finished epochs are kept: run the same command with --resume to continue.",
}
_NOTHING_KEPT = "Run the same command again to begin anew."
AFTER_STOP = "frostline.after_stop"  # in a context's `meta`, where options decide what is left


class Command(click.Command):
    """A command that prints a FrostlineError as one message.

    It leaves with exit code 2 where an option has a value that it can never have, as click does
    for what it finds itself; with 1 for all else.
    """

    def get_help(self, ctx: click.Context) -> str:
        return _as_typed(super().get_help(ctx), ctx)

    def invoke(self, ctx: click.Context) -> Any:
        from pipeline.errors import FrostlineError

        with raising_when_told_to_end() as ending:
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                self._leave_stopped(ctx, ending.signal or signal.SIGINT)
            except FrostlineError as error:
                if ending.signal:  # a child that ended by the same signal, say
                    self._leave_stopped(ctx, ending.signal)
                if ctx.params.get("debug"):
                    raise
                self._leave_failed(ctx, error)
            except Exception as error:
                if ending.signal:
                    self._leave_stopped(ctx, ending.signal)
                if ctx.params.get("debug"):
                    raise
                self._leave_if_out_of_memory(ctx, error)
                self._leave_if_not_installed(ctx, error)
                raise

    def _leave_failed(self, ctx: click.Context, error: "FrostlineError") -> NoReturn:
        from pipeline.commands.terminal.output import complain
        from pipeline.commands.terminal.words import say_in_commands
        from pipeline.errors import ParameterError
        from pipeline.system.printable import printable_lines

        if isinstance(error, ParameterError):
            raise click.UsageError(printable_lines(say_in_commands(str(error))), ctx) from error
        complain(f"Error: {error}")
        ctx.exit(1)

    def _leave_if_out_of_memory(self, ctx: click.Context, error: Exception) -> None:
        from pipeline.commands.terminal.output import complain
        from pipeline.system.memory import describe_want_of_memory

        if (words := describe_want_of_memory(error)) is not None:
            complain(f"Error: {words}")
            ctx.exit(1)

    def _leave_if_not_installed(self, ctx: click.Context, error: Exception) -> None:
        from pipeline.system.missing_packages import describe_missing_package

        if isinstance(error, ModuleNotFoundError) and (words := describe_missing_package(error)):
            click.echo(f"Error: {words}", err=True)  # what prints may be what is missing
            ctx.exit(1)

    def _leave_stopped(self, ctx: click.Context, number: int) -> NoReturn:
        """By a signal: with the exit code that a shell gives to what ended by that."""
        from pipeline.commands.terminal.output import complain

        left = _AFTER_STOP.get(self.name or "", _NOTHING_KEPT)
        complain(f"Stopped. {ctx.meta.get(AFTER_STOP, left)}")
        ctx.exit(128 + number)


class Program(click.Group):
    """The commands together; what each is for is said in full, however narrow the terminal."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **settings: Any) -> Any:
        """Without `args` this is the program itself: before and after a command, too, it ends
        without a word when it is told to."""
        if args is None:
            end_at_once_when_told()
        return super().main(args, *rest, **settings)

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
    name: str,
    cls: type[click.Command] = Command,
    shown_by: str = "pipeline.commands.terminal.terminal:Terminal",
) -> Callable[[Callable[..., None]], click.Command]:
    """A click command with the options that all have.

    Args:
        shown_by: what its function gets first, to show people what became of it, as
            `module:class`; it is imported only when the command runs. Those that know nothing of
            runs import a third less.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        @wraps(function)
        def call(*, quiet: bool, debug: bool, **options: Any) -> None:
            function(resolve_name(shown_by)(quiet=quiet), **options)

        made = click.command(name, cls=cls)(call)
        made.params += [
            click.Option(["--quiet"], is_flag=True, help="Say nothing but results and errors."),
            click.Option(["--debug"], is_flag=True, help="Show the traceback of an error."),
        ]
        return made

    return decorate


def expand_patterns(
    ctx: click.Context, parameter: click.Parameter, paths: tuple[Path, ...]
) -> tuple[Path, ...]:
    """For an argument that takes several files."""
    from pipeline.system.paths import expand_pattern

    return tuple(found for path in paths for found in expand_pattern(path))


@contextmanager
def showing_what_was_written(show: Callable[[Any], None]) -> Iterator[None]:
    """For what also logs the run that it writes: where it cannot, people see the run all the same.

    Args:
        show: is called with the result before the error goes on.
    """
    from pipeline.errors import TrackingError

    try:
        yield
    except TrackingError as error:
        if error.result is not None:
            show(error.result)
        raise


def option(*names: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A click option whose default is shown, in words where it has `default_words`."""
    settings.setdefault("show_default", True)
    return click.option(*names, cls=FieldOption, **settings)


output_option = option(
    "--output", type=EXISTING, help="Where to write.", default_words="a new name"
)
force_option = click.option("--force", is_flag=True, help="Overwrite what is there.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
mlflow_option = option(
    "--mlflow", metavar="URI", help="Log the run to this MLflow server: http://localhost:5000"
)
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
