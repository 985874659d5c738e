"""The page of an evaluation: how good a run is on these images, where it fails, and how surely."""

import numpy as np

from pipeline.classifier.evaluation.evaluation import Evaluation
from pipeline.images.dataset import Dataset
from pipeline.report.contents import Fact, Mistake, ReportContents, ReportRun, Score, Section
from pipeline.report.gathering.gather_run import MOST_MISTAKES, N_UNCERTAIN
from pipeline.report.gathering.image_pool import ImagePool
from pipeline.report.gathering.measures import calibrate, count_confusions, score_classes
from pipeline.report.gathering.pictures import add_pictures
from pipeline.report.gathering.scored_run import ScoredRun
from pipeline.report.gathering.summary import list_sections
from pipeline.report.report_page import draw_report_page
from pipeline.runs.run_folder import Run, now
from pipeline.system.printable import count, printable, visible
from pipeline.system.progress import OnProgress


def draw_evaluation_report(
    evaluation: Evaluation, run: Run, dataset: Dataset, on_progress: OnProgress
) -> str:
    """The page, HTML: as `frostline.report` makes it of the images that a run was made of.

    Args:
        evaluation: what was found.
        run: that was scored.
        dataset: that it was scored on.
        on_progress: called with a stage, the number done and the number to do.
    """
    said = evaluation.predictions
    rows = np.arange(len(said.paths))
    scored = ScoredRun(
        run, said.paths, said.splits, said.labels, said.probabilities, evaluation.digests, rows
    )
    pool = ImagePool([scored], [dataset.root], list(run.class_names))
    uncertain = np.argsort(scored.sureness, kind="stable")[:N_UNCERTAIN]
    matrix = count_confusions(scored, list(range(len(run.class_names))), len(run.class_names))
    described = ReportRun(
        name=printable(run.name),
        kind=printable(run.kind),
        split="",  # a cell of the matrix opens images of all splits
        summary=_summarise(evaluation, dataset),
        scores=_list_scores(evaluation),
        matrix=matrix.tolist(),
        classes=score_classes(matrix),
        mistakes=[Mistake(pool.number(0, row)) for row in scored.wrong[:MOST_MISTAKES].tolist()],
        n_mistakes=len(scored.wrong),
        uncertain=[pool.number(0, row) for row in uncertain.tolist()],
        calibration=calibrate(scored),
        plots=[],
        sections=[_describe_data(evaluation, dataset), *list_sections(scored)],
        commands=[],
    )
    for row in rows.tolist():
        pool.number(0, row)
    contents = ReportContents(
        title=printable(f"{run.name} on {dataset.name}"),
        made=now(),
        class_names=[visible(name) for name in run.class_names],
        images=[],
        sheets=[],
        runs=[described],
    )
    drawn = add_pictures(contents, pool, lambda shown: len(draw_report_page(shown)), on_progress)
    return draw_report_page(drawn)


def _summarise(evaluation: Evaluation, dataset: Dataset) -> list[str]:
    metrics = evaluation.metrics
    low, high = metrics.accuracy_interval
    n_right = round(metrics.accuracy * metrics.n_samples)
    sentences = [
        f"It is right for {n_right:,} of {count(metrics.n_samples, 'image')} of "
        f"{printable(dataset.name)}: {metrics.accuracy:.1%} (95% interval {100 * low:.1f} to "
        f"{high:.1%}).",
        *evaluation.notes,
    ]
    if evaluation.answers is not None:
        sentences.append(" ".join(evaluation.answers.describe().split("\n")))
    if evaluation.skipped:
        n_skipped = count(len(evaluation.skipped), "image")
        sentences.append(f"{n_skipped} could not be used; evaluation.json says why.")
    return sentences


def _list_scores(evaluation: Evaluation) -> list[Score]:
    metrics, overlap = evaluation.metrics, evaluation.overlap
    scores = [Score("all images", metrics.accuracy, *metrics.accuracy_interval, is_own=True)]
    if overlap is not None and overlap.others is not None and overlap.n_trained_on:
        others = overlap.others
        scores.append(
            Score("those that did not train it", others.accuracy, *others.accuracy_interval)
        )
    counts = np.bincount(evaluation.predictions.labels)
    majority = float(counts.max() / counts.sum())
    return [*scores, Score("the most common class each time", majority)]


def _describe_data(evaluation: Evaluation, dataset: Dataset) -> Section:
    facts = {
        "images": str(dataset.source.resolve()),
        "scored": f"{evaluation.metrics.n_samples:,}",
        "skipped": f"{len(evaluation.skipped):,}",
    }
    return Section("Evaluated on", [Fact(name, printable(value)) for name, value in facts.items()])
