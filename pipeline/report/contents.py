"""What a report says, as plain data: made from runs by one side, drawn as a page by the other.

All of it becomes the JSON that the page reads, so a page can be drawn without any run, and the
numbers be checked without a browser. Indices point into lists of the same contents: a class into
`class_names`, an image into `images`, a run into `runs`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sheet:
    """Thumbnails in one picture, in rows from the top left.

    Args:
        url: `data:image/...` of the picture.
        tile: side of a thumbnail in it, pixels; they are square.
        columns: thumbnails in a row.
    """

    url: str
    tile: int
    columns: int


@dataclass(frozen=True)
class ReportImage:
    """An image that a report shows or lists.

    Args:
        path: printable, below the data set's root.
        label: its class; None for none.
        split: `train`, `val`, `test`, or empty.
        called: by run, the class that it is taken for; None where that run does not have it.
        probability: by run, of that class, 0..1; None likewise.
        thumbnail: (sheet, number in it); None where the report has no room for one.
    """

    path: str
    label: int | None
    split: str
    called: Sequence[int | None]
    probability: Sequence[float | None]
    thumbnail: tuple[int, int] | None = None


@dataclass(frozen=True)
class Fact:
    """A line of a table: a name and a value, both for people."""

    name: str
    value: str


@dataclass(frozen=True)
class Section:
    """A list of facts under a heading: the recipe, the settings, the versions.

    Args:
        heading: above it.
        facts: a line each.
        table: rows below them, of which the first names the columns; empty without.
    """

    heading: str
    facts: Sequence[Fact]
    table: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Score:
    """An accuracy with what it can be compared with.

    Args:
        name: of what was scored: `this head`, `the majority class`, `the head before training`.
        accuracy: 0..1.
        low, high: 95% interval, 0..1; None where there is none.
        is_own: whether it is the run's own.
    """

    name: str
    accuracy: float
    low: float | None = None
    high: float | None = None
    is_own: bool = False


@dataclass(frozen=True)
class Mistake:
    """An image that is taken for another class, and why it may have been.

    Args:
        image: which.
        neighbours: the nearest training images, the nearest first.
        is_suspect: whether the audit doubts its label.
    """

    image: int
    neighbours: Sequence[int] = ()
    is_suspect: bool = False


@dataclass(frozen=True)
class ClassScores:
    """A class of the scored split.

    Args:
        n_images: how many there are.
        precision, recall, f1: 0..1; None where there is nothing to divide by.
        low, high: 95% interval of the recall.
    """

    n_images: int
    precision: float | None
    recall: float | None
    f1: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class CalibrationBin:
    """Images whose highest probability lies in a range.

    Args:
        low, high: of the range, 0..1.
        n_images: how many.
        confidence: mean of their highest probabilities, 0..1.
        accuracy: share that is right, 0..1; None where there are none.
    """

    low: float
    high: float
    n_images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Curve:
    """A line of a plot.

    Args:
        name: in the legend.
        x, y: its points; None in `y` for a gap.
        low, high: a band around it, one value a point; empty without.
        is_dashed: whether it is a guess.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    is_dashed: bool = False


