"""The folder of an evaluation: scores, predictions, pictures and a report."""

from dataclasses import replace
from pathlib import Path

from pipeline.classifier.evaluation.evaluation import Evaluation
from pipeline.images.dataset import Dataset
from pipeline.runs.outcome_folder import new_outcome
from pipeline.runs.predictions import ARRAY_NAME, CSV_NAME, write_predictions
from pipeline.runs.run_folder import Run, describe_software, now
from pipeline.system.atomic_files import write_json, write_text
from pipeline.system.progress import OnProgress

FORMAT, VERSION = "frostline-evaluation", 1
JSON_NAME = "evaluation.json"
_MATRIX = "plots/confusion-matrix"
REPORT_NAME = "report.html"
FILES = (JSON_NAME, CSV_NAME, ARRAY_NAME, REPORT_NAME, f"{_MATRIX}.png", f"{_MATRIX}.svg")


def write_evaluation(
    output: Path,
    evaluation: Evaluation,
    run: Run,
    dataset: Dataset,
    *,
    force: bool,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Evaluation:
    """Writes all files and gives the folder its name at the end.

    Args:
        output: the folder, claimed.
        evaluation: what was found.
        run: that was scored.
        dataset: that it was scored on.
        force: an older evaluation may be replaced.
        on_progress: called with a stage, the number done and the number to do.

    Returns:
        The evaluation, with its folder.

    Raises:
        StorageError: it cannot be written.
    """
    from pipeline.classifier.evaluation.report import draw_evaluation_report
    from pipeline.runs.plots.confusion_matrix import plot_confusion_matrix

    with new_outcome(output, FILES, force=force) as folder:
        write_predictions(folder, evaluation.predictions, evaluation.class_names)
        (folder / _MATRIX).parent.mkdir()
        plot_confusion_matrix(
            folder / _MATRIX,
            evaluation.metrics.confusion_matrix,
            evaluation.class_names,
            title=f"{run.name} on {dataset.name}",
        )
        report = draw_evaluation_report(evaluation, run, dataset, on_progress)
        write_text(folder / REPORT_NAME, report)
        write_json(
            folder / JSON_NAME,
            {
                "format": FORMAT,
                "version": VERSION,
                "created": now(),
                "run": str(run.folder.resolve()),
                "data": str(dataset.source.resolve()),
                "data_root": str(dataset.root.resolve()),
                "class_names": evaluation.class_names,
                **evaluation.to_dict(),
                "notes": evaluation.notes,
                "skipped": {str(one.path): one.reason for one in evaluation.skipped},
                "software": describe_software(),
            },
        )
    return replace(evaluation, folder=output)
