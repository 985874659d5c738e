"""What an audit says: an issue for each image, and findings about the data as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Issue:
    """One thing that is doubtful about one image.

    Args:
        row: of the image, in the feature file.
        kind: `wrong label`, `near duplicate`, `outlier`, `dark`: a few words, the same for all of
            a kind; `audit.csv` has it.
        score: 0..1, the higher the surer; it orders the issues of a kind.
        suggestion: what to do, or the class that it may be; empty for none.
        related: rows that speak for it: neighbours, the other of a pair; the nearest first.
    """

    row: int
    kind: str
    score: float
    suggestion: str = ""
    related: Sequence[int] = ()


@dataclass(frozen=True)
class DataFinding:
    """One thing that is to be said about the data, for people.

    Args:
        kind: of the issues that belong to it, or a few words of its own.
        heading: what, in a few words: `12 labels are likely wrong`.
        text: sentences: how it was found, what it means, what to do.
        rows: images to show, the worst first; some of them where there are many.
        n_rows: how many images it is about.
    """

    kind: str
    heading: str
    text: str
    rows: Sequence[int] = ()
    n_rows: int = 0
