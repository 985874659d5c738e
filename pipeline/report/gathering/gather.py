"""All that a report says, gathered from runs; nothing is written."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.report.contents import ReportContents
from pipeline.report.gathering.comparisons import compare_each_two
from pipeline.report.gathering.gather_run import RunParts, gather_run
from pipeline.report.gathering.image_pool import ImagePool
from pipeline.report.gathering.pictures import add_pictures
from pipeline.report.gathering.scored_run import ScoredRun, read_scored_run
from pipeline.report.gathering.steps import IN_PYTHON, Wording
from pipeline.runs.run_folder import Run
from pipeline.system.printable import count, printable, visible
from pipeline.system.progress import OnProgress


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
    parts: list[RunParts] = []
    for number in range(len(scored)):
        wants_map = all(one.feature_map is None for one in parts)
        parts.append(gather_run(pool, number, wording, on_progress, wants_map=wants_map))
    comparisons, incomparable = compare_each_two(pool)
    time = datetime.now(UTC)
    contents = ReportContents(
        title=_title(scored),
        made=f"{time.day} {time:%B %Y, %H:%M} UTC",
        class_names=[visible(name) for name in names],
        images=[],
        sheets=[],
        runs=[one.of_run for one in parts],
        feature_map=next((one.feature_map for one in parts if one.feature_map is not None), None),
        findings=next((one.findings for one in parts if one.findings is not None), None),
        comparisons=comparisons,
        notes=[*(note for one in parts for note in one.notes), *incomparable],
    )
    pictured = add_pictures(contents, pool, count_bytes, on_progress)
    return replace(pictured, notes=[wording.say(note) for note in pictured.notes])


def _title(scored: list[ScoredRun]) -> str:
    if len(scored) == 1:
        return printable(scored[0].run.name)
    data = list(dict.fromkeys(run.manifest.data_name or run.run.name for run in scored))
    return f"{count(len(scored), 'run')} of {', '.join(map(printable, data))}"
