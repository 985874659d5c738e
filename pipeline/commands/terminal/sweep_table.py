"""A sweep on the terminal: the table of its settings, the best first."""

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from pipeline.commands.terminal.tables import MOST_ROWS, make_table
from pipeline.system.printable import count, visible

if TYPE_CHECKING:
    from pipeline.heads.sweep.sweep_heads import Sweep


def sweep_table(sweep: "Sweep") -> Table:
    """The settings, the best first; of more than twenty the best twenty."""
    has_files = len(sweep.files) > 1
    features = ["features"] if has_files else []
    table = make_table(">", "head", "setting", *features, ">accuracy", ">log-loss", ">seconds")
    table.collapse_padding = True  # so that the usual settings fit into 80 characters
    for place, one in enumerate(sweep.tried[:MOST_ROWS], start=1):
        outcome = one.outcome
        words = " ".join(one.setting.words) or outcome.chosen
        scores = (
            ("-", "failed")
            if outcome.failed
            else (f"{outcome.accuracy:.4f}", f"{outcome.log_loss:.4f}")
        )
        table.add_row(
            f"{place}",
            one.setting.head,
            Text(visible(words)) if words else "",
            *([Text(visible(one.file.name))] if has_files else []),
            *scores,
            f"{outcome.seconds:.1f}",
        )
    return table


def describe_rest(sweep: "Sweep") -> list[str]:
    """What has no room in the table: other settings, sizes of the files, why settings failed."""
    lines = []
    n_more = len(sweep.tried) - MOST_ROWS
    if n_more > 0:
        lines.append(f"{n_more:,} more, none of them better: {sweep.folder / 'sweep.csv'}")
    if len(sweep.files) > 1:
        lines += [
            f"{visible(file.name)}: {file.n_features:,} features an image, "
            f"{file.n_bytes / 1e6:,.1f} MB, seen at {file.image_size} pixels"
            for file in sweep.files
        ]
    failed = [one for one in sweep.tried if one.outcome.failed]
    lines += [f"failed: {one.setting}: {one.outcome.failed}" for one in failed[:3]]
    if len(failed) > 3:
        lines.append(f"{count(len(failed) - 3, 'more setting')} failed: sweep.csv has all reasons.")
    return lines


def describe_best(sweep: "Sweep") -> str:
    """Which setting became the run."""
    best = sweep.best
    on = f" on {visible(best.file.name)}" if len(sweep.files) > 1 else ""
    return f"Best of {count(len(sweep.tried), 'setting')}: {visible(str(best.setting))}{on}"


def describe_sweep(sweep: "Sweep") -> dict[str, Any]:
    """Ready for JSON."""
    from pipeline.heads.sweep.tables import describe

    return {
        "settings": [describe(one) for one in sweep.tried],
        "bias": None if sweep.bias is None else vars(sweep.bias),
        "files": [{**vars(file), "path": str(file.path)} for file in sweep.files],
        "n_read_back": sweep.n_read_back,
    }
