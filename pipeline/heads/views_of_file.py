"""The views of a feature file, as far as a fit is to have them."""

from pipeline.errors import FeatureFileError
from pipeline.features.feature_file import FeatureFile
from pipeline.features.sliced_rows import FeatureRows
from pipeline.heads.options import ViewOptions
from pipeline.images.augmentation.views import Views


def open_views(file: FeatureFile, memory: int, options: ViewOptions) -> FeatureRows | None:
    """Rows of the augmented views of all images; None where the head is to be fitted without.

    Args:
        file: must stay open.
        memory: bytes for them.

    Raises:
        FeatureFileError: it has none to average over, or they are damaged.
    """
    if file.views is None:
        if options.tta:
            raise FeatureFileError(
                "This feature file has no views to average over. Expected some with `tta=True`. "
                f"Received: {file.path}\nMake them: `frostline.extract(DATA, views=4)`."
            )
        return None
    return FeatureRows(file.views, max(1, memory)) if options.views else None


def describe_views(views: Views | None, options: ViewOptions) -> list[str]:
    """What people should know of what a fit made of the views that there are."""
    if views is None:
        idle = "`views=False` changes nothing: the feature file has no views."
        return [] if options.views else [idle]
    if not options.views:
        return []
    averaged = " Answers are averaged over them." if options.tta else ""
    return [f"Trained on {views}.{averaged}"]
