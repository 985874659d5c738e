"""What an export's `export.json` says: all that a program elsewhere has to know of the model.

`check.py` reads it with nothing but Python, so it holds plain values.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.classifier.export.int8.loss import Int8Loss
from pipeline.system.atomic_files import to_json, write_text

FORMAT, VERSION = "frostline-export", 1
FILE_NAME = "export.json"
REFERENCE_FOLDER = "reference"
REFERENCE_FILE = "reference/reference.npz"
PROBABILITIES, DISTANCE = "probabilities", "distance"


@dataclass(frozen=True)
class ModelInput:
    """What goes in: RGB 0..255, uint8 `(n, height, width, 3)`, nothing subtracted or divided.

    Args:
        height, width: in pixels.
        resize: how an image becomes that: `stretch`, `crop` or `pad`.
        background: RGB 0..255 behind transparent pixels and around padded images.
        filter: how pixels are averaged when an image becomes smaller or larger.
    """

    height: int
    width: int
    resize: str
    background: tuple[int, int, int]
    filter: str
    name: str = "image"
    dtype: str = "uint8"
    layout: str = "NHWC"
    channels: str = "RGB"
    range: tuple[int, int] = (0, 255)


@dataclass(frozen=True)
class Proof:
    """What a model said in its own runtime, in a process of its own, beside what the run says.

    Args:
        n_images: that both saw.
        greatest_difference: of a probability, or of the distance, where there is one.
        same_class: share of the images whose most probable class is the same.
        tolerance: what the difference may be; of an 8-bit model, from what it said here.
        runtime: name and version.
    """

    n_images: int
    greatest_difference: float
    same_class: float
    tolerance: float
    runtime: str


@dataclass(frozen=True)
class ExportedModel:
    """One file, or folder, with the model.

    Args:
        file: its name in the export's folder.
        sha256: of each file of it, by name in the export's folder.
        n_bytes: of all of them.
        precision: of the weights and the computation: `float32`, `float16`, `bfloat16` or `int8`.
        notes: sentences for people.
        int8: what 8 bits cost; None in other precisions.
    """

    file: str
    sha256: dict[str, str]
    n_bytes: int
    precision: str
    proof: Proof
    notes: list[str] = field(default_factory=list)
    int8: Int8Loss | None = None


@dataclass(frozen=True)
class Contents:
    """All of an export.

    Args:
        run: its name.
        outputs: names of the model's outputs: `probabilities`, float32 `(n, n_classes)`, and for
            a run that says `unlike anything seen` `distance`, float32 `(n,)`.
        models: by name of the format.
        refused: formats that were asked for and are not there, each with its reason.
        software: versions.
    """

    run: str
    created: str
    backbones: list[str]
    class_names: list[str]
    input: ModelInput
    outputs: list[str]
    models: dict[str, ExportedModel]
    refused: dict[str, str]
    software: dict[str, str]
    reference: str = REFERENCE_FILE

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}


def write_contents(folder: Path, contents: Contents) -> None:
    """Writes `export.json`."""
    write_text(folder / FILE_NAME, to_json(contents.to_dict()) + "\n")
