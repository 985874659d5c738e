"""The page of a contact sheet: thumbnails by class, in one file that fetches nothing and runs
nothing: it has no script, so no name can be one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report.contents import Sheet


@dataclass(frozen=True)
class SheetImage:
    """An image on a contact sheet.

    Args:
        name: printable, of its file.
        path: printable, below the folder that holds all images.
        link: relative URL of its file, percent-encoded.
        words: what is thought of it: a probability, and in a group of several classes the class.
        thumbnail: (sheet, number in it); None where there is none.
    """

    name: str
    path: str
    link: str
    words: str
    thumbnail: tuple[int, int] | None = None


@dataclass(frozen=True)
class SheetGroup:
    """Images that belong together.

    Args:
        heading: a class, or why there is no answer.
        note: a sentence below it; empty for none.
        images: in order.
    """

    heading: str
    note: str
    images: Sequence[SheetImage]


@dataclass(frozen=True)
class ContactSheet:
    """All that a contact sheet says.

    Args:
        title: of the page.
        summary: sentences.
        tile: side of a thumbnail on the page, CSS pixels.
        sheets: the thumbnails.
        groups: in order; those without images are left out.
        skipped: name of each image that cannot be used, and why.
        notes: what the page lacks, and why.
    """

    title: str
    summary: Sequence[str]
    tile: int
    sheets: Sequence[Sheet]
    groups: Sequence[SheetGroup]
    skipped: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()


def draw_contact_sheet(sheet: ContactSheet) -> str:
    """The page, HTML."""
    from pipeline.report.page_frame import fill_still_page

    return fill_still_page("contact_sheet.html.j2", sheet, ("base", "contact_sheet"))
