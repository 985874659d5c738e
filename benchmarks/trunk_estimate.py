"""What is said of the trunk cache's time before it is filled, and what filling it then takes.

Six cases: three networks, each from the frost line that 110 images per class would thaw from, with
images augmented lightly and not at all. (Strong augmentation mixes images anew in each step, so
there is no trunk cache of it.) Both figures are those that a user is shown.

    python benchmarks/trunk_estimate.py --images 400
"""

import os
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)
from benchmarks.extract import make_photos

PACKAGES = ("openvino", "tensorflow", "keras", "numpy", "pillow")
NETWORKS = {"efficientnet-lite0": "imagenet", "mobilenetv2": "random", "resnet50": "random"}
AUGMENTATIONS = ("light", "none")
PHOTO = (500, 375)
N_CLASSES = 2
N_IMAGES_PER_CLASS = 110  # that the frost line is chosen for


def prepare(folder: Path, network: str) -> Path:
    """A run with a head on features of the photos."""
    from pipeline.features.extract import extract
    from pipeline.heads.fit_head import fit_head

    file = folder / f"{network}.h5"
    extract(folder / "photos", output=file, backbone=network, weights=NETWORKS[network])
    return fit_head(file, output=folder / network).folder


def compare(run: Path, photos: Path, augment: str) -> tuple[str, list[str]]:
    """Fills the trunk cache of a run; the frost line, and what was said of it."""
    from pipeline.classifier.build import load_classifier
    from pipeline.finetuning.choose_line import choose_line
    from pipeline.finetuning.options import FinetuneOptions
    from pipeline.finetuning.parent import open_parent
    from pipeline.finetuning.trunk.stage import TrunkStage
    from pipeline.runs.run_folder import open_run

    parent = open_parent(open_run(run), None, photos)
    model = load_classifier(parent.run)
    n_images = N_IMAGES_PER_CLASS * N_CLASSES
    line = choose_line(model.get_layer("backbone"), None, n_images, N_CLASSES).name
    options = FinetuneOptions(unfreeze=line, augment=augment, trunk_cache=True)
    notes: list[str] = []
    TrunkStage(parent, options, "cpu", model, line).open_inputs(True, lambda *_: None, notes.append)
    return line, notes


def read_notes(notes: list[str]) -> dict[str, float]:
    """Rows, and the seconds that were said and taken."""
    text = "\n".join(notes).replace(",", "")
    n_rows, said = re.search(r"(\d+) of \d+ rows to compute about (\d+) s", text).groups()
    taken = re.search(r"The trunk cache took (\d+) s", text)[1]
    return {"rows": int(n_rows), "said, s": int(said), "taken, s": int(taken)}


def measure(folder: Path, n_images: int, networks: list[str]) -> list[dict]:
    """A row of the table for each network and augmentation."""
    os.chdir(folder)
    os.environ["FROSTLINE_NETWORKS"] = str(folder / "networks")
    make_photos(folder / "photos", PHOTO, n_images)
    rows = []
    for network in networks:
        run = prepare(folder, network)
        for augment in AUGMENTATIONS:
            line, notes = compare(run, folder / "photos", augment)
            found = read_notes(notes)
            ratio = found["taken, s"] / found["said, s"]
            rows.append(
                {"network": network, "from": line, "augmented": augment, **found, "ratio": ratio}
            )
            print("\n".join(notes), flush=True)
    return rows


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=int, help="[default: 400; short: 40]")
    arguments = parser.parse_args()
    target = arguments.json.absolute() if arguments.json else None
    machine = describe_machine(PACKAGES)
    print_machine(machine)
    n_images = arguments.images or (40 if arguments.short else 400)
    networks = list(NETWORKS)[: 1 if arguments.short else None]
    with tempfile.TemporaryDirectory(prefix="frostline-trunk-") as folder:
        rows = measure(Path(folder), n_images, networks)
    print()
    print_table(list(rows[0]), [row.values() for row in rows])
    print(f"load {os.getloadavg()[0]:.1f} at the end")
    write_results(target, machine, rows)


if __name__ == "__main__":
    main()
