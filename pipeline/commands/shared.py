"""What the commands share: printing an error, options that several have, small conversions."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from pipeline.backbones.engines.registry import ENGINES

EXISTING = click.Path(path_type=Path)


class Command(click.Command):
    """A command that prints a FrostlineError as one message and leaves with exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        from pipeline.commands.terminal.output import complain
        from pipeline.errors import FrostlineError

        try:
            return super().invoke(ctx)
        except FrostlineError as error:
            if ctx.params.get("debug"):
                raise
            complain(f"Error: {error}")
            ctx.exit(1)
        except KeyboardInterrupt:
            how = " with --resume" if self.name == "finetune" else ""
            text = f"Stopped. What was finished is kept; the same command{how} goes on."
            complain(text)
            ctx.exit(130)


def command(
    name: str, cls: type[click.Command] = Command
) -> Callable[[Callable[..., None]], click.Command]:
    """A click command with the options that all have; its function gets a Terminal first."""

    def decorate(function: Callable[..., None]) -> click.Command:
        quiet = click.option("--quiet", is_flag=True, help="Say nothing but results and errors.")
        debug = click.option("--debug", is_flag=True, help="Show the traceback of an error.")

        @wraps(function)
        def call(*, quiet: bool, debug: bool, **options: Any) -> None:
            from pipeline.commands.terminal.terminal import Terminal

            function(Terminal(quiet=quiet), **options)

        return click.command(name, cls=cls)(quiet(debug(call)))

    return decorate


def option(*names: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A click option whose default is shown."""
    settings.setdefault("show_default", True)
    return click.option(*names, **settings)


output_option = click.option(
    "--output", type=EXISTING, help="Where to write.  [default: a new name]"
)
force_option = click.option("--force", is_flag=True, help="Overwrite what is there.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
device_option = option(
    "--device", default="auto", help="Where to compute: auto, cpu, gpu or gpu:N."
)
engine_option = click.option(
    "--engine",
    help=f"What runs the network: {', '.join(ENGINES)}.  [default: what suits the device]",
)
network_store_option = click.option(
    "--no-network-store",
    "network_store",
    is_flag=True,
    default=True,
    flag_value=False,
    help="Keep no converted network for the next command.",
)
weights_option = click.option(
    "--weights", help="Where the backbone's weights are now.  [default: where they came from]"
)
max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    help="Skip images with more.  [default: 178,956,970]",
)
max_bytes_option = click.option(
    "--max-bytes", type=click.IntRange(min=1), help="Skip files with more.  [default: 536,870,912]"
)
label_from_option = click.option(
    "--label-from",
    help="Regular expression that finds the class in an image's path: what its brackets hold.",
)
class_depth_option = option(
    "--class-depth",
    default=1,
    type=click.IntRange(min=1),
    help="How many folders down the classes are.",
)
