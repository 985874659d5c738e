"""A sweep: many settings on the same features, the best of them written as a run."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ParameterError, TrackingError
from pipeline.heads.class_weights import weigh_classes
from pipeline.heads.fit_head import FitResult, fit_and_write
from pipeline.heads.fit_options import FitOptions, check_fit_options, sort_options
from pipeline.heads.rows.divided_file import DividedFile
from pipeline.heads.selection import Selection
from pipeline.heads.sweep.settings import Setting, drop_idle_weights, list_settings
from pipeline.heads.sweep.swept_files import (
    SweptFile,
    describe_files,
    describe_hidden,
    require_unchanged,
)
from pipeline.heads.sweep.tables import write_tables
from pipeline.heads.sweep.tried import Tried, rank
from pipeline.heads.sweep.unfinished import identify_sweep, keep_unfinished
from pipeline.heads.sweep.work import Work
from pipeline.images.splits import TRAIN, VAL
from pipeline.runs.run_folder import claim_output
from pipeline.runs.selection_bias import SelectionBias, measure_selection_bias
from pipeline.runs.tracking.log import log_result, require_tracking
from pipeline.system.memory import SCIPY_BYTES, require_memory
from pipeline.system.paths import as_path
from pipeline.system.progress import OnProgress


@dataclass(frozen=True)
class Sweep:
    """What `sweep_heads` tried, and the run that it wrote of the best.

    Args:
        tried: all settings on all files, the best first; those that failed last.
        bias: by how much being chosen flatters the best; None where there are too few validation
            images to tell, or one setting only.
        winner: the run of the best, fitted once more; its folder holds the table and the plot.
        files: the feature files.
        n_read_back: settings that an earlier, interrupted call had finished.
        notes: sentences for people.
        seconds: that all of it took.
    """

    tried: list[Tried]
    bias: SelectionBias | None
    winner: FitResult
    files: list[SweptFile]
    n_read_back: int
    notes: list[str]
    seconds: float = field(compare=False)

    @property
    def folder(self) -> Path:
        """The run's: with `sweep.csv`, `sweep.json` and `plots/sweep.png` beside what runs have."""
        return self.winner.folder

    @property
    def best(self) -> Tried:
        """The setting that was chosen."""
        return self.tried[0]

    def __fspath__(self) -> str:
        return str(self.folder)


