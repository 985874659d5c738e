"""`cli.py fit-head`: stage two."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.head_options import (
    FitHeadCommand,
    GridFile,
    find_sweep,
    options_of_heads,
)
from pipeline.commands.options import options_of, whole_number
from pipeline.commands.shared import (
    AFTER_STOP,
    EXISTING,
    command,
    expand_patterns,
    force_option,
    json_option,
    mlflow_option,
    option,
    output_option,
    showing_what_was_written,
)
from pipeline.features.options import SplitOptions
from pipeline.features.question import QuestionOptions
from pipeline.heads.options import FoldOptions, ViewOptions
from pipeline.runs.promise.options import PromiseOptions

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


@command("fit-head", cls=FitHeadCommand)
@click.argument("features", type=EXISTING, nargs=-1, required=True, callback=expand_patterns)
@click.option("--join", is_flag=True, help="Put the features of several files side by side, of the "
              "images that all have: one head on several backbones or image sizes.")  # fmt: skip
@option("--memory", default="50%", help="For features: 2GB, 500MB, or a share of what is free. "
         "Larger files are read again and again.")  # fmt: skip
@options_of(QuestionOptions)
@options_of(SplitOptions)
@options_of(FoldOptions)
@options_of(PromiseOptions)
@options_of(ViewOptions)
@option("--shots", help="Only tell how accuracy grows with the images of each class: 1,2,4,8,16. "
        "Writes a curve, and no run.")  # fmt: skip
@option("--sweep", "grid", is_flag=False, flag_value="", type=GridFile(), metavar="[GRID.toml]",
        show_default=False, help="Try many settings, or those of GRID.toml: the best becomes a "
        "run. Commas in an option of heads are a sweep, too: --C 0.1,1,10.")  # fmt: skip
@option("--jobs", type=whole_number(least=1), help="Processes of a sweep at once.",
        default_words="a core each, as far as memory goes")  # fmt: skip
@option("--scheduler", metavar="ADDRESS", help="Of a sweep: address of a Dask scheduler, such as "
        "tcp://10.0.0.1:8786: its workers fit the settings.")  # fmt: skip
@option("--seeds", type=whole_number(least=1), default=5, help="Draws of each of --shots.")
@mlflow_option
@output_option
@force_option
@json_option
def fit_head(
    terminal: "Terminal",
    features: tuple[Path, ...],
    join: bool,
    head: tuple[str, ...],
    memory: str,
    shots: str | None,
    seeds: int,
    grid: str | None,
    jobs: int | None,
    scheduler: str | None,
    mlflow: str | None,
    output: Path | None,
    force: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Stage two: train a head on cached features, in seconds. Writes a run.

    \b
    Examples:
      python cli.py fit-head cache/photos-efficientnet-lite0-*.h5
      python cli.py fit-head cache/photos-*.h5 --head dense --hidden 256 --class-weight balanced
      python cli.py fit-head cache/scans-*.h5 --group-by '(patient[0-9]+)'
      python cli.py fit-head cache/photos-*.h5 --promise 0.98
      python cli.py fit-head cache/photos-*.h5 --shots 1,2,4,8,16
      python cli.py fit-head cache/photos-*.h5 --sweep
      python cli.py fit-head cache/photos-*.h5 --head dense --hidden 0,128,256 --sweep
      python cli.py fit-head cache/photos-*-views.h5 --tta
      python cli.py fit-head cache/photos-*.h5 --merge cats+dogs=pets --classes pets,horses
      python cli.py fit-head photos-224.h5 photos-288.h5 --join
    """
    options = options_of_heads(None if grid is not None else head)
    sweep = find_sweep(head, grid, options)
    _refuse_what_does_not_go_together(sweep is not None, join, shots, jobs, scheduler)
    if shots is not None and mlflow is not None:
        raise click.UsageError("--shots writes no run to log. Expected --mlflow without --shots.")
    memory_bytes = _parse_memory(memory)
    writing = {"memory": memory_bytes, "output": output, "force": force, "mlflow": mlflow}
    if sweep is not None:
        where = {"jobs": jobs, "scheduler": scheduler}
        _show_sweep(terminal, features, {**sweep, **options, **writing, **where}, as_json)
    elif shots is not None:
        settings = {"join": join, "head": head[0], "output": output, **options}
        _show_shots(terminal, features, shots, {"seeds": seeds, **settings}, as_json)
    else:
        _fit_one(terminal, features, head[0], options, {"join": join, **writing}, as_json)


def _refuse_what_does_not_go_together(
    is_sweep: bool, join: bool, shots: str | None, jobs: int | None, scheduler: str | None
) -> None:
    if is_sweep and join:
        raise click.UsageError(
            "Several files in a sweep are compared, not joined. Expected --join without a sweep."
        )
    if is_sweep and shots is not None:
        raise click.UsageError("Few images choose nothing. Expected --shots without a sweep.")
    for flag, value in (("--jobs", jobs), ("--scheduler", scheduler)):
        if not is_sweep and value is not None:
            raise click.UsageError(f"{flag} is of a sweep. Expected --sweep, or commas, with it.")


def _fit_one(
    terminal: "Terminal",
    features: tuple[Path, ...],
    head: str,
    options: dict[str, Any],
    writing: dict[str, Any],
    as_json: bool,
) -> None:
    from pipeline.heads.fit_head import fit_head as fit
    from pipeline.heads.fit_options import check_fit_options
    from pipeline.heads.registry import find_head

    check_fit_options(head, options)  # before the slow start of TensorFlow
    find_head(head).import_fit()  # TensorFlow's start, out of sight
    show = partial(terminal.show_fit, as_json=as_json)
    with showing_what_was_written(show), terminal.progress() as on_progress:
        result = fit(features, head=head, on_progress=on_progress, **options, **writing)
    show(result)


def _show_sweep(
    terminal: "Terminal", features: tuple[Path, ...], settings: dict[str, Any], as_json: bool
) -> None:
    from pipeline.heads.sweep.sweep_heads import sweep_heads

    click.get_current_context().meta[AFTER_STOP] = (
        "What was finished is kept: run the same command again to continue."
    )
    show = partial(terminal.show_sweep, as_json=as_json)
    with showing_what_was_written(show), terminal.progress() as on_progress:
        found = sweep_heads(features, on_progress=on_progress, on_note=terminal.say, **settings)
    show(found)


def _show_shots(
    terminal: "Terminal",
    features: tuple[Path, ...],
    shots: str,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    from pipeline.heads.few_images.shots import fit_shots, parse_shots

    with terminal.progress() as on_progress:
        found = fit_shots(features, parse_shots(shots), on_progress=on_progress, **settings)
    terminal.show_shots(found, as_json=as_json)


def _parse_memory(text: str) -> int:
    from pipeline.system.memory import parse_memory

    try:
        return parse_memory(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--memory") from error
