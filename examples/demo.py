"""The main job on the bundled digits: fetch, extract, fit a head, fine-tune, compare.

Runs the very commands that a person would type, and prints each before it runs.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
FEATURES = "cache/demo-digits.h5"
HEAD, TUNED = "runs/demo-digits-logreg", "runs/demo-digits-finetuned"
COMMANDS = {
    "fetch": ["fetch", "digits", "--force"],
    "extract": [
        "extract", "data/digits", "--backbone", "efficientnet-lite0", "--image-size", "96",
        "--output", FEATURES,
    ],
    "fit-head": ["fit-head", FEATURES, "--output", HEAD, "--force"],
    "finetune": [
        "finetune", HEAD, "--unfreeze", "block4a", "--epochs", "6", "--output", TUNED, "--force",
    ],
    "predict": ["predict", TUNED, "data/digits/3/0003.png", "data/digits/8/0008.png", "--top", "2"],
}  # fmt: skip


def main() -> None:
    seconds = {}
    for stage, arguments in COMMANDS.items():
        print(f"\n$ python cli.py {' '.join(arguments)}", flush=True)
        started = time.perf_counter()
        subprocess.run([sys.executable, "cli.py", *arguments], cwd=HERE, check=True)
        seconds[stage] = time.perf_counter() - started
    frozen, tuned = (validation_accuracy(run) for run in (HEAD, TUNED))
    accuracy = {"fit-head": f"{frozen:.4f}", "finetune": f"{tuned:.4f}"}
    print("\nstage       seconds   validation accuracy")
    for stage, taken in seconds.items():
        print(f"{stage:<10} {taken:>8.1f}   {accuracy.get(stage, '')}")
    print(
        f"\nWhat this shows: small grey digits are far from the photos of ImageNet. Frozen, the "
        f"backbone's\nfeatures reach {frozen:.1%}; with the upper blocks thawed, {tuned:.1%}: "
        f"{describe_gain(frozen, tuned)}.\n"
        f"Look at {TUNED}/plots/learning-curve.png."
    )


def validation_accuracy(run: str) -> float:
    manifest = json.loads((HERE / run / "manifest.json").read_text())
    return manifest["metrics"]["val"]["accuracy"]


def describe_gain(frozen: float, tuned: float) -> str:
    if tuned <= frozen:
        return "here thawing did not pay"
    share = (tuned - frozen) / (1 - frozen)
    return f"thawing pays, {share:.0%} of the errors are gone"


if __name__ == "__main__":
    main()
