"""The images of a report, each once, however many runs and parts of the page speak of it."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.images.splits import SPLITS
from pipeline.report.contents import ReportImage
from pipeline.report.gathering.scored_run import ScoredRun
from pipeline.system.printable import printable

DIGITS = 4  # of a probability


@dataclass(frozen=True)
class ImageFile:
    """Where an image of a report lies, and what it was when the run was made.

    Args:
        path: of the file.
        digest: sha256 of it; None where the run does not say.
    """

    path: Path
    digest: bytes | None


@dataclass
class ImagePool:
    """Gives the images of runs their numbers in the report.

    An image of several runs is one where its bytes, its path and its label are the same.

    Args:
        runs: of the report.
        roots: of each run, where its images lie.
        class_names: of all runs, in the order of the report.
    """

    runs: list[ScoredRun]
    roots: list[Path]
    class_names: list[str]
    files: list[ImageFile] = field(default_factory=list)
    _number_of: dict[tuple[bytes | None, str, str | None], int] = field(default_factory=dict)
    _rows: list[dict[int, int]] = field(default_factory=list)  # of an image its row by run

    def __post_init__(self) -> None:
        self._row_of = [
            {self._identify(run, row): row for row in range(len(run.paths))}
            if len(self.runs) > 1
            else {}
            for run in self.runs
        ]

    def __len__(self) -> int:
        return len(self.files)

    def number(self, run: int, row: int) -> int:
        """The number in the report of the image that is in a row of a run."""
        key = self._identify(self.runs[run], row)
        if key in self._number_of:
            return self._number_of[key]
        number = self._number_of[key] = len(self.files)
        rows = {other: found[key] for other, found in enumerate(self._row_of) if key in found}
        self._rows.append({**rows, run: row})
        self.files.append(ImageFile(self.roots[run] / key[1], key[0]))
        return number

    def describe(self, thumbnails: dict[int, tuple[int, int]]) -> list[ReportImage]:
        """The images by number.

        Args:
            thumbnails: by number of the image, (sheet, number in it).
        """
        label_of = {name: label for label, name in enumerate(self.class_names)}
        places = [[label_of[name] for name in run.run.class_names] for run in self.runs]
        return [
            self._describe(rows, places, thumbnails.get(number))
            for number, rows in enumerate(self._rows)
        ]

    def _describe(
        self, rows: dict[int, int], places: list[list[int]], thumbnail: tuple[int, int] | None
    ) -> ReportImage:
        first = min(rows)
        run, row = self.runs[first], rows[first]
        label, split = int(run.labels[row]), int(run.splits[row])
        called: list[int | None] = [None] * len(self.runs)
        probability: list[float | None] = [None] * len(self.runs)
        for number, its_row in rows.items():
            its_run = self.runs[number]
            called[number] = places[number][its_run.called[its_row]]
            probability[number] = round(float(its_run.sureness[its_row]), DIGITS)
        return ReportImage(
            path=printable(run.paths[row]),
            label=places[first][label] if label >= 0 else None,
            split=SPLITS[split] if split >= 0 else "",
            called=called,
            probability=probability,
            thumbnail=thumbnail,
        )

    @staticmethod
    def _identify(run: ScoredRun, row: int) -> tuple[bytes | None, str, str | None]:
        label = int(run.labels[row])
        return (
            None if run.digests is None else run.digests[row].tobytes(),
            run.paths[row],
            run.run.class_names[label] if label >= 0 else None,
        )
