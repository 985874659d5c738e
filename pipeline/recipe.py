"""The recipe: everything that decides the features of an image, and its id.

Two feature rows may be mixed if and only if their recipe ids are equal. The recipe is known
without loading TensorFlow, so an extraction with nothing to do never loads it. Beside it stands
the record of the engine and device that computed rows: two engines agree to rounding, never to
the bit, so the record is no part of the recipe.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace

import msgspec

# The greatest difference of two engines' rows for the same images, relative to the greatest.
TOLERANCE = 1e-3  # float32 on a CPU
REDUCED_TOLERANCE = 2e-2  # float16, TF32, or a GPU
# Of a number bfloat16 keeps 8 bits, float16 11. The farthest from float32 that was seen is 4.9e-2:
# EfficientNetB0 on an NVIDIA H200, see docs/performance.md.
BFLOAT16_TOLERANCE = 6e-2

# Pixels. EfficientNet-Lite0 needs 6.4 GB for one such image, and 21 GB at twice the side.
GREATEST_IMAGE_SIZE = 4096
FULL_DEPTH = 16  # bits of a pixel's values

_GREATEST_FACTOR = 1e9
# What may be asked for, and how it is recorded: by Keras's name, as ever, so that ids stay.
PRECISIONS = {
    "float32": "float32",
    "tf32": "tf32",
    "float16": "mixed_float16",
    "bfloat16": "mixed_bfloat16",
    "mixed_float16": "mixed_float16",
    "mixed_bfloat16": "mixed_bfloat16",
}
# What people are told to ask for, and what older commands asked for: (then, now).
PRECISION_NAMES = ("float32", "tf32", "float16", "bfloat16")
FORMER_PRECISION_NAMES = tuple((PRECISIONS[name], name) for name in ("float16", "bfloat16"))
# float32 whose products a GPU makes of 10 bits.
TF32 = "tf32"
_WORDS = {
    "resize": ("stretch", "crop", "pad"),
    "channel_order": ("RGB", "BGR"),
    "pooling": ("avg", "max", "flatten", "none"),
    "precision": tuple(dict.fromkeys(PRECISIONS.values())),
    "truncated": ("skip", "keep"),
}


def keras_policy(precision: str) -> str:
    """Keras's dtype policy for a precision; TF32 is a matter of the device."""
    return "float32" if precision == TF32 else precision


def find_tolerance(precision: str, *, is_gpu: bool) -> float:
    """How far rounding may take rows of that precision from another engine's, relative to the
    greatest.

    Args:
        precision: `float32`, `tf32`, `mixed_float16` or `mixed_bfloat16`; empty where unknown.
        is_gpu: whether a GPU computed.
    """
    if precision == "mixed_bfloat16":
        return BFLOAT16_TOLERANCE
    is_exact = not is_gpu and precision in {"", "float32"}
    return TOLERANCE if is_exact else REDUCED_TOLERANCE


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the features of an image.

    Args:
        backbone: name in the registry.
        weights: `sha256:HEX` of the weights' file, or `random:SEED`.
        image_size: side in pixels of the square that the backbone sees.
        resize: `stretch`, `crop` or `pad`.
        background: RGB 0..255 put behind transparent pixels and around padded images.
        decoder_version: `images.DECODER_VERSION` when the features were made.
        channel_order: `RGB` or `BGR`, what the backbone expects.
        scale: one factor per channel of RGB 0..255, in the backbone's channel order.
        offset: one summand per channel, added after the factor.
        layer: name of the layer whose output is taken; `top` is the backbone's last.
        pooling: `avg`, `max`, `flatten` or `none`: how that output becomes one row.
        precision: `float32`, `tf32`, `mixed_float16` or `mixed_bfloat16`.
        truncated: what an image cut short gives: `skip` nothing, `keep` what is there of it.
        depth: of pixels of 16 bits that say no more of themselves, how many bits are used: their
            greatest value is white.
    """

    backbone: str
    weights: str
    image_size: int
    resize: str
    background: tuple[int, int, int]
    decoder_version: int
    channel_order: str
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    layer: str
    pooling: str
    precision: str
    truncated: str = "skip"
    depth: int = FULL_DEPTH

    def __post_init__(self) -> None:
        """Raises a ValueError for what no Frostline wrote: a recipe may come from anybody."""
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                raise ValueError(f"Expected `{name}` to be one of {', '.join(words)}")
        if not 1 <= self.image_size <= GREATEST_IMAGE_SIZE:
            raise ValueError(f"Expected `image_size` from 1 to {GREATEST_IMAGE_SIZE:,}")
        if not 8 <= self.depth <= FULL_DEPTH:
            raise ValueError(f"Expected `depth` from 8 to {FULL_DEPTH}")
        if not all(0 <= value <= 255 for value in self.background):
            raise ValueError("Expected `background` to be RGB 0..255")
        if not all(abs(value) <= _GREATEST_FACTOR for value in (*self.scale, *self.offset)):
            raise ValueError(f"Expected `scale` and `offset` up to {_GREATEST_FACTOR:g}")
        if not re.fullmatch(r"random:[0-9]{1,19}|sha256:[0-9a-f]{64}", self.weights):
            raise ValueError("Expected `weights` to be random:SEED or sha256:HEX")

    @property
    def id(self) -> str:
        """sha256 of the canonical JSON, 64 hex digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def backbone_in_file_names(self) -> str:
        """The backbone's name without the `:` and `/` that a preset's has."""
        return re.sub(r"[^\w.-]+", "-", self.backbone)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, so that equal recipes have equal text.

        The full depth is left out, as in recipes from before there was another.
        """
        values = asdict(self)
        if self.depth == FULL_DEPTH:
            del values["depth"]
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Inverse of `to_json`.

        Raises:
            ValueError: it is no recipe, or one with a field that this Frostline does not know.
        """
        values = json.loads(text)
        recipe = msgspec.convert(values, cls)
        unknown = values.keys() - {entry.name for entry in fields(cls)}
        if unknown:
            raise ValueError(f"Expected no fields but a recipe's. Received: {sorted(unknown)}")
        return recipe

    def differences(self, other: "Recipe") -> list[str]:
        """Names the fields in which two recipes differ, as `name: this -> that`."""
        return [
            f"{name}: {value} -> {getattr(other, name)}"
            for name, value in asdict(self).items()
            if value != getattr(other, name)
        ]


