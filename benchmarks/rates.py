"""Whether fine-tuning's default rate diverges: each data set from each frost line.

Extracts the features of each folder, fits a logistic head, and calls `cli.py finetune` with its
defaults (but for the epochs, in which the rate runs through its whole rise and fall) from every
line between the head and LOWEST. Shows, for each, how often training diverged, the worst epoch's
validation accuracy, and the frozen head's and the final one. With other rates it shows what the
default is away from.

    python benchmarks/rates.py data/digits:96 photos/flowers --epochs 3
    python benchmarks/rates.py photos/flowers --lines block4a --learning-rates 3e-4 1e-3
"""

import csv
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    run_process,
    write_results,
)

BACKBONE = "efficientnet-lite0"
LOWEST = "block4a"
COLUMNS = [
    *("data", "line", "rate", "divergences", "frozen accuracy", "worst epoch's", "final"),
    *("greatest val loss", "seconds"),
]


def call(*arguments) -> None:
    run_process([sys.executable, "cli.py", *arguments, "--quiet"])


def fit_head(data: str, folder: Path) -> Path:
    """The run of a logistic head on a data set, given as FOLDER or FOLDER:IMAGE_SIZE."""
    root, _, size = data.partition(":")
    output = folder / Path(root).name
    features = output.with_suffix(".h5")
    how = ("--image-size", size) if size else ()
    call("extract", root, "--backbone", BACKBONE, "--output", features, *how)
    call("fit-head", features, "--output", output)
    return output


def list_lines(lowest: str) -> list[str]:
    from pipeline.system.quiet_start import no_start_up_talk

    with no_start_up_talk():
        from pipeline.backbones.build import build_untrained
        from pipeline.backbones.frost_lines import find_frost_lines
    from pipeline.backbones.registry import get_backbone

    names = [line.name for line in find_frost_lines(build_untrained(get_backbone(BACKBONE)))]
    return names[: names.index(lowest) + 1]


def finetune(run: Path, line: str, rate: float, epochs: int) -> dict:
    """What became of one fine-tuning, from its run folder."""
    output = run.with_name(f"{run.name}-{line}-{rate:g}")
    how = ("--unfreeze", line, "--learning-rate", rate, "--epochs", epochs, "--keep-size")
    usage = run_process([sys.executable, "cli.py", "finetune", run, *how, "--output", output,
                         "--quiet"])  # fmt: skip
    manifest = json.loads((output / "manifest.json").read_text())
    with (output / "history.csv").open(newline="") as file:
        history = list(csv.DictReader(file))
    accuracies = [float(record["val_accuracy"]) for record in history]
    return {
        "data": run.name,
        "line": line,
        "rate": rate,
        "divergences": manifest["n_divergences"],
        "frozen accuracy": accuracies[0],
        "worst epoch's": min(accuracies[1:], default=None),
        "final": manifest["metrics"]["val"]["accuracy"],
        "greatest val loss": max(float(record["val_loss"]) for record in history),
        "seconds": usage.seconds,
        "notes": manifest["notes"],
    }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("data", nargs="+", help="FOLDER or FOLDER:IMAGE_SIZE")
    parser.add_argument("--lines", nargs="+", help=f"[default: all down to {LOWEST}]")
    parser.add_argument("--learning-rates", nargs="+", type=float, default=[3e-4])
    parser.add_argument("--epochs", type=int, help="[default: 8; short: 1]")
    arguments = parser.parse_args()
    machine = describe_machine()
    print_machine(machine)
    epochs = arguments.epochs or (1 if arguments.short else 8)
    lines = arguments.lines or list_lines(LOWEST)
    results = []
    with tempfile.TemporaryDirectory(prefix="frostline-rates-") as folder:
        for data in arguments.data:
            run = fit_head(data, Path(folder))
            for line in lines:
                for rate in arguments.learning_rates:
                    results.append(finetune(run, line, rate, epochs))
                    print(json.dumps(results[-1]), flush=True)
    print()
    print_table(COLUMNS, [[result[name] for name in COLUMNS] for result in results])
    print(f"{sum(result['divergences'] for result in results)} divergences in {len(results)} runs")
    write_results(arguments.json, machine, results)


if __name__ == "__main__":
    main()
