"""All heads by name. A new one is a file of its own and a line here; see `head.py` for its seam."""

from dataclasses import dataclass
from importlib import import_module
from pkgutil import resolve_name
from typing import Any

from pipeline.errors import HeadError, ParameterError
from pipeline.heads.head import FitHead, FitPath, LoadHead
from pipeline.heads.options import (
    BoostingOptions,
    ClassMeanOptions,
    DenseOptions,
    ElasticNetOptions,
    LogregOptions,
    NeighboursOptions,
    RidgeOptions,
    SvmOptions,
)
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
        val_chooses: names of the options that validation rows choose where they are None; where it
            is None itself such rows are always needed.
        path: name of the option along which several heads are fitted faster than one by one, and
            `module:function`, a `FitPath`; None where there is no such way.
    """

    name: str
    options: type
    fit: str
    load: str
    files: tuple[str, ...]
    needs_tensorflow: bool = False
    uses_seed: bool = True
    val_chooses: tuple[str, ...] | None = ()
    path: tuple[str, str] | None = None

    def needs_val(self, options: Any) -> bool:
        """Whether fitting with these options needs validation rows."""
        names = self.val_chooses
        return names is None or any(getattr(options, name) is None for name in names)

    def import_fit(self) -> FitHead:
        """The function that fits; TensorFlow starts here where it is needed."""
        if self.needs_tensorflow:
            with no_start_up_talk():
                import_module(self.fit.split(":")[0])
        function: FitHead = resolve_name(self.fit)
        return function

    def import_fit_path(self) -> FitPath | None:
        """The function that fits along `path`, None where there is none."""
        return None if self.path is None else resolve_name(self.path[1])

    def import_load(self) -> LoadHead:
        """The function that loads."""
        function: LoadHead = resolve_name(self.load)
        return function


HEADS: dict[str, HeadKind] = {
    "logreg": HeadKind(
        "logreg",
        LogregOptions,
        fit="pipeline.heads.logistic.fitting:fit_logreg",
        load="pipeline.heads.linear:load_linear",
        files=("head.npz",),
        uses_seed=False,
        val_chooses=("C",),
        path=("C", "pipeline.heads.logistic.fitting:fit_logreg_path"),
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
        val_chooses=None,
    ),
    "svm": HeadKind(
        "svm",
        SvmOptions,
        fit="pipeline.heads.estimators.svm:fit_svm",
        load="pipeline.heads.linear:load_linear",
        files=("head.npz",),
        val_chooses=("C",),
    ),
    "elastic-net": HeadKind(
        "elastic-net",
        ElasticNetOptions,
        fit="pipeline.heads.estimators.elastic_net:fit_elastic_net",
        load="pipeline.heads.linear:load_linear",
        files=("head.npz",),
        uses_seed=False,
        val_chooses=("alpha",),
    ),
    "class-mean": HeadKind(
        "class-mean",
        ClassMeanOptions,
        fit="pipeline.heads.estimators.class_mean:fit_class_mean",
        load="pipeline.heads.linear:load_linear",
        files=("head.npz",),
        uses_seed=False,
    ),
    "neighbours": HeadKind(
        "neighbours",
        NeighboursOptions,
        fit="pipeline.heads.estimators.neighbours:fit_neighbours",
        load="pipeline.heads.estimators.neighbours:load_neighbours",
        files=("neighbours.npz",),
        uses_seed=False,
        val_chooses=("neighbours",),
    ),
    "boosting": HeadKind(
        "boosting",
        BoostingOptions,
        fit="pipeline.heads.estimators.boosting:fit_boosting",
        load="pipeline.heads.estimators.boosting:load_boosting",
        files=("head.skops",),
        val_chooses=("iterations",),
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
