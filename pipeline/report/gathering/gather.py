"""All that a report says, gathered from runs; nothing is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.images.splits import TRAIN
from pipeline.report.contents import (
    FeatureMap,
    Finding,
    Mistake,
    Plot,
    ReportContents,
    ReportRun,
)
from pipeline.report.gathering.audit_findings import find_audit, list_findings, list_suspects
from pipeline.report.gathering.comparisons import compare_each_two
from pipeline.report.gathering.curves import plot_learning
from pipeline.report.gathering.feature_map import choose_points, draw_map
from pipeline.report.gathering.image_pool import ImagePool
from pipeline.report.gathering.measures import calibrate, count_confusions, score_classes
from pipeline.report.gathering.neighbours import find_neighbours
from pipeline.report.gathering.pictures import add_pictures
from pipeline.report.gathering.run_features import RunFeatures, open_run_features
from pipeline.report.gathering.scored_run import ScoredRun, read_scored_run
from pipeline.report.gathering.steps import IN_PYTHON, Wording, list_steps
from pipeline.report.gathering.summary import list_scores, list_sections, summarise
from pipeline.runs.run_folder import Run, now
from pipeline.system.printable import count, printable, visible
from pipeline.system.progress import OnProgress

MOST_MISTAKES = 500
N_NEIGHBOURS = 4
N_UNCERTAIN = 60
_PLACE_DIGITS = 4


@dataclass
class _Gathered:
    """What is found out of one run, in numbers of the report's images."""

    mistakes: list[Mistake]
    uncertain: list[int]
    plots: list[Plot]
    notes: list[str]


