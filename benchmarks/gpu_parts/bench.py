"""What all parts of one run share: the networks, the photos, and the table that grows."""

import json
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from benchmarks.extract import SIZES, make_photos
from benchmarks.gpu_reference import Reference, describe_network, make_images, read_reference

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
ROOT = Path(__file__).resolve().parents[2]
BACKBONE = "efficientnetb0"  # of the parts that use one


class Bench:
    """What all parts of one run share.

    Args:
        arguments: of the command line.
    """

    def __init__(self, arguments):
        self.arguments = arguments
        self.folder: Path = arguments.folder
        self.reference: Reference = read_reference(arguments.reference)
        self.rows: list[dict] = []
        self.facts: dict = {}

    def open(self, name: str, precision: str, batch_size: int):
        """A network ready to embed, through the library."""
        from pipeline.features.embed import make_embedder

        recipe, weights = describe_network(self.reference, name, self.folder, precision)
        arguments = self.arguments
        return make_embedder(recipe, weights, arguments.device, arguments.engine, batch_size)

    def prepare_weights(self) -> None:
        """Writes the weights' files before several threads want them."""
        for name in self.arguments.networks:
            describe_network(self.reference, name, self.folder, "float32")

    def images(self, n_images: int, seed: int = 2) -> np.ndarray:
        return make_images(n_images, self.reference.image_size, seed)

    def photos(self) -> Path:
        """A folder of JPEG photos, made when it is first asked for."""
        folder = self.folder / "photos"
        if not folder.exists():
            make_photos(self.folder / "photos-begun", SIZES["500 x 375"], self.arguments.photos)
            (self.folder / "photos-begun").rename(folder)
        return folder

    def command(self, target: Path, precision: str, n_decoders: int) -> list[str]:
        """`cli.py extract` of the photos as a process."""
        words = [sys.executable, str(ROOT / "cli.py"), "extract", str(self.photos())]
        for name, value in self.extraction(precision).items():
            words += [f"--{name.replace('_', '-')}", str(value)] if name != "reuse" else []
        return [*words, "--no-reuse", "--output", str(target), "--jobs", str(n_decoders)]

    def extraction(self, precision: str, backbone: str = BACKBONE) -> dict:
        """Options of `extract` for the photos."""
        _, weights = describe_network(self.reference, backbone, self.folder, precision)
        return {
            "backbone": backbone,
            "weights": weights.source,
            "image_size": self.reference.image_size,
            "precision": precision,
            "batch_size": self.arguments.batch_size,
            "engine": self.arguments.engine,
            "device": self.arguments.device,
            "parallel": "decoders" if self.arguments.device == "cpu" else "auto",
            "reuse": False,
        }

    def try_each(self, cases: list[tuple], task: Callable[..., dict]) -> None:
        """Rows of a table: several cases at once, and one that fails says so in its row."""
        pool = ThreadPoolExecutor(self.arguments.openings)
        begun = {pool.submit(task, *case): case for case in cases}
        for future in as_completed(begun):
            try:
                row = future.result()
            except Exception as error:
                traceback.print_exc()
                row = {"case": " ".join(map(str, begun[future])), "failed": describe(error)}
            self.rows.append(row)
            print(
                "  " + ", ".join(f"{key}: {_text(value)}" for key, value in row.items()), flush=True
            )
            self.save()
        pool.shutdown()

    def save(self, **more: object) -> None:
        path = self.folder / f"{self.arguments.part}.json"
        path.write_text(json.dumps(self.facts | {"rows": self.rows} | more))


def describe(error: BaseException) -> str:
    """The last line of what a traceback would say."""
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[0][:600]


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
