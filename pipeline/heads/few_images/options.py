"""What may be said of images to label. Nothing heavy is imported: the command line reads it."""

from dataclasses import dataclass

from pipeline.system.options import option

TYPICAL, DOUBTFUL = "typical", "doubtful"


@dataclass(frozen=True)
class SuggestOptions:
    """How to choose images to label.

    Args:
        n: so many.
        labels: a CSV with the columns path and label: those that have one already, in place of the
            labels of the feature file.
        by: `typical` images, each of another kind; `doubtful` ones for a head that is fitted on
            those with labels; None = typical up to 20 labels a class, then doubtful.
        seed: decides all that is left to chance.
    """

    n: int = option(30, help="So many.", least=1)
    labels: str | None = option(
        None,
        help="A CSV with the columns path and label: the images that have one already.",
        default_words="those in FEATURES",
    )
    by: str | None = option(
        None,
        help="typical: each of another kind; doubtful: for a head fitted on those with labels.",
        choices=(TYPICAL, DOUBTFUL),
        default_words="typical up to 20 labels a class, then doubtful",
    )
    seed: int = option(0, help="Decides all that is left to chance.", least=0, most=2**32 - 1)
