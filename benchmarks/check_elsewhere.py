"""Whether check.py tells a right model from a wrong one where there is nothing but its runtime.

A run is exported. For each format a fresh virtual environment gets numpy and that one runtime, and
runs check.py there: on the model, which has to be right, and (ONNX, whose files can be altered) on
copies with one thing wrong each, of which it has to say which.

    python benchmarks/check_elsewhere.py RUN                       # ONNX; a minute
    python benchmarks/check_elsewhere.py RUN --format onnx --format litert --format openvino
    python benchmarks/check_elsewhere.py RUN --python python3.9
"""

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import onnx

from benchmarks import altered_onnx
from benchmarks.common import print_table

RUNTIMES = {
    "onnx": ["onnxruntime"],
    "openvino": ["openvino"],
    "litert": ["ai-edge-litert"],
    "saved-model": ["tensorflow"],
    "keras": ["keras", "tensorflow"],
}
EXPECTED = {
    "classes in another order": "has the classes in another order",
    "names in another order": "other names in the file, or another order",
    "BGR": "(BGR)",
    "mirrored": "mirrored",
    "floats 0..1": "scaled to 0..1",
    "floats -1..1": "scaled to -1..1",
    "scaled too often": "what the run says of pixels scaled to 0..1",
    "channels first": "(NCHW)",
    "no softmax": "softmax at its end is missing",
    "softmax twice": "softmax is taken twice",
    "few bits": "fewer bits",
    "NaN": "NaN",
}


def make_environment(folder: Path, python: str, packages: list[str]) -> Path:
    """A fresh virtual environment with these packages; gives its Python."""
    if python == sys.executable:
        venv.create(folder, with_pip=True)
    else:
        subprocess.run([python, "-m", "venv", folder], check=True)
    place = folder / "bin" / "python"
    subprocess.run([place, "-m", "pip", "install", "-q", "numpy", *packages], check=True)
    return place


def alter(export: Path, folder: Path) -> dict[str, Path]:
    """Copies of an export's ONNX model with one thing wrong each."""
    loaded = onnx.load(export / "model.onnx")
    n_classes = len(json.loads((export / "export.json").read_text("utf-8"))["class_names"])
    order = [*range(1, n_classes), 0]
    changes = {
        "classes in another order": altered_onnx.swap_columns(order),
        "names in another order": altered_onnx.swap_labels(order),
        **altered_onnx.ALTERED,
    }
    paths = {}
    for name, change in changes.items():
        paths[name] = folder / f"{name.replace(' ', '-')}.onnx"
        onnx.save(altered_onnx.alter(loaded, change), paths[name])
    return paths


def check(python: Path, export: Path, *models: Path) -> tuple[int, str]:
    """What check.py says there, and its exit code."""
    done = subprocess.run(
        [python, "-I", export / "check.py", *models],  # -I: no path of this project
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run's folder, or an export's")
    parser.add_argument("--format", action="append", choices=list(RUNTIMES), help="of the model")
    parser.add_argument("--python", default=sys.executable, help="of the environments")
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        export = asked.run
        formats = asked.format or ["onnx"]
        if not (export / "export.json").is_file():
            import frostline

            export = frostline.export(asked.run, formats, output=folder / "export").folder
        altered = alter(export, folder) if "onnx" in formats else {}
        for form in formats:
            python = make_environment(folder / form, asked.python, RUNTIMES[form])
            code, said = check(python, export)
            print(said)
            rows.append([form, "as exported", "right", code == 0 and f"{form}: " in said])
            for name, path in altered.items() if form == "onnx" else ():
                code, said = check(python, export, path)
                print(said)
                rows.append([form, name, EXPECTED[name], code == 1 and EXPECTED[name] in said])
    print_table(
        ["format", "copy", "expected", "said"],
        [[*row[:3], "yes" if row[3] else "NO"] for row in rows],
    )
    return 0 if all(row[3] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
