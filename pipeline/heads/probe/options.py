"""What may be asked of a probe. Nothing heavy is imported: the command line reads it."""

from dataclasses import dataclass

from pipeline.system.options import option

# Those options of an extraction and of a division that a probe takes, too.
EXTRACT_OPTIONS = (
    "resize", "background", "truncated", "precision", "class_depth", "label_from", "labels",
    "exclude", "engine", "device", "network_store",
)  # fmt: skip
SPLIT_OPTIONS = ("val_fraction", "test_fraction", "group_by", "split_rule", "seed")


@dataclass(frozen=True)
class ProbeOptions:
    """How to try backbones and image sizes on a sample.

    Args:
        seconds: to take, from the first look at the data to the recommendation. What is measured
            is chosen so that it fits.
        images: to try them on, at most.
    """

    seconds: float = option(120.0, help="To take.", least=5, most=1e6)
    images: int = option(1000, help="To try them on, at most.", least=20, most=20_000)
