"""What people see of data: a data set that was made or found, a feature file that was written."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands.terminal.class_chart import draw_class_chart
from pipeline.commands.terminal.output import Output
from pipeline.commands.terminal.progress import describe_rate
from pipeline.commands.terminal.sentences import count_given_splits, describe_skipped
from pipeline.commands.terminal.tables import describe_size
from pipeline.system.printable import count, printable

if TYPE_CHECKING:
    from pipeline.features.summary import ExtractSummary
    from pipeline.images.dataset import Dataset
    from pipeline.images.fetch import Fetched


class DataOutput(Output):
    """Shows what became of images before any head."""

    def show_dataset(self, dataset: "Dataset") -> None:
        """Images per class and split, and what was left out."""
        n_images, n_classes = count(len(dataset), "image"), count(len(dataset.class_names), "class")
        self.say(f"{printable(str(dataset.source))}: {n_images}, {n_classes}")
        if not self.is_quiet and dataset.class_names:
            counts, columns = count_given_splits(dataset)
            self.show_talk(draw_class_chart(dataset.class_names, counts, columns))
        for note in dataset.notes:
            self.say(note)

    def show_fetched(self, fetched: "Fetched", *, as_json: bool) -> None:
        """The data set that was made."""
        for note in fetched.notes:
            self.say(note)
        self.say(f"Wrote {fetched.n_files:,} files to {fetched.folder}/")
        if as_json:
            self.result_json({**asdict(fetched), "folder": str(fetched.folder)})
        else:
            self.result(str(fetched.folder))

    def show_extraction(self, summary: "ExtractSummary", *, as_json: bool) -> None:
        """What an extraction did, and the feature file."""
        counts = {
            "kept": summary.kept,
            "from an interrupted run or a probe": summary.resumed,
            "reused": summary.reused,
            "computed": summary.computed,
            "equal to another image": summary.copies,
            "skipped": len(summary.skipped),
            "removed": summary.removed,
        }
        words = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
        self.say(f"{count(summary.n_images, 'image')}: {words}")
        for line in describe_skipped(summary.skipped, n_shown=3):
            self.say(f"  {line}")
        if summary.computed:
            rate = describe_rate(summary.computed, summary.compute_seconds)
            speed = f"{rate} images/s, " if rate else ""
            self.say(f"{speed}{summary.seconds:.1f} s in all")
        state = "is up to date" if summary.is_unchanged else "written"
        self.say(f"Feature file {state}, {describe_size(summary.bytes)}:")
        if as_json:
            self.result_json(
                {**asdict(summary), "path": str(summary.path), "skipped": dict(summary.skipped)}
            )
        else:
            self.result(str(summary.path))

    def show_parquet(self, path: Path, *, as_json: bool) -> None:
        """The Parquet file that was written."""
        if as_json:
            self.result_json({"path": str(path)})
        else:
            self.result(str(path))
