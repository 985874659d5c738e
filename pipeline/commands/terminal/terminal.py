"""What people see of each command's work."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.commands.terminal.class_chart import draw_class_chart
from pipeline.commands.terminal.data_output import DataOutput
from pipeline.commands.terminal.export_lines import describe_export
from pipeline.commands.terminal.inventory import Inventory
from pipeline.commands.terminal.predictions import (
    list_best,
    predictions_csv,
    predictions_lines,
)
from pipeline.commands.terminal.run_lists import run_tables
from pipeline.commands.terminal.score_output import ScoreOutput
from pipeline.commands.terminal.search_table import describe_search, search_table
from pipeline.commands.terminal.sentences import (
    describe_choice,
    describe_finetuning,
    describe_fit,
    describe_folds,
)
from pipeline.commands.terminal.study_output import StudyOutput
from pipeline.commands.terminal.sweep_table import (
    describe_best,
    describe_rest,
    describe_sweep,
    sweep_table,
)
from pipeline.commands.terminal.tables import MOST_ROWS
from pipeline.images.splits import SPLITS
from pipeline.runs.out_of_fold import CSV_NAME as OUT_OF_FOLD_NAME
from pipeline.runs.predictions import CSV_NAME
from pipeline.runs.run_folder import open_run
from pipeline.runs.scores import FOLDS, SCORED_SPLITS
from pipeline.runs.significance import CHANGED_SIDES
from pipeline.system.csv_files import format_csv
from pipeline.system.printable import count, printable

if TYPE_CHECKING:
    from pipeline.classifier.evaluation.evaluation import Evaluation
    from pipeline.classifier.export.export import Exported
    from pipeline.classifier.prediction import Prediction
    from pipeline.finetuning.finetune import FinetuneResult
    from pipeline.heads.fit_head import FitResult
    from pipeline.heads.sweep.sweep_heads import Sweep
    from pipeline.report.report import Report
    from pipeline.runs.compare import RunComparison


class Terminal(DataOutput, StudyOutput, ScoreOutput, Inventory):
    """What each command shows of what it made."""

    def show_epoch(self, record: dict[str, float]) -> None:
        """One line per epoch."""
        self.say(
            f"epoch {record['epoch']:>3}  train loss {record['train_loss']:.4f}  "
            f"accuracy {record['train_accuracy']:.4f}   val loss {record['val_loss']:.4f}  "
            f"accuracy {record['val_accuracy']:.4f}   {record['seconds']:.1f} s"
        )

    def show_sweep(self, sweep: "Sweep", *, as_json: bool) -> None:
        """The settings that were tried, and the run of the best."""
        for note in sweep.notes:
            self.say(note)
        if as_json:
            self.result_json({**describe_fit(sweep.winner), "sweep": describe_sweep(sweep)})
            return
        self.print_table(sweep_table(sweep))
        for line in describe_rest(sweep):
            self.tell(line)
        self.result(describe_best(sweep))
        bias = sweep.bias
        self.show_fit(sweep.winner, as_json=False, flattery="" if bias is None else bias.describe())
        self.result(f"The sweep: {sweep.seconds:.1f} s. Plot: {sweep.folder / 'plots/sweep.png'}")

    def show_fit(self, result: "FitResult", *, as_json: bool, flattery: str = "") -> None:
        """The scores of a fitted head.

        Args:
            flattery: what is known of how much its choice flatters it.
        """
        if not self.is_quiet:
            is_used = np.any(result.n_images, axis=0)
            columns = [name for name, used in zip(SPLITS, is_used, strict=True) if used]
            counts = result.n_images[:, is_used]
            self.show_talk(draw_class_chart(result.class_names, counts, columns))
        for note in result.notes:
            self.say(note)
        if result.mlflow is not None:
            self.say(result.mlflow.describe())
        if as_json:
            self.result_json(describe_fit(result))
            return
        self.print_scores(result.metrics)
        best = next(name for name in SCORED_SPLITS if name in result.metrics)
        place = f"{result.folder / 'manifest.json'}, metrics, {best}, per_class"
        self.print_classes(result.metrics[best], best, place)
        csv_name = OUT_OF_FOLD_NAME if best == FOLDS else CSV_NAME
        run = open_run(result.folder)
        self.print_confusions(result.metrics[best])
        self.print_mistakes(result.mistakes, str(result.folder / csv_name), run.manifest.data_root)
        self.print_curve(run)
        self.result(describe_choice(result))
        if result.folds is not None:
            self.result(describe_folds(result.folds, result.metrics[FOLDS]))
        if flattery:
            self.result(flattery)
        elif best == "val" and result.chosen_by == "val":
            self.result("There is no test split: validation chose, so its scores flatter a little.")
        if result.promise is not None:
            self.result(result.promise.describe())
        self.result(f"{result.seconds:.1f} s. Run: {result.folder}")

    def show_finetuning(self, result: "FinetuneResult", *, as_json: bool) -> None:
        """Frozen against fine-tuned, in a table and in words."""
        found = result.assessment
        if result.mlflow is not None:
            self.say(result.mlflow.describe())
        if as_json:
            self.result_json(
                {
                    "run": str(result.folder),
                    "unfreeze": result.unfreeze,
                    "trainable_parameters": result.trainable_parameters,
                    "best_epoch": result.best_epoch,
                    "last_epoch": result.last_epoch,
                    "part": result.part,
                    "n_averaged": result.n_averaged,
                    "parity": result.parity,
                    "used_trunk_cache": result.used_trunk_cache,
                    "comparison": found.comparison.to_dict(),
                    "mistakes": found.mistakes.to_dict(),
                    "verdict": found.verdict,
                    "next_step": found.next_step,
                    "advice": [one.to_dict() for one in found.advice],
                    "notes": result.notes,
                    "seconds": result.seconds,
                    "frozen": {name: m.to_dict() for name, m in found.frozen.items()},
                    "finetuned": {name: m.to_dict() for name, m in found.finetuned.items()},
                    **({} if result.search is None else {"search": asdict(result.search)}),
                    **({} if result.mlflow is None else {"mlflow": asdict(result.mlflow)}),
                }
            )
            return
        rows = {}
        for split in (name for name in SPLITS[::-1] if name in found.frozen):
            rows[f"{split}, frozen"] = found.frozen[split]
            rows[f"{split}, tuned"] = found.finetuned[split]
        self.print_scores(rows, found.finetuned)
        run = open_run(result.folder)
        self.print_confusions(found.finetuned[found.comparison.split])
        self.print_mistakes(found.mistakes, str(result.folder / CSV_NAME), run.manifest.data_root)
        self.print_curve(run)
        if result.search is not None:
            self.print_table(search_table(result.search))
            self.result(describe_search(result.search))
        self.tell(describe_finetuning(result))
        stages = ", ".join(
            f"{stage} {seconds:.1f}" for stage, seconds in result.seconds.items() if seconds >= 0.1
        )
        self.result(f"Seconds: {stages}.")
        n_changed = found.comparison.became_right + found.comparison.became_wrong
        if n_changed:
            images = count(n_changed, f"{found.comparison.split} image")
            self.result(f"{images} changed sides: {result.folder / CHANGED_SIDES}")
        self.result(f"Run: {result.folder}")

    def show_evaluation(self, evaluation: "Evaluation", data: Path, *, as_json: bool) -> None:
        """The scores of a run on a labelled folder, or a list in one."""
        for note in evaluation.notes:
            self.say(note)
        skipped = [(str(p.path), p.reason) for p in evaluation.skipped]
        if as_json:
            self.result_json({**evaluation.to_dict(), "skipped": dict(skipped)})
            return
        rows = {"these images": evaluation.metrics}
        overlap = evaluation.overlap
        if overlap is not None and overlap.others is not None and overlap.n_trained_on:
            rows["not trained on"] = overlap.others
        fairest = list(rows)[-1]
        self.print_scores(rows)
        self.print_classes(rows[fairest], fairest, "--json has them all")
        self.print_confusions(rows[fairest])
        folder = evaluation.folder
        all_of_them = (
            "`predict RUN DATA --format csv`" if folder is None else str(folder / "predictions.csv")
        )
        root = data if data.is_dir() else data.parent
        self.print_mistakes(evaluation.mistakes, all_of_them, root)
        if evaluation.answers is not None:
            self.result(evaluation.answers.describe())
        for path, reason in skipped:
            self.say(f"skipped {printable(path)}: {reason}")

    def show_predictions(
        self,
        predictions: "Sequence[Prediction]",
        class_names: list[str],
        top: int,
        form: str,
        *,
        promises: bool = False,
    ) -> None:
        """The most probable classes of each image as a table, CSV or JSON.

        Args:
            promises: whether the run makes a promise, so that not every image gets an answer.
        """
        rows = list_best(predictions, class_names, top)
        if form == "csv":
            columns = min(top, len(class_names))
            text = format_csv(predictions_csv(rows, columns, promises=promises))
            self.result(text.rstrip("\n"))
        elif form == "json":
            from pipeline.classifier.prediction import prediction_to_json

            self.result_json(
                [prediction_to_json(p, class_names, top, promises=promises) for p in predictions]
            )
        else:
            for line in predictions_lines(rows, self.width, promises=promises):
                self.result(line)
            for row in rows:
                if row.reason is not None:
                    self.result(f"skipped {printable(row.path)}: {printable(row.reason)}")

    def show_runs(
        self,
        entries: list[dict[str, Any]],
        problems: list[str],
        *,
        as_json: bool,
        show_all: bool = False,
        folder: Path | None = None,
    ) -> None:
        """The runs by what they were scored on; those that cannot be read are named."""
        for problem in problems:
            self.complain(f"Left out: {problem}")
        if as_json:
            self.result_json(entries)
            return
        if not entries and not problems:
            where = "yet" if folder is None else f"in {folder}"
            self.say(f"No runs {where}. `frostline.fit_head(FEATURES)` makes one.")
        most = None if show_all else MOST_ROWS
        for found in run_tables(entries, self.columns, most) if entries else []:
            self.result(found.heading)
            self.print_whole_table(found.table)
            if found.n_more:
                self.result(f"{found.n_more:,} more, none of them better: --all shows them.\n")

    def show_comparison(self, comparison: "RunComparison", *, as_json: bool) -> None:
        """Two runs on common images."""
        if as_json:
            self.result_json(comparison.to_dict())
            return
        for line in comparison.describe():
            self.result(line)

    def show_report(self, report: "Report", *, as_json: bool) -> None:
        """How good the runs are, and where the page lies."""
        for note in report.notes:
            self.say(f"Note: {note}")
        if as_json:
            self.result_json(report.to_dict())
            return
        for run in report.contents.runs:
            title = f"{run.name}: " if len(report.contents.runs) > 1 else ""
            self.say(f"{title}{' '.join(run.summary[:2])}")
        for comparison in report.contents.comparisons:
            self.say(" ".join(comparison.sentences))
        self.result(str(report.path))

    def show_export(self, exported: "Exported", *, as_json: bool) -> None:
        """Each model and how it was proven, and where they lie."""
        if as_json:
            self.result_json(exported.to_dict())
            return
        for line in describe_export(exported):
            self.say(line)
        self.result(str(exported.folder))