@dataclass(frozen=True)
class Plot:
    """Curves over a common axis.

    Args:
        heading: above it.
        x_name, y_name: of the axes.
        curves: the lines.
        is_log: whether the x axis is logarithmic.
        mark: a value of x to mark, and its words; None for none.
        note: a sentence below it.
    """

    heading: str
    x_name: str
    y_name: str
    curves: Sequence[Curve]
    is_log: bool = False
    mark: tuple[float, str] | None = None
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that the audit found.

    Args:
        heading: what, in a few words.
        text: sentences.
        images: those that it is about, at most some.
        n_images: how many it is about.
    """

    heading: str
    text: str
    images: Sequence[int] = ()
    n_images: int = 0


@dataclass(frozen=True)
class ReportRun:
    """A run in a report.

    Args:
        name: of its folder.
        kind: its head, or `finetuned`.
        split: which images were scored: `test`; `folds`, out of cross-validation; `val`, which
            flatters; or `train`, where nothing else was.
        summary: sentences: what it is, how good it is.
        scores: its own, then what to compare it with.
        matrix: counts `(n_classes, n_classes)`, rows are labels.
        classes: in the order of `class_names`.
        mistakes: the surest first.
        n_mistakes: how many there are in all.
        uncertain: images, the least certain first.
        calibration: bins, the lowest first.
        plots: learning curves, and accuracy over the number of images with a forecast.
        sections: recipe, settings, versions.
        commands: that made it, in order.
    """

    name: str
    kind: str
    split: str
    summary: Sequence[str]
    scores: Sequence[Score]
    matrix: Sequence[Sequence[int]]
    classes: Sequence[ClassScores]
    mistakes: Sequence[Mistake]
    n_mistakes: int
    uncertain: Sequence[int]
    calibration: Sequence[CalibrationBin]
    plots: Sequence[Plot]
    sections: Sequence[Section]
    commands: Sequence[str]


@dataclass(frozen=True)
class FeatureMap:
    """The features in two dimensions.

    Args:
        images: which image each point is.
        x, y: 0..1.
        note: how it was made, and what it cannot tell.
    """

    images: Sequence[int]
    x: Sequence[float]
    y: Sequence[float]
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two runs of a report on their common images.

    Args:
        first, second: which runs.
        sentences: what McNemar's test says, in words.
        only_first, only_second: images that only one of them has right, the surest first.
    """

    first: int
    second: int
    sentences: Sequence[str]
    only_first: Sequence[int]
    only_second: Sequence[int]


@dataclass(frozen=True)
class ReportContents:
    """All that a report says.

    Args:
        title: of the page.
        made: when, in words.
        class_names: printable, of all runs.
        images: those that anything here points at.
        sheets: their thumbnails.
        runs: one or several, in the order asked for.
        feature_map: None where there are no features any more.
        findings: of the audit; None where there was none.
        comparisons: of each two runs.
        notes: what the report lacks, and why: images that are gone, features that are gone.
    """

    title: str
    made: str
    class_names: Sequence[str]
    images: Sequence[ReportImage]
    sheets: Sequence[Sheet]
    runs: Sequence[ReportRun]
    feature_map: FeatureMap | None = None
    findings: Sequence[Finding] | None = None
    comparisons: Sequence[Comparison] = ()
    notes: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True)
class AuditItem:
    """An image in a group of an audit's page, with boxes to relabel it and to leave it out.

    Args:
        image: which.
        text: what is doubtful, in a few words.
        suggested: the class that it may be; None for none.
        leave_out: whether leaving it out is what the audit proposes.
        related: images beside it, the nearest first.
    """

    image: int
    text: str
    suggested: int | None = None
    leave_out: bool = False
    related: Sequence[int] = ()


@dataclass(frozen=True)
class AuditGroup:
    """What the audit found of one kind.

    Args:
        heading, text: for people.
        items: the worst first; none where it is about no single image.
        n_images: how many it is about, shown here or not.
    """

    heading: str
    text: str
    items: Sequence[AuditItem] = ()
    n_images: int = 0


@dataclass(frozen=True)
class AuditContents:
    """All that an audit's page says.

    Args:
        title: of the page.
        made: when, in words.
        summary: sentences.
        class_names: printable.
        images: those that anything here points at.
        sheets: their thumbnails.
        groups: the most important first.
        table: of every image of the data set its path and label, as `fix.csv` is to have them: the
            very bytes, not the printable form; surrogates for bytes that are no UTF-8.
        rows: of each image of `images`, which row of the table it is.
        labels: by class, its name as the table has it.
        notes: what the audit could not look at, and why.
    """

    title: str
    made: str
    summary: Sequence[str]
    class_names: Sequence[str]
    images: Sequence[ReportImage]
    sheets: Sequence[Sheet]
    groups: Sequence[AuditGroup]
    table: Sequence[tuple[str, str]]
    rows: Sequence[int]
    labels: Sequence[str]
    notes: Sequence[str] = field(default_factory=tuple)
