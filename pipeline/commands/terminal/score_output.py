"""What people see of how good a model is: scores, classes, confusions, mistakes, the curve."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands.terminal.confusions import confusion_table, describe_confusions
from pipeline.commands.terminal.links import find_file, name_file
from pipeline.commands.terminal.output import Output
from pipeline.commands.terminal.sentences import describe_mistakes
from pipeline.commands.terminal.sparkline import describe_curve
from pipeline.commands.terminal.tables import (
    describe_other_classes,
    per_class_table,
    score_table,
)
from pipeline.runs.records import read_history
from pipeline.runs.run_folder import Run
from pipeline.runs.scores import Metrics, describe_absent_classes
from pipeline.system.printable import printable

if TYPE_CHECKING:
    from pipeline.runs.mistakes import Mistakes


class ScoreOutput(Output):
    """Prints the parts that the results of fitting, fine-tuning and evaluating have in common."""

    def print_scores(
        self, rows: Mapping[str, Metrics], splits: Mapping[str, Metrics] | None = None
    ) -> None:
        """The table of scores, and which classes its means leave out, said once for each split."""
        self.print_table(score_table(rows))
        for sentence in describe_absent_classes(rows if splits is None else splits):
            self.result(sentence)

    def print_classes(self, metrics: Metrics, split: str, place: str) -> None:
        self.print_table(per_class_table(metrics, split))
        for sentence in describe_other_classes(metrics, place):
            self.result(sentence)

    def print_confusions(self, metrics: Metrics) -> None:
        table = confusion_table(metrics, self.columns)
        if table is not None and self.draws_bars:
            self.print_table(table)
            return
        for line in describe_confusions(metrics):
            self.result(line)

    def print_mistakes(self, mistakes: "Mistakes", place: str, root: str | Path) -> None:
        """The images as links below the root, or by names that a shell here opens."""
        if not mistakes.n_wrong:
            return
        files = [find_file(root, one.path) for one in mistakes.worst]
        names = [
            one.path if file is None or self.links_files else name_file(file)
            for one, file in zip(mistakes.worst, files, strict=True)
        ]
        heading, *lines, last = describe_mistakes(mistakes, place, names)
        self.result(heading)
        for line, name, file in zip(lines, names, files, strict=True):
            self.result_with_link(line, printable(name), file)
        self.result(last)

    def print_curve(self, run: Run) -> None:
        if self.draws_bars:
            for line in describe_curve(read_history(run), run.manifest.history.x):
                self.result(line)
