"""How many planted copies an audit finds, of six kinds, and which other pairs it takes for copies.

Fifty photos of each kind are changed and put among the others, then embedded and searched. Pairs
that nobody planted are drawn side by side where `--sheet` says: real near duplicates are among
them, and only eyes can tell. Weights of a backbone are given as NAME=FILE.

    python benchmarks/near_duplicates.py flowers animals --backbone efficientnet-lite0
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image, ImageOps

from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)
from benchmarks.planted_copies import KINDS, plant_copies
from pipeline.features.extract import extract
from pipeline.features.feature_file import FeatureFile
from pipeline.heads.audit.near_duplicates.find import NearDuplicates, search_near_duplicates
from pipeline.heads.audit.neighbours import find_neighbours

_SIDE = 160  # pixels of a picture on the sheet


def search(features: Path) -> tuple[NearDuplicates | None, list[str], Path, float]:
    """What is found, the paths of the rows, their root, and the seconds that it took."""
    with FeatureFile(features) as file:
        contents, rows = file.contents, file.read_all()
    started = time.perf_counter()
    neighbours = find_neighbours(rows, contents.images.digests)
    root = Path(contents.data_root)
    found = search_near_duplicates(
        rows, contents, neighbours, root, 0, lambda stage, done, total: None
    )
    return found, contents.images.paths, root, time.perf_counter() - started


def measure(photos: Path, backbone: str, n_of_kind: int, sheet: Path | None) -> dict:
    """Plants, extracts, searches and counts."""
    name, _, weights = backbone.partition("=")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "photos"
        planted = plant_copies(photos, data, n_of_kind, seed=0)
        output = Path(folder) / "features.h5"
        extract(data, backbone=name, weights=weights or "imagenet", output=output)
        found, paths, root, seconds = search(output)
        if found is None:
            raise SystemExit(f"too few images in {photos}")
        origins = {copy: original for copy, (original, _) in planted.items()}
        group_of = {row: number for number, rows in enumerate(found.groups) for row in rows}
        row_of = {path: row for row, path in enumerate(paths)}
        hits = dict.fromkeys(KINDS, 0)
        for copy, (original, kind) in planted.items():
            group = group_of.get(row_of[copy])
            hits[kind] += group is not None and group == group_of.get(row_of[original])
        others = [
            (paths[pair.one], paths[pair.other], pair.likeness)
            for pair in found.pairs
            if origins.get(paths[pair.one], paths[pair.one])
            != origins.get(paths[pair.other], paths[pair.other])
        ]
        if sheet is not None and others:
            draw_sheet(root, others, sheet / f"{photos.name}-{name}.jpg")
    return {
        "data": photos.name,
        "backbone": name,
        "images": len(paths),
        **{kind: hits[kind] / n_of_kind for kind in KINDS},
        "other pairs": len(others),
        "cosine": found.limits.cosine,
        "likeness": found.limits.likeness,
        "compared": found.n_compared,
        "seconds": seconds,
        "told": found.limits.found,
        "others": others,
    }


def draw_sheet(root: Path, pairs: list[tuple[str, str, float]], target: Path) -> None:
    """Draws the pairs below each other, at most forty."""
    shown = pairs[:40]
    canvas = Image.new("RGB", (4 * 2 * _SIDE, -(-len(shown) // 4) * _SIDE), "white")
    for number, (one, other, _) in enumerate(shown):
        for place, path in enumerate((one, other)):
            with Image.open(root / path) as image:
                small = ImageOps.contain(image.convert("RGB"), (_SIDE - 6, _SIDE - 6))
            canvas.paste(small, ((2 * (number % 4) + place) * _SIDE, number // 4 * _SIDE))
    target.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(target)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("photos", type=Path, nargs="+", help="folders of photos")
    parser.add_argument("--backbone", nargs="+", default=["efficientnet-lite0"])
    parser.add_argument("--sheet", type=Path, help="folder for pictures of other pairs")
    arguments = parser.parse_args()
    machine = describe_machine()
    print_machine(machine)
    results = [
        measure(photos, backbone, 10 if arguments.short else 50, arguments.sheet)
        for backbone in arguments.backbone
        for photos in arguments.photos
    ]
    columns = [name for name in results[0] if name not in {"told", "others"}]
    print_table(columns, [[row[name] for name in columns] for row in results])
    for row in results:
        for one, other, likeness in row["others"]:
            print(f"{row['data']} {row['backbone']}: {likeness:.2f}  {one}  {other}")
    write_results(arguments.json, machine, results)


if __name__ == "__main__":
    main()
