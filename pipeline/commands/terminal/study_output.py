"""What people see of studies of their data: which backbone suits it, what is wrong with it, what to
label next, how far few images go.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline.commands.terminal.audit_lines import describe_audit, list_findings
from pipeline.commands.terminal.output import Output
from pipeline.commands.terminal.probe_table import describe_probe, probe_table
from pipeline.commands.terminal.tables import make_table
from pipeline.commands.terminal.words import spell_step
from pipeline.report.gathering.steps import Step
from pipeline.system.printable import count

if TYPE_CHECKING:
    from pipeline.heads.few_images.shots import Shots
    from pipeline.heads.few_images.suggest import Suggestion
    from pipeline.heads.probe.probed import Probe
    from pipeline.report.write_audit import AuditResult


class StudyOutput(Output):
    """Shows what was found out about a data set."""

    def show_probe(self, found: "Probe", *, as_json: bool) -> None:
        """The candidates, which one is recommended and why, and what to type next."""
        next_command = spell_step(Step("extract", (found.data,), found.extract_options))
        if as_json:
            self.result_json({**found.to_dict(), "next": next_command})
            return
        self.print_table(probe_table(found))
        for line in describe_probe(found):
            self.result(line)
        self.result(f"{found.seconds:.1f} s. Next:")
        self.result(next_command)

    def show_suggestion(self, suggestion: "Suggestion", *, as_json: bool) -> None:
        """The images to label next, a path in each line, and where the page lies."""
        for note in suggestion.notes:
            self.say(note)
        if as_json:
            self.result_json(
                {
                    "folder": str(suggestion.folder),
                    "by": suggestion.by,
                    "n_labelled": suggestion.n_labelled,
                    "paths": suggestion.paths,
                }
            )
            return
        for path in suggestion.paths:
            self.result(path)
        self.say(
            f"{count(len(suggestion.paths), 'image')} to label, {suggestion.by} ones; "
            f"{suggestion.n_labelled:,} have a label. Open this page in a browser, and give the "
            "labels.csv that it saves to `frostline.fit_head(FEATURES, labels=labels.csv)`:"
        )
        self.say(str(suggestion.folder / "label.html"))

    def show_audit(self, result: "AuditResult", *, as_json: bool) -> None:
        """What an audit found, and where all of it lies."""
        for note in result.notes:
            self.say(note)
        if as_json:
            self.result_json(describe_audit(result))
            return
        for line in list_findings(result):
            self.result(line)
        self.say(
            f"{count(result.n_images, 'image')} looked at in {result.seconds:.1f} s. Decide in a "
            "browser on audit.html, and give the fix.csv that it saves to "
            "`frostline.fit_head(FEATURES, labels=fix.csv, exclude=fix.csv)`. All that was found:"
        )
        self.result(str(result.folder / "audit.csv"))

    def show_shots(self, found: "Shots", *, as_json: bool) -> None:
        """Accuracy by the number of images of each class."""
        for note in found.notes:
            self.say(note)
        if as_json:
            self.result_json(
                {
                    "folder": str(found.folder),
                    "split": found.split,
                    "n_scored": found.n_scored,
                    "shots": [
                        {**asdict(shot), "mean": shot.mean, "deviation": shot.deviation}
                        for shot in found.shots
                    ],
                }
            )
            return
        table = make_table(
            ">images a class", ">images", ">accuracy", ">deviation", ">least", ">most"
        )
        for shot in found.shots:
            low, high = min(shot.accuracies), max(shot.accuracies)
            numbers = (shot.mean, shot.deviation, low, high)
            table.add_row(
                f"{shot.n_per_class:,}",
                f"{shot.n_images:,}",
                *(f"{number:.4f}" for number in numbers),
            )
        self.print_table(table)
        draws = count(len(found.shots[0].accuracies), "draw")
        self.result(f"{draws} each, scored on {found.n_scored:,} images ({found.split} split).")
        self.result(f"Curve: {found.folder / 'shots.png'}")
