"""All that a report says of one run."""

from dataclasses import dataclass, replace

import numpy as np

from pipeline.images.splits import TRAIN
from pipeline.report.contents import FeatureMap, Finding, Mistake, Plot, ReportRun
from pipeline.report.gathering.ahead import plot_ahead
from pipeline.report.gathering.audit_findings import find_audit, list_findings, list_suspects
from pipeline.report.gathering.curves import plot_learning
from pipeline.report.gathering.feature_map import FEWEST_POINTS, choose_points, draw_map
from pipeline.report.gathering.image_pool import ImagePool
from pipeline.report.gathering.measures import calibrate, count_confusions, score_classes
from pipeline.report.gathering.neighbours import find_neighbours
from pipeline.report.gathering.run_features import RunFeatures, open_run_features
from pipeline.report.gathering.scored_run import ScoredRun
from pipeline.report.gathering.steps import Wording, list_steps
from pipeline.report.gathering.summary import list_scores, list_sections, summarise
from pipeline.system.printable import printable
from pipeline.system.progress import OnProgress

MOST_MISTAKES = 500
N_NEIGHBOURS = 4
N_UNCERTAIN = 60
_PLACE_DIGITS = 4


@dataclass(frozen=True)
class RunParts:
    """What a report says of one run, and what that run adds to the rest of it.

    Args:
        of_run: what is said of it.
        feature_map: of its features; None where they are gone, or none was wanted.
        findings: of the newest audit of its feature file; None where there is none.
        notes: what is missing, and why.
    """

    of_run: ReportRun
    feature_map: FeatureMap | None
    findings: list[Finding] | None
    notes: list[str]


def gather_run(
    pool: ImagePool, number: int, wording: Wording, on_progress: OnProgress, *, wants_map: bool
) -> RunParts:
    """Gathers it.

    Args:
        number: of the run in the pool.
        wording: how the page speaks.
        on_progress: called with a stage, the number done and the number to do.
        wants_map: whether to draw the features.

    Raises:
        RunError: what the run says is missing or damaged.
    """
    run = pool.runs[number]
    audit, unreadable = find_audit(run)
    plots, missing = plot_learning(run.run)
    ahead, unknown = plot_ahead(run.run, on_progress)
    feature_map = None
    with open_run_features(run) as (features, gone):
        mistakes = _list_mistakes(pool, number, features, list_suspects(audit))
        unsure = run.rows[np.argsort(run.sureness[run.rows], kind="stable")[:N_UNCERTAIN]]
        uncertain = [pool.number(number, row) for row in unsure.tolist()]
        if wants_map and features is not None:
            feature_map = map_features(pool, number, features, on_progress)
    for row in run.rows.tolist():  # a cell of the matrix opens all of its images
        pool.number(number, row)
    findings = None if audit is None else list_findings(audit, pool, number)
    return RunParts(
        _describe(pool, run, mistakes, uncertain, [*plots, *ahead], wording),
        feature_map,
        findings and [replace(one, text=wording.say(one.text)) for one in findings],
        [*gone, *unreadable, *missing, *unknown],
    )


def _describe(
    pool: ImagePool,
    run: ScoredRun,
    mistakes: list[Mistake],
    uncertain: list[int],
    plots: list[Plot],
    wording: Wording,
) -> ReportRun:
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
        mistakes=mistakes,
        n_mistakes=len(run.wrong),
        uncertain=uncertain,
        calibration=calibrate(run),
        plots=plots,
        sections=list_sections(run),
        commands=[printable(wording.spell(step)) for step in list_steps(run.run)],
    )


def _list_mistakes(
    pool: ImagePool, number: int, features: RunFeatures | None, suspects: set[str]
) -> list[Mistake]:
    """The surest, with their neighbours where there are features."""
    run = pool.runs[number]
    shown = run.wrong[:MOST_MISTAKES]
    neighbours = _find_neighbours(run, features, shown)
    return [
        Mistake(
            image=pool.number(number, row),
            neighbours=[pool.number(number, one) for one in neighbours.get(row, [])],
            is_suspect=run.paths[row] in suspects,
        )
        for row in shown.tolist()
    ]


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


def map_features(
    pool: ImagePool, number: int, features: RunFeatures, on_progress: OnProgress
) -> FeatureMap:
    """The map of a run's features, with the images in numbers of the report."""
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
    way = "t-SNE" if n_shown >= FEWEST_POINTS else "The first two principal components"
    return (
        f"{way} of the features{of} by {by}{frozen}. Images near each other are alike to the "
        "backbone; how far apart groups lie, and how large they are, says little."
        f"{some}"
    )
