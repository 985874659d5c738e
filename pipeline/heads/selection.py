"""A head that was chosen among several settings: what its run says of that."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.heads.fit import Fit
from pipeline.runs.selection_bias import SelectionBias


@dataclass(frozen=True)
class Selection:
    """How a setting came to be chosen, before its head is fitted once more and written.

    Args:
        name: of this way to choose, for the run's name.
        bias: by how much the choice flatters; None where that cannot be told.
        write: writes what there is to know of the others into the run's folder; called with it and
            with the name that it will have.
    """

    name: str
    bias: SelectionBias | None
    write: Callable[[Path, str], None]

    def mark(self, fitted: Fit) -> Fit:
        """The fit, whose options validation chose, not the user."""
        return replace(fitted, chosen_by="val")
