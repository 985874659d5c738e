"""What a head is asked, where the folders of the images ask something else. Nothing heavy here."""

from dataclasses import dataclass, field

from pipeline.system.options import option


@dataclass(frozen=True)
class QuestionOptions:
    """Which question a head is to answer, where it is not the folders'.

    Args:
        labels: a CSV with the columns path and label, in place of the labels of the feature file.
        merge: classes that are taken as one: `cats+dogs=pets`, several with commas between them.
        classes: only these, with commas between them, named as they are after `merge`.
    """

    labels: str | None = option(
        None,
        help="A CSV with the columns path and label, in place of the labels in FEATURES.",
        default_words="those in FEATURES",
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
    """

    labels_file: str | None = None
    labels_sha256: str | None = None
    merged: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def rename(self, name: str) -> str:
        """What a class of the data set is called in the run."""
        return self.merged.get(name, name)
