"""Images that look wrong as pictures: dark, bright, blurred, tiny, odd-shaped, of one colour.

An image is told of where it is unlike the data set that it is in. Where most images are so, that is
a finding about the data, and no image stands out. The limits of brightness and shape are those of
cleanvision, of which each was set by its authors' eyes on many data sets.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.heads.audit.audited_rows import AuditedRows
from pipeline.heads.audit.issues import DataFinding, Issue
from pipeline.images.decoding.looks import Look
from pipeline.recipe import Recipe
from pipeline.system.printable import count

_DARK = 0.32  # brightness that 99% of a dark picture are below
_BRIGHT = 0.95  # brightness that 95% of a bright picture are above
_PLAIN = 2.0  # contrast of a picture of one colour, of 255
_BLURRED = 0.55  # of the sharpest part; of photos that are sharp somewhere 1% have over 0.40
_STRETCHED = 1 / 0.35  # the longer side over the shorter
_TINY = 1 / 4  # of the side that the network sees
_TENTH = 65535 / 10
_MOST = 0.5  # share of images from which on something is usual


@dataclass(frozen=True)
class _Oddity:
    """Something that pictures can have.

    Args:
        kind: of the issues.
        words: after a number of images.
        measure: how much an image has of it: above 0 where it has.
        advice: a suggestion.
        usual: what is said where most images are so.
    """

    kind: str
    words: str
    measure: Callable[[Look, Recipe], float]
    advice: str
    usual: str


def _is_plain(look: Look) -> bool:
    return look.contrast < _PLAIN


def _measure_tininess(look: Look, recipe: Recipe) -> float:
    return 1 - min(look.width, look.height) / (_TINY * recipe.image_size)


def _measure_blur(look: Look, recipe: Recipe) -> float:
    is_enlarged = min(look.width, look.height) < recipe.image_size / 2  # blurred by that alone
    return 0.0 if _is_plain(look) or is_enlarged else look.blur - _BLURRED


def _measure_unused(look: Look, recipe: Recipe) -> float:
    return 0.0 if look.greatest is None else 1 - look.greatest / _TENTH


_ODDITIES = (
    _Oddity("one colour", "of one colour", lambda look, _: 1 - look.contrast / _PLAIN,
            "leave out", "They show nothing but a colour."),
    _Oddity("dark", "dark", lambda look, _: 0.0 if _is_plain(look) else 1 - look.brightest / _DARK,
            "look", "The network was trained on pictures that use all of the range."),
    _Oddity("bright", "bright",
            lambda look, _: 0.0 if _is_plain(look) else (look.darkest - _BRIGHT) / (1 - _BRIGHT),
            "look", "The network was trained on pictures that use all of the range."),
    _Oddity("blurred", "blurred", _measure_blur, "look",
            "The network was trained on sharp pictures."),
    _Oddity("tiny", "tiny", _measure_tininess, "look",
            "They are far smaller than what the network sees: a smaller `image_size` of "
            "`frostline.extract(DATA)` is faster and may do as well."),
    _Oddity("odd shape", "of an odd shape", lambda look, _: _stretch(look) / _STRETCHED - 1, "look",
            "`resize='pad'` or `resize='crop'` of `frostline.extract(DATA)` keeps proportions."),
    _Oddity("little range", "of 16 bits of which under a tenth is used", _measure_unused,
            "extract with `depth=auto`",
            "They come out dark. `depth='auto'` of `frostline.extract(DATA)` makes the brightest "
            "of them white."),
)  # fmt: skip


def _stretch(look: Look) -> float:
    return max(look.width, look.height) / max(1, min(look.width, look.height))


def find_odd_pictures(rows: AuditedRows) -> tuple[list[Issue], list[DataFinding]]:
    """Issues of each kind, the worst first; nothing where the image files are not at hand."""
    looks = rows.looks
    seen = {row: look for row, look in enumerate(looks) if isinstance(look, Look)}
    issues: list[Issue] = []
    findings: list[DataFinding] = []
    for oddity in _ODDITIES:
        measured = {row: oddity.measure(look, rows.contents.recipe) for row, look in seen.items()}
        odd = sorted((row for row in measured if measured[row] > 0), key=lambda row: -measured[row])
        if not odd:
            continue
        heading = f"{count(len(odd), 'image')} {oddity.words}"
        if len(odd) > _MOST * len(seen) and len(seen) > 1:
            findings.append(
                DataFinding(oddity.kind, f"Most images are {oddity.words}",
                            f"{heading} of {len(seen):,}. {oddity.usual}", odd, len(odd))
            )  # fmt: skip
            continue
        issues += [
            Issue(row, oddity.kind, float(np.clip(measured[row], 0, 1)), oddity.advice)
            for row in odd
        ]
        text = f"{heading} of {len(seen):,}, as the network sees them. {oddity.usual}"
        findings.append(DataFinding(oddity.kind, heading, text, odd, len(odd)))
    return issues, findings
