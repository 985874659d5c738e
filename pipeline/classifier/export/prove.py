"""Runs an exported model in its own runtime, in a new process, beside what the run itself says.

What runs it there is the very `check.py` that goes with the export.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from pipeline.classifier.export.contents import PROBABILITIES, Proof
from pipeline.errors import ExportError

CHECK = Path(__file__).parent / "shipped" / "check.py"
_MOST_SECONDS = 1800
_LAST_LINES = 5


def run_elsewhere(model: Path, form: str, pixels: np.ndarray) -> tuple[dict[str, np.ndarray], str]:
    """What a model says in its runtime.

    Args:
        form: name of the format.
        pixels: uint8 `(n, height, width, 3)`.

    Returns:
        Arrays by name of the output, and name and version of the runtime.

    Raises:
        ExportError: the runtime cannot run it.
    """
    with tempfile.TemporaryDirectory(prefix="frostline-export-") as folder:
        given, answer = Path(folder, "pixels.npy"), Path(folder, "outputs.npz")
        np.save(given, pixels)
        command = [sys.executable, "-P", str(CHECK), "run", str(model), form]
        try:
            done = subprocess.run(
                [*command, str(given), str(answer)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_MOST_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ExportError(
                f"The {form} model takes too long in its own runtime. Expected probabilities of "
                f"{len(pixels)} images. Received: none within {_MOST_SECONDS} seconds"
            ) from error
        if done.returncode != 0 or not answer.is_file():
            words = "\n".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
            raise ExportError(
                f"The {form} model cannot be run in its own runtime. Expected probabilities. "
                f"Received: {words or f'exit code {done.returncode}'}"
            )
        with np.load(answer) as arrays:
            return {name: arrays[name] for name in arrays.files}, done.stdout.strip()


def compare(
    outputs: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    tolerance: float,
    runtime: str,
) -> Proof:
    """How far what a model says is from what the run says.

    Args:
        outputs, expected: by name: probabilities `(n, n_classes)` and, where the run measures one,
            the distance `(n,)`.
    """
    greatest = max(_greatest_difference(outputs.get(name), expected[name]) for name in expected)
    wanted = expected[PROBABILITIES]
    same = 0.0
    if np.isfinite(greatest):
        same = float((outputs[PROBABILITIES].argmax(axis=1) == wanted.argmax(axis=1)).mean())
    return Proof(len(wanted), greatest, same, tolerance, runtime)


def _greatest_difference(received: np.ndarray | None, expected: np.ndarray) -> float:
    """Infinite where there is nothing like it, or some of it is no number."""
    if received is None or received.shape != expected.shape or not np.isfinite(received).all():
        return float("inf")
    return float(np.abs(received - expected).max())
