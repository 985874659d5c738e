"""What is written of a sweep into the run of its winner: tables for people and programs, a plot."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.heads.sweep.swept_files import SweptFile
from pipeline.heads.sweep.tried import Tried
from pipeline.runs.selection_bias import SelectionBias
from pipeline.system.atomic_files import write_json
from pipeline.system.csv_files import write_csv

CSV_NAME, JSON_NAME, PLOT_STEM = "sweep.csv", "sweep.json", "sweep"


def write_tables(
    folder: Path,
    name: str,
    tried: Sequence[Tried],
    files: Sequence[SweptFile],
    bias: SelectionBias | None,
) -> None:
    """Writes `sweep.csv`, `sweep.json`, `plots/sweep.png` and `plots/sweep.svg`.

    Args:
        folder: of the run.
        name: that the run will have.
        tried: the best first.
    """
    records = [describe(one) for one in tried]
    options = list(dict.fromkeys(name for one in tried for name in one.setting.options))
    facts = [name for name in records[0] if name not in ("head", "options")]
    write_csv(
        folder / CSV_NAME,
        [
            ["rank", "head", *options, *facts],
            *(
                [
                    place,
                    record["head"],
                    *(record["options"].get(name) for name in options),
                    *(record[name] for name in facts),
                ]
                for place, record in enumerate(records, start=1)
            ),
        ],
    )
    write_json(
        folder / JSON_NAME,
        {
            "chosen_by": "validation log-loss",
            "n_val": len(tried[0].outcome.losses),
            "bias": None if bias is None else asdict(bias),
            "files": [{**asdict(file), "path": str(file.path.resolve())} for file in files],
            "settings": records,
        },
    )
    _draw(folder / "plots" / PLOT_STEM, name, tried, len(files) > 1)


def describe(one: Tried) -> dict[str, Any]:
    """Ready for JSON; a setting that failed has no scores."""
    outcome = one.outcome
    is_fitted = not outcome.failed
    return {
        "head": one.setting.head,
        "options": one.setting.shown,
        "features": one.file.name,
        "val_accuracy": outcome.accuracy if is_fitted else None,
        "val_log_loss": outcome.log_loss if is_fitted else None,
        "chosen": outcome.chosen,
        "seconds": round(outcome.seconds, 3),
        "failed": outcome.failed,
    }


def _draw(path: Path, title: str, tried: Sequence[Tried], has_files: bool) -> None:
    from pipeline.runs.plots.sweep_plot import SettingScores, plot_sweep

    scores = [
        SettingScores(
            one.setting.head,
            one.setting.shown,
            one.file.name if has_files else "",
            one.outcome.log_loss,
            one.outcome.accuracy,
        )
        for one in tried
        if not one.outcome.failed
    ]
    plot_sweep(path, scores, title=title)
