"""How long a report takes, how much memory, and how large the page is: whole processes.

Photos are made up (blobs of colour, as JPEGs of 256 pixels), their features too (clusters that
overlap), a logistic head is fitted on them, and `cli.py report` is run on that.

    python benchmarks/report.py --images 10000     # about 3 minutes, most of it to make the photos
    python benchmarks/report.py --short            # 750 photos
    python benchmarks/report.py --run RUN          # a run that is there
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import (
    ROOT,
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    run_process,
    write_results,
)

N_CLASSES, SIDE = 10, 256
MAKE_RUN = """
import sys
from pathlib import Path
from benchmarks.report import make_run
make_run(Path(sys.argv[1]), int(sys.argv[2]))
"""


def make_run(folder: Path, n_images: int) -> None:
    """Photos, features and a run in a folder; in a process of its own, which the measured one
    is not to inherit memory from."""
    import hashlib
    from dataclasses import replace

    import numpy as np

    from benchmarks.synthetic_features import make_blocks, write_synthetic_features
    from pipeline.features.feature_file import FeatureFile, write_features
    from pipeline.features.image_table import ImageTable
    from pipeline.heads.fit_head import fit_head

    write_synthetic_features(folder / "made.h5", n_images, n_classes=N_CLASSES)
    with FeatureFile(folder / "made.h5") as file:
        contents = file.contents
    root = folder / "photos"
    digests = []
    for row, path in enumerate(contents.images.paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        data = _draw_photo(row, int(contents.labels[row]))
        (root / path).write_bytes(data)
        digests.append(hashlib.sha256(data).digest())
    images = contents.images
    contents = replace(
        contents,
        data_root=str(root),
        data_name="photos",
        images=ImageTable(
            images.paths,
            np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
            images.sizes,
            images.mtimes,
            images.stamps,
        ),
    )
    blocks = make_blocks(contents.labels, 1280, 0)
    write_features(folder / "photos.h5", contents, blocks, [], 1280)
    fit_head(folder / "photos.h5", output=folder / "run", C=0.01)


def _draw_photo(number: int, label: int) -> bytes:
    """A JPEG with blobs of colour and grain: as many bytes as a photo of that size."""
    import io

    import numpy as np
    from PIL import Image

    random = np.random.default_rng(number)
    hue = np.random.default_rng(label).integers(60, 200, 3)
    coarse = np.clip(hue + random.normal(0, 50, (7, 7, 3)), 0, 255).astype(np.uint8)
    picture = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    grain = random.normal(0, 10, (SIDE, SIDE, 1))
    pixels = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def measure(run: Path, n_times: int) -> dict:
    """The report of a run, as a whole process."""
    page = run / "report.html"
    usages = [run_process([sys.executable, ROOT / "cli.py", "report", run]) for _ in range(n_times)]
    text = page.read_text("utf-8")
    return {
        "seconds": min(usage.seconds for usage in usages),
        "cpu_seconds": min(usage.cpu_seconds for usage in usages),
        "peak_bytes": max(usage.peak_bytes for usage in usages),
        "page_bytes": page.stat().st_size,
        "picture_bytes": sum(map(len, re.findall(r"data:image/webp;base64,[\w+/=]*", text))),
    }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="made-up photos")
    parser.add_argument("--run", type=Path, help="a run that is there, instead")
    parser.add_argument("--times", type=int, default=1, help="processes, of which the fastest")
    arguments = parser.parse_args()
    machine = describe_machine(["numpy", "openTSNE", "scikit-learn", "pillow"])
    print_machine(machine)
    n_images = 750 if arguments.short else arguments.images
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.run is None:
            run_process([sys.executable, "-c", MAKE_RUN, folder, n_images])
        else:
            shutil.copytree(arguments.run, folder / "run")
        found = measure(folder / "run", arguments.times)
    columns = ["", "seconds", "CPU seconds", "peak MB", "page MB", "of it pictures, MB"]
    numbers = [found["seconds"], found["cpu_seconds"]]
    sizes = [found[size] / 1e6 for size in ("peak_bytes", "page_bytes", "picture_bytes")]
    what = f"{n_images:,} photos" if arguments.run is None else arguments.run.name
    print_table(columns, [[f"report of {what}", *numbers, *sizes]])
    write_results(arguments.json, machine, found)


if __name__ == "__main__":
    main()