def sweep_heads(
    features: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    grid: str | Path | Mapping[str, Any] | None = None,
    *,
    heads: Sequence[str] | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    memory: int | str | None = None,
    output: str | Path | None = None,
    force: bool = False,
    mlflow: str | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
    on_note: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> Sweep:
    """Fits many settings of heads, and writes the one with the lowest validation log-loss as a run.

    The run's folder also holds `sweep.csv`, `sweep.json` and `plots/sweep.png` (and `.svg`). No
    setting but the chosen one ever meets a test image. What is finished is kept while it goes on:
    after an interruption the same call does the rest.

    Args:
        features: the feature file, or several of the same images, whose backbones are compared.
        grid: None = the usual settings; a TOML file; or by head a dict of options (or a list of
            such), each a value or a list of values, of which every combination is tried.
        heads: names of the heads to try, None = those of the grid.
        jobs: processes at once, None = a core each, as far as memory goes.
        scheduler: address of a `dask.distributed` scheduler, whose workers fit the settings in
            place of processes here (extra `dask`).
        memory: as of `fit_head`; the processes share it.
        output: the run's folder, None for `runs/DATA-BACKBONE-sweep-NUMBER`.
        force: overwrite what is there.
        mlflow: address of the MLflow server to which the run is logged once it is written.
        on_progress: called with a stage, the number done and the number to do.
        on_note: called with a sentence whenever there is a new best.
        options: as of `fit_head`, but `folds`; those of heads may be lists, and count in place of
            what the grid says.

    Returns:
        The `Sweep`.

    Raises:
        ParameterError: a grid or an option that makes no sense.
        HeadError: no such head, or none of the settings could be fitted.
        DatasetError: several files do not hold the same images, or these have fewer than two
            classes.
        ClusterError: no scheduler answers, no worker is left, or one has another Frostline.
        FeatureFileError, SplitError, PromiseError, RunError, LockedError, MissingExtraError,
        TrackingError: as of `fit_head`.
    """
    started = time.perf_counter()
    several = [features] if isinstance(features, str | os.PathLike) else features
    paths = [Path(one) for one in several]
    shared, of_heads = sort_options(options)
    settings = list_settings(grid, heads, of_heads)
    checked = _check(settings, shared, jobs, scheduler)
    target = None if output is None else as_path(output, "output")
    if mlflow is not None:
        require_tracking(mlflow)
    with claim_output(target, force=force):
        require_memory(SCIPY_BYTES, "Fitting heads")
        files, divided = describe_files(paths, checked, shared)
        settings = _check_weights(settings, divided)
        with keep_unfinished(identify_sweep(files, settings, divided), target) as folder:
            work = Work(files, settings, divided, jobs, memory, folder, scheduler)
            read_back = work.read_back()
            outcomes = work.finish(read_back, on_progress, on_note)
            tried = rank(files, settings, outcomes)
            bias = _measure_bias(tried, divided)
            notes = [*describe_hidden(divided.division.splits), *work.notes]
            best = tried[0]
            selection = Selection(
                "sweep",
                bias,
                lambda folder, name: write_tables(folder, name, tried, files, bias),
            )
            require_unchanged(best.file)
            winner = fit_and_write(
                best.file.path,
                join=False,
                head=best.setting.head,
                memory=memory,
                output=target,
                force=force,
                on_progress=on_progress,
                options={**shared, **best.setting.options},
                selection=selection,
            )
    seconds = time.perf_counter() - started
    sweep = Sweep(tried, bias, winner, files, len(read_back), notes, seconds)
    return sweep if mlflow is None else _log_winner(sweep, mlflow, on_progress)


def _log_winner(sweep: Sweep, uri: str, on_progress: OnProgress) -> Sweep:
    try:
        return replace(sweep, winner=log_result(sweep.winner, uri, on_progress))
    except TrackingError as error:
        error.result = sweep
        raise


def _check(
    settings: list[Setting], shared: dict[str, Any], jobs: int | None, scheduler: str | None
) -> FitOptions:
    checked = check_fit_options(settings[0].head, shared | settings[0].options)
    if checked.folding.folds is not None:
        raise ParameterError(
            "A sweep chooses by validation images. Expected `grid` without `folds`. Received: both"
            "\nSweep first, then cross-validate the setting that was chosen.",
            "folds",
        )
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
        raise ParameterError(
            f"Expected `jobs` to be a whole number, at least 1. Received: {jobs!r}", "jobs"
        )
    if jobs is not None and scheduler is not None:
        raise ParameterError(
            "Workers of a scheduler fit as many settings at once as they have threads. Expected "
            f"`jobs` or `scheduler`. Received: `jobs={jobs}` and `scheduler={scheduler}`",
            "jobs",
        )
    return checked


def _check_weights(settings: list[Setting], divided: DividedFile) -> list[Setting]:
    """The settings without those whose balanced weights are all 1; files of weights are read.

    Raises:
        ClassWeightError: one cannot be used.
    """
    names = divided.contents.class_names
    labels = divided.contents.labels[divided.division.splits == TRAIN]
    for wanted in {setting.options.get("class_weight") for setting in settings}:
        weigh_classes(wanted, labels, names)
    return drop_idle_weights(settings, np.bincount(labels, minlength=len(names)).tolist())


def _measure_bias(tried: list[Tried], divided: DividedFile) -> SelectionBias | None:
    fitted = [one.outcome for one in tried if not one.outcome.failed]
    if len(fitted) < 2:  # nothing was chosen
        return None
    return measure_selection_bias(
        np.stack([outcome.losses for outcome in fitted]),
        np.stack([outcome.is_right for outcome in fitted]),
        divided.division.units[divided.division.splits == VAL],
    )
