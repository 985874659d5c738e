"""What an audit says of files: of photos as they are, of random labels, and of planted shortcuts.

Shortcuts: all images of three classes are saved anew, those of one at JPEG quality 60 and those of
another 3 pixels wider. Labels are drawn anew 20 times, and whatever is claimed of them is false.

    python benchmarks/shortcuts.py flowers data/digits
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image

from benchmarks import stand_in
from benchmarks.common import describe_machine, make_parser, print_machine, write_results
from pipeline.heads.audit.shortcuts import Shortcut, list_shortcuts
from pipeline.images.dataset import scan_dataset
from pipeline.images.decoding.file_facts import FileFacts, find_facts

N_RELABELLINGS = 20


def read(folder: Path) -> tuple[list[Path], np.ndarray, list[str]]:
    dataset = scan_dataset(folder)
    paths = [dataset.root / path for path in dataset.paths]
    return paths, np.asarray(dataset.labels, np.int32), dataset.class_names


def plant(paths: list[Path], labels: np.ndarray) -> Iterator[FileFacts]:
    """Facts of files saved anew: class 1 at quality 60, class 2 three pixels wider."""
    for path, label in zip(paths, labels.tolist(), strict=True):
        with Image.open(path) as image:
            copy = image.convert("RGB")
        if label == 2:
            copy = copy.resize((copy.width + 3, copy.height))
        stream = io.BytesIO()
        copy.save(stream, "JPEG", quality=60 if label == 1 else 90)
        yield find_facts(stream.getvalue(), stand_in.RECIPE)


def say(found: list[Shortcut], names: list[str]) -> list[str]:
    return [
        f"{one.fact.name} {one.value}: {one.share:.0%} {names[one.label]}, n = {one.n}, "
        f"p = {one.p:.1g}"
        for one in found
    ]


def measure(folder: Path) -> dict:
    paths, labels, names = read(folder)
    facts = [find_facts(path.read_bytes(), stand_in.RECIPE) for path in paths]
    random = np.random.default_rng(0)
    false = [
        say(list_shortcuts(facts, random.permutation(labels), seed), names)
        for seed in range(N_RELABELLINGS)
    ]
    three = np.flatnonzero(labels < 3)
    planted = list(plant([paths[row] for row in three.tolist()], labels[three]))
    return {
        "data": folder.name,
        "as it is": say(list_shortcuts(facts, labels, 0), names),
        "of random labels": [claim for some in false for claim in some],
        "planted": say(list_shortcuts(planted, labels[three], 0), names),
    }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("data", type=Path, nargs="+", help="folders with a folder per class")
    arguments = parser.parse_args()
    machine = describe_machine()
    print_machine(machine)
    results = [measure(folder) for folder in arguments.data]
    for result in results:
        print(result.pop("data"))
        for name, claims in result.items():
            print(f"  {name}: {len(claims)}", *claims, sep="\n    ")
    write_results(arguments.json, machine, results)


if __name__ == "__main__":
    main()
