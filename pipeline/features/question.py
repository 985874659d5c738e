"""What a head is asked, where the folders of the images ask something else. Nothing heavy here."""

from dataclasses import dataclass, field

from pipeline.system.options import option


@dataclass(frozen=True)
class QuestionOptions:
    """Which question a head is to answer, where it is not the folders'.

    Args:
        labels: a CSV with the columns path and label, in place of the labels of the feature file.
        exclude: a CSV of images to leave out: those whose column `exclude` says yes, or without
            such a column all that it names.
        merge: classes that are taken as one: `cats+dogs=pets`, several with commas between them.
        classes: only these, with commas between them, named as they are after `merge`.
    """

    labels: str | None = option(
        None,
        help="A CSV with the columns path and label, in place of the labels in FEATURES.",
        default_words="those in FEATURES",
    )
    exclude: str | None = option(
        None,
        help="A CSV of images to leave out: its column path, or where it has a column exclude, "
        "those with yes in it.",
        default_words="none",
    )
    merge: str | None = option(
        None,
        help="Classes to take as one: cats+dogs=pets, several with commas between them.",
    )
    classes: str | None = option(
        None, help="Only these classes, with commas between them.", default_words="all"
    )


@dataclass(frozen=True)
class Question:
    """What a run was asked, where it was another question than that of the feature file.

    Args:
        labels_file: absolute path of the CSV that the labels came from; None = the feature file.
        labels_sha256: of that file, hex.
        merged: the new name of each class that was taken as one with others.
        left_out: classes, by their new names, that were left out.
        exclude_file: absolute path of the CSV of images that were left out; None = none were.
        exclude_sha256: of that file, hex.
        n_excluded: images that were left out by it.
    """

    labels_file: str | None = None
    labels_sha256: str | None = None
    merged: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    exclude_file: str | None = None
    exclude_sha256: str | None = None
    n_excluded: int = 0

    def rename(self, name: str) -> str:
        """What a class of the data set is called in the run."""
        return self.merged.get(name, name)
