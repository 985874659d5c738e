"""All heads by name. A new one is a file of its own and a line here; see `head.py` for its seam."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pipeline.errors import HeadError, ParameterError
from pipeline.heads.head import FitHead, LoadHead
from pipeline.heads.options import DenseOptions, LogregOptions, RidgeOptions
from pipeline.system.quiet_start import no_start_up_talk


@dataclass(frozen=True)
class HeadKind:
    """One kind of head; its modules are imported when they are needed.

    Args:
        name: on the command line and in runs.
        options: its options dataclass, every field made with `system.options.option`.
        fit: `module:function`, a `FitHead`.
        load: `module:function`, a `LoadHead`.
        files: names of the files in a run that it cannot be loaded without.
        needs_tensorflow: whether the module that fits it imports TensorFlow.
        uses_seed: whether fitting leaves anything to chance.
    """

    name: str
    options: type
    fit: str
    load: str
    files: tuple[str, ...]
    needs_tensorflow: bool = False
    uses_seed: bool = True

    def import_fit(self) -> FitHead:
        """The function that fits; TensorFlow starts here where it is needed."""
        if self.needs_tensorflow:
            with no_start_up_talk():
                import_module(self.fit.split(":")[0])
        function: FitHead = _import(self.fit)
        return function

    def import_load(self) -> LoadHead:
        """The function that loads."""
        function: LoadHead = _import(self.load)
        return function


def _import(place: str) -> Any:
    """What `module:function` names."""
    module, function = place.split(":")
    return getattr(import_module(module), function)


HEADS: dict[str, HeadKind] = {
    "logreg": HeadKind(
        "logreg",
        LogregOptions,
        fit="pipeline.heads.logistic.fitting:fit_logreg",
        load="pipeline.heads.linear:load_linear",
        files=("head.npz",),
        uses_seed=False,
    ),
    "ridge": HeadKind(
        "ridge",
        RidgeOptions,
        fit="pipeline.heads.ridge.fitting:fit_ridge",
        load="pipeline.heads.linear:load_linear",
        files=("head.npz",),
        uses_seed=False,
    ),
    "dense": HeadKind(
        "dense",
        DenseOptions,
        fit="pipeline.heads.dense.head:fit_dense",
        load="pipeline.heads.dense.arithmetic:load_dense",
        files=("head.keras",),
        needs_tensorflow=True,
    ),
}


def find_head(name: str) -> HeadKind:
    """The kind of a name.

    Raises:
        HeadError: there is none.
        ParameterError: it is no name.
    """
    if not isinstance(name, str):
        raise ParameterError(
            f"Expected `head` to be a name: one of {', '.join(HEADS)}. Received: {name!r}", "head"
        )
    if name not in HEADS:
        raise HeadError(
            f"There is no such kind of head. Expected one of {', '.join(HEADS)}. Received: {name}"
        )
    return HEADS[name]
