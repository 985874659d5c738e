"""Views: the versions of an image that have features, and what decides them.

View 0 is the image as it is. How the others are made is no part of the recipe, so that files with
views and without share view 0.
"""

import hashlib
from dataclasses import asdict, dataclass, replace

PRESETS = ("light", "strong")
MOST_VIEWS = 1000


@dataclass(frozen=True)
class Views:
    """How many views each image has, and how they are made.

    Args:
        number: of views, with view 0.
        augment: preset of the augmentation that makes all views but view 0.
        seed: with the image's digest and the number of the view it decides what is drawn.
        version: `AUGMENTATION_VERSION` when they were made.
    """

    number: int
    augment: str
    seed: int
    version: int

    def __post_init__(self) -> None:
        """Raises a ValueError for what no Frostline wrote: a file may come from anybody."""
        if not 2 <= self.number <= MOST_VIEWS:
            raise ValueError(f"Expected `number` of views from 2 to {MOST_VIEWS:,}")
        if self.augment not in PRESETS:
            raise ValueError(f"Expected `augment` to be one of {', '.join(PRESETS)}")
        if not 0 <= self.seed < 2**32 or self.version < 1:
            raise ValueError("Expected `seed` and `version` of views to be numbers from 0 and 1")

    def __str__(self) -> str:
        """Such as `4 views of each image (light, seed 0)`."""
        return f"{self.number:,} views of each image ({self.augment}, seed {self.seed})"

    @property
    def in_file_names(self) -> str:
        """Such as `4-light-views`, with the seed where it is not 0."""
        seed = f"-seed{self.seed}" if self.seed else ""
        return f"{self.number}-{self.augment}-views{seed}"

    @property
    def augmented(self) -> range:
        """The numbers of all views but view 0."""
        return range(1, self.number)

    def are_made_like(self, other: "Views | None") -> bool:
        """Whether the first augmented view of an image is the same in both, and the second..."""
        return other is not None and replace(other, number=self.number) == self

    def key_of(self, digest: bytes, view: int) -> bytes:
        """What the row of an image's view is known by, 32 bytes; for view 0 it is the digest.

        Args:
            digest: of the image.
            view: 0 to `number - 1`.
        """
        if view == 0:
            return digest
        way = f"{self.augment} {self.seed} {self.version} {view}"
        return hashlib.sha256(digest + way.encode()).digest()


def describe_differences(one: Views | None, other: Views | None) -> list[str]:
    """Names in what views differ, as `name: this -> that`; None = view 0 alone."""
    if one is None or other is None:
        return [] if one is other else [f"views: {one or 'none'} -> {other or 'none'}"]
    names = {"number": "views", "augment": "augment", "seed": "seed", "version": "augmentation"}
    there = asdict(other)
    return [
        f"{names[name]}: {value} -> {there[name]}"
        for name, value in asdict(one).items()
        if value != there[name]
    ]
