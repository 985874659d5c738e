"""The work of a sweep in pieces: each is fitted by one process, and kept setting by setting."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import FrostlineError
from pipeline.heads.head import ChosenHead, TrainingRows
from pipeline.heads.rows.view_rows import predict_rows
from pipeline.heads.sweep.outcomes import Outcome, make_failure, save_outcome
from pipeline.heads.sweep.settings import Setting
from pipeline.runs.scores import log_losses
from pipeline.system.progress import OnProgress


@dataclass(frozen=True)
class Job:
    """Settings that one process fits one after another.

    Args:
        numbers: of the settings among all of the sweep.
        settings: of one head; several where it fits them along a path, in that order.
    """

    numbers: tuple[int, ...]
    settings: tuple[Setting, ...]


def make_jobs(settings: Mapping[int, Setting]) -> list[Job]:
    """Puts settings together that are fitted faster along a path; the longest work first.

    Args:
        settings: those that are to be fitted, by number.
    """
    groups: dict[object, list[int]] = {}
    for number, setting in settings.items():
        groups.setdefault(_find_path(setting) or number, []).append(number)
    jobs = []
    for path, some in groups.items():
        if isinstance(path, tuple):
            some.sort(key=lambda number: settings[number].options[path[0]])
        jobs.append(Job(tuple(some), tuple(settings[number] for number in some)))
    # TensorFlow's start and training take the longest, so they must not be what is left at the end.
    return sorted(jobs, key=lambda job: not job.settings[0].kind.needs_tensorflow)


def _find_path(setting: Setting) -> tuple[str, str, str] | None:
    """Equal for settings of one path; None for one that is fitted by itself."""
    path = setting.kind.path
    if path is None or setting.options.get(path[0]) is None:
        return None
    rest = Setting(setting.head, {**setting.options, path[0]: None})
    return path[0], setting.head, rest.key


def fit_job(
    rows: TrainingRows, job: Job, seed: int, folder: Path, on_progress: OnProgress
) -> Iterator[Outcome]:
    """Fits the settings of a job and keeps what came of each; gives each as soon as it is done.

    No row of the test takes part: it has neither a label nor a split here.

    Args:
        folder: where outcomes are kept.
    """
    job.settings[0].kind.import_fit()  # the start of TensorFlow is no setting's
    start = time.perf_counter()
    n_done = 0
    try:
        for number, chosen in zip(
            job.numbers, _fit_heads(rows, job.settings, seed, on_progress), strict=True
        ):
            outcome = _judge(rows, number, chosen, time.perf_counter() - start)
            save_outcome(folder, outcome)
            n_done += 1
            yield outcome
            start = time.perf_counter()
    except FrostlineError as error:
        for number in job.numbers[n_done:]:
            # Not kept: the next try may find the cause mended.
            yield make_failure(number, str(error), time.perf_counter() - start)


def _fit_heads(
    rows: TrainingRows, settings: Sequence[Setting], seed: int, on_progress: OnProgress
) -> Iterator[ChosenHead]:
    kind, options = settings[0].kind, [setting.make_options() for setting in settings]
    fit_path = kind.import_fit_path()
    if fit_path is not None and _find_path(settings[0]) is not None:
        yield from fit_path(rows, options, seed=seed, on_progress=on_progress)
    else:
        for some in options:
            yield kind.import_fit()(rows, some, seed=seed, on_progress=on_progress)


def _judge(rows: TrainingRows, number: int, chosen: ChosenHead, seconds: float) -> Outcome:
    val = np.flatnonzero(rows.is_val)
    labels = rows.labels[val]
    probabilities = predict_rows(chosen.head, rows.features, val)
    return Outcome(
        number,
        "" if chosen.chosen_by in ("user", "nothing") else chosen.chosen,
        log_losses(labels, probabilities),
        probabilities.argmax(axis=1) == labels,
        seconds,
    )
