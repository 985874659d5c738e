"""All that may be said of a fit, whichever head is fitted: sorted by what it is of, and checked."""

from dataclasses import dataclass, fields
from typing import Any

from pipeline.errors import ParameterError
from pipeline.features.options import SplitOptions
from pipeline.features.question import QuestionOptions
from pipeline.heads.fit import check_folds, make_options
from pipeline.heads.options import FoldOptions, ViewOptions
from pipeline.heads.registry import find_head
from pipeline.runs.promise.options import PromiseOptions
from pipeline.system.options import check_options

# What may be said of a fit, whichever head is fitted.
SHARED_OPTIONS: tuple[type, ...] = (
    QuestionOptions,
    SplitOptions,
    FoldOptions,
    PromiseOptions,
    ViewOptions,
)


@dataclass(frozen=True)
class FitOptions:
    """All that may be said of a fit, checked."""

    asking: QuestionOptions
    dividing: SplitOptions
    folding: FoldOptions
    promising: PromiseOptions
    viewing: ViewOptions
    of_head: dict[str, Any]


def check_fit_options(head: str, options: dict[str, Any]) -> FitOptions:
    """Sorts options by what they are of; checks all.

    Raises:
        HeadError: no such head.
        ParameterError: an option that makes no sense.
    """
    shared, of_head = sort_options(options)
    make_options(find_head(head), of_head)
    made = [kind(**_pick(shared, kind)) for kind in SHARED_OPTIONS]
    for some in made:
        check_options(some, "fit a head")
    asking, dividing, folding, promising, viewing = made
    check_folds(folding)
    if viewing.tta and not viewing.views:
        raise ParameterError(
            "Views that answers are averaged over are trained on, too. Expected `tta=True` without "
            "`views=False`. Received: both",
            "tta",
        )
    return FitOptions(asking, dividing, folding, promising, viewing, of_head)


def sort_options(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those that any head may have beside it, and those that are of heads."""
    names = {entry.name for kind in SHARED_OPTIONS for entry in fields(kind)}
    return (
        {name: value for name, value in options.items() if name in names},
        {name: value for name, value in options.items() if name not in names},
    )


def _pick(options: dict[str, Any], kind: type) -> dict[str, Any]:
    """Those that are fields of an options dataclass."""
    names = {entry.name for entry in fields(kind)}
    return {name: value for name, value in options.items() if name in names}