def name_backbones(recipes: Iterable[Recipe]) -> str:
    """The backbones of rows, side by side, as a part of a file's name."""
    return "+".join(recipe.backbone_in_file_names for recipe in recipes)


@dataclass(frozen=True)
class EngineRecord:
    """What computed rows of features.

    Args:
        name: of the engine, such as `openvino`; `unknown` for rows from before it was recorded.
        version: of the engine's library.
        device: `cpu` or `gpu`; empty where unknown.
        device_name: what the device calls itself, such as `AMD EPYC 7B13` or `NVIDIA H100`.
        compute_capability: of a GPU, such as `9.0`; empty for a CPU.
        precision: `float32`, `tf32`, `mixed_float16` or `mixed_bfloat16`.
        n_threads: calls of the network that ran side by side; 0 where unknown. It decides no bit,
            so it makes no two records differ.
        batch_size: images per call of the network; 0 where unknown.
        is_fast: a GPU took the kernels that were the fastest in a trial, so that another process
            may give other last bits.
    """

    name: str = "unknown"
    version: str = ""
    device: str = ""
    device_name: str = ""
    compute_capability: str = ""
    precision: str = ""
    n_threads: int = field(default=0, compare=False)
    batch_size: int = 0
    is_fast: bool = False

    def __str__(self) -> str:
        """Such as `litert 2.1.0 on AMD EPYC 7B13`."""
        if not self.is_known:
            return "an unknown engine"
        return f"{self.name} {self.version} on {self.device_name or self.device}"

    @property
    def is_known(self) -> bool:
        return self.name != "unknown"

    @property
    def is_gpu(self) -> bool:
        return self.device == "gpu"

    @property
    def tolerance(self) -> float:
        """How far rounding may take its rows from another engine's, relative to the greatest."""
        return find_tolerance(self.precision, is_gpu=self.is_gpu)

    def computes_like(self, other: "EngineRecord") -> bool:
        """Whether equal images get equal rows, the size of a batch apart."""
        return replace(self, batch_size=0) == replace(other, batch_size=0)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces; without what older versions do not know of."""
        values = asdict(self)
        if not self.is_fast:
            del values["is_fast"]
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "EngineRecord":
        """Inverse of `to_json`; fields that a newer Frostline added are passed over.

        Raises:
            ValueError: it is no record.
        """
        return msgspec.json.decode(text, type=cls)