def gather_contents(
    runs: Sequence[Run],
    roots: Sequence[Path],
    *,
    count_bytes: Callable[[ReportContents], int],
    wording: Wording = IN_PYTHON,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> ReportContents:
    """Gathers what a report says.

    Args:
        runs: one or several.
        roots: of each, where its images lie now.
        count_bytes: how large the page of contents without pictures would be; the pictures take
            what is left.
        wording: how it speaks.
        on_progress: called with a stage, the number done and the number to do.

    Raises:
        RunError: what a run says is missing or damaged.
    """
    scored = [read_scored_run(run) for run in runs]
    names = list(dict.fromkeys(name for run in runs for name in run.class_names))
    pool = ImagePool(scored, list(roots), names)
    gathered: list[_Gathered] = []
    feature_map: FeatureMap | None = None
    findings: list[Finding] | None = None
    for number, run in enumerate(scored):
        with open_run_features(run) as (features, notes):
            audit, unreadable = find_audit(run)
            suspects = list_suspects(audit)
            gathered.append(_gather_run(pool, number, features, suspects, [*notes, *unreadable]))
            if findings is None and audit is not None:
                findings = list_findings(audit, pool, number)
            if feature_map is None and features is not None:
                feature_map = _map_features(pool, number, features, on_progress)
    for number, run in enumerate(scored):  # a cell of the matrix opens all of its images
        for row in run.rows.tolist():
            pool.number(number, row)
    comparisons, incomparable = compare_each_two(pool)
    contents = ReportContents(
        title=_title(scored),
        made=now(),
        class_names=[visible(name) for name in names],
        images=[],
        sheets=[],
        runs=[
            _describe_run(pool, run, found, wording)
            for run, found in zip(scored, gathered, strict=True)
        ],
        feature_map=feature_map,
        findings=_translate(findings, wording),
        comparisons=comparisons,
        notes=[*(note for found in gathered for note in found.notes), *incomparable],
    )
    pictured = add_pictures(contents, pool, count_bytes, on_progress)
    return replace(pictured, notes=[wording.say(note) for note in pictured.notes])


def _translate(findings: list[Finding] | None, wording: Wording) -> list[Finding] | None:
    if findings is None:
        return None
    return [replace(one, text=wording.say(one.text)) for one in findings]


def _title(scored: list[ScoredRun]) -> str:
    if len(scored) == 1:
        return printable(scored[0].run.name)
    data = list(dict.fromkeys(run.manifest.data_name or run.run.name for run in scored))
    return f"{count(len(scored), 'run')} of {', '.join(map(printable, data))}"


def _gather_run(
    pool: ImagePool,
    number: int,
    features: RunFeatures | None,
    suspects: set[str],
    notes: list[str],
) -> _Gathered:
    run = pool.runs[number]
    shown = run.wrong[:MOST_MISTAKES]
    neighbours = _find_neighbours(run, features, shown)
    mistakes = [
        Mistake(
            image=pool.number(number, row),
            neighbours=[pool.number(number, one) for one in neighbours.get(row, [])],
            is_suspect=run.paths[row] in suspects,
        )
        for row in shown.tolist()
    ]
    unsure = run.rows[np.argsort(run.sureness[run.rows], kind="stable")[:N_UNCERTAIN]]
    uncertain = [pool.number(number, row) for row in unsure.tolist()]
    plots, missing = plot_learning(run.run)
    return _Gathered(mistakes, uncertain, plots, [*notes, *missing])


def _find_neighbours(
    run: ScoredRun, features: RunFeatures | None, rows: np.ndarray
) -> dict[int, list[int]]:
    if features is None:
        return {}
    known = features.known
    train = known[(run.splits[known] == TRAIN) & (run.labels[known] >= 0)]
    wanted = rows[np.isin(rows, known)]
    if not len(wanted) or not len(train):
        return {}
    found = find_neighbours(features.read, wanted, train, N_NEIGHBOURS)
    return {
        row: [one for one in nearest if one >= 0]
        for row, nearest in zip(wanted.tolist(), found.tolist(), strict=True)
    }


def _map_features(
    pool: ImagePool, number: int, features: RunFeatures, on_progress: OnProgress
) -> FeatureMap:
    run, known = pool.runs[number], features.known
    chosen = choose_points(known, run.wrong)
    places = np.round(draw_map(features.read, chosen, on_progress), _PLACE_DIGITS)
    return FeatureMap(
        images=[pool.number(number, row) for row in chosen.tolist()],
        x=places[:, 0].tolist(),
        y=places[:, 1].tolist(),
        note=_describe_map(pool, run, len(chosen), len(known)),
    )


def _describe_map(pool: ImagePool, run: ScoredRun, n_shown: int, n_known: int) -> str:
    backbones = run.manifest.backbones
    by = " and ".join(printable(used.recipe.backbone) for used in backbones)
    frozen = ", frozen as it was before fine-tuning" if run.manifest.is_finetuned else ""
    of = f" of {printable(run.run.name)}" if len(pool.runs) > 1 else ""
    some = (
        f" {n_shown:,} of {n_known:,} images are shown: those that are wrong, and others evenly "
        "spaced."
        if n_shown < n_known
        else ""
    )
    return (
        f"t-SNE of the features{of} by {by}{frozen}. Images near each other are alike to the "
        "backbone; how far apart groups lie, and how large they are, says little."
        f"{some}"
    )


def _describe_run(pool: ImagePool, run: ScoredRun, found: _Gathered, wording: Wording) -> ReportRun:
    number_of = {name: number for number, name in enumerate(pool.class_names)}
    places = [number_of[name] for name in run.run.class_names]
    matrix = count_confusions(run, places, len(pool.class_names))
    return ReportRun(
        name=printable(run.run.name),
        kind=printable(run.run.kind),
        split=run.split,
        summary=[wording.say(sentence) for sentence in summarise(run)],
        scores=list_scores(run),
        matrix=matrix.tolist(),
        classes=score_classes(matrix),
        mistakes=found.mistakes,
        n_mistakes=len(run.wrong),
        uncertain=found.uncertain,
        calibration=calibrate(run),
        plots=found.plots,
        sections=list_sections(run),
        commands=[printable(wording.spell(step)) for step in list_steps(run.run)],
    )
