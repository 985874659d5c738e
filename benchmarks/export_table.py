"""Which network becomes which format: each exported and proven, or refused with the reason.

    python benchmarks/export_table.py --write docs/export-formats.md

Sixty small images are made up; lite0 has its weights, the others random ones of order one.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.common import (  # noqa: E402
    describe_machine,
    make_parser,
    print_machine,
    write_results,
)

FORMATS = ("openvino", "onnx", "litert", "saved-model", "keras", "html")
OTHERS = ("squeezenet1_1", "mobilenetv2", "resnet50", "densenet121", "convnexttiny")
BACKBONES = (*OTHERS, "efficientnetb0")
COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 70), "red": (210, 50, 40)}
N_PER_CLASS, SIDE, VAL_FRACTION = 20, 96, 0.5
PACKAGES = ("tensorflow", "keras", "openvino", "onnx", "onnxruntime", "tf2onnx", "ai-edge-litert")
PAGE = """\
# Formats by networks

Made by `python benchmarks/export_table.py --write docs/export-formats.md`. Each cell is a file
that was written, and then run in its own runtime, in a new process, on {n_images} images: the
greatest difference of a probability from what the run says, and the file's size. All in float32; a
difference above 1e-4 is refused. efficientnet-lite0 has ImageNet's weights, all others random ones
whose features are of order one.

{table}

{versions}
"""


def make_images(root: Path) -> Path:
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for place in range(N_PER_CLASS):
            noise = random.normal(0, 60, (SIDE, SIDE, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{place:02d}.png")
    return root


def make_runs(folder: Path, backbones: tuple[str, ...]) -> dict[str, tuple[Path, str | None]]:
    """Runs by the words of their row, each with its file of weights."""
    import frostline
    from benchmarks.embed import save_weights

    photos = make_images(folder / "photos")
    lite0 = frostline.extract(
        photos, backbone="efficientnet-lite0", output=folder / "lite0.h5"
    ).path
    logistic = frostline.fit_head(
        lite0, val_fraction=VAL_FRACTION, output=folder / "logistic"
    ).folder
    dense = frostline.fit_head(
        lite0, head="dense", val_fraction=VAL_FRACTION, output=folder / "dense"
    ).folder
    tuned = frostline.finetune(logistic, unfreeze="block7a", epochs=1, output=folder / "tuned")
    runs: dict[str, tuple[Path, str | None]] = {
        "efficientnet-lite0, logistic head": (logistic, None),
        "efficientnet-lite0, dense head": (dense, None),
        "efficientnet-lite0, fine-tuned": (tuned.folder, None),
    }
    for backbone in backbones:
        place = folder / backbone
        place.mkdir()
        some = sorted(photos.rglob("*.png"))[::4]
        weights = save_weights(backbone, "order-one", place, some)
        file = place / "features.h5"
        features = frostline.extract(photos, backbone=backbone, weights=weights, output=file).path
        fitted = frostline.fit_head(features, val_fraction=VAL_FRACTION, output=place / "run")
        runs[backbone] = fitted.folder, weights
    return runs


def export_all(run: Path, weights: str | None, output: Path) -> dict[str, str]:
    """By format: how far off and how large, or why it was refused."""
    import frostline

    made = frostline.export(run, FORMATS, weights=weights, output=output, force=True).contents
    cells = {form: f"refused: {' '.join(why.split())}" for form, why in made.refused.items()}
    for form, model in made.models.items():
        size = f"{model.n_bytes / 1e6:.1f} MB"
        cells[form] = f"{model.proof.greatest_difference:.0e}, {size}"
    return cells


def to_markdown(rows: dict[str, dict[str, str]]) -> str:
    lines = [["network", *FORMATS], ["---"] * (1 + len(FORMATS))]
    lines += [[name, *(cells[form] for form in FORMATS)] for name, cells in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page here")
    arguments = parser.parse_args()
    machine = describe_machine(PACKAGES)
    print_machine(machine)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        runs = make_runs(folder, () if arguments.short else BACKBONES)
        rows = {}
        for name, (run, weights) in runs.items():
            rows[name] = export_all(run, weights, folder / "export")
            print(name, rows[name], flush=True)
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    n_images = round(len(COLOURS) * N_PER_CLASS * VAL_FRACTION)
    if arguments.write:
        arguments.write.write_text(
            PAGE.format(table=to_markdown(rows), versions=versions, n_images=n_images), "utf-8"
        )
    write_results(arguments.json, machine, rows)


if __name__ == "__main__":
    main()
