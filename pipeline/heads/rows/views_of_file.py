"""The views of a feature file, as far as a fit is to have them."""

from pipeline.errors import FeatureFileError
from pipeline.features.feature_file import FeatureFile
from pipeline.features.joined_features import JoinedFeatures
from pipeline.features.sliced_rows import FeatureRows
from pipeline.heads.options import ViewOptions
from pipeline.images.augmentation.views import Views


def open_views(
    file: FeatureFile | JoinedFeatures, memory: int, options: ViewOptions
) -> FeatureRows | None:
    """Rows of the augmented views of all images; None where the head is to be fitted without.

    Args:
        file: must stay open.
        memory: bytes for them.

    Raises:
        FeatureFileError: it has none to average over, or they are damaged; or several files are
            joined of which one has some.
    """
    if isinstance(file, JoinedFeatures):
        _require_no_views(file, options)
        return None
    if file.views is None:
        if options.tta:
            raise FeatureFileError(
                "This feature file has no views to average over. Expected some with `tta=True`. "
                f"Received: {file.path}\nMake them: `frostline.extract(DATA, views=4)`."
            )
        return None
    return FeatureRows(file.views, max(1, memory)) if options.views else None


def require_no_views(file: FeatureFile, options: ViewOptions) -> None:
    """Raises a FeatureFileError where a sweep would choose by other heads than it then writes."""
    if options.tta or (file.views is not None and options.views):
        raise FeatureFileError(
            "A sweep tries heads on images as they are. Expected `views=False`, which fits its "
            f"best on these, too, or a feature file without views. Received: {file.path}"
            + (" with `tta=True`" if options.tta else "")
            + "\nFit what it chose on the views by itself, without a sweep."
        )


def _require_no_views(joined: JoinedFeatures, options: ViewOptions) -> None:
    """Raises a FeatureFileError where views of joined files would be used."""
    viewed = [one.file.path for one in joined.files if one.file.views is not None]
    if options.tta or (viewed and options.views):
        raise FeatureFileError(
            "The views of several feature files cannot be joined. Expected files without views, or "
            "`views=False`, which trains on the images as they are. Received: "
            + (", ".join(map(str, viewed)) or "`tta=True`")
        )


def describe_views(views: Views | None, options: ViewOptions) -> list[str]:
    """What people should know of what a fit made of the views that there are."""
    if views is None:
        idle = "`views=False` changes nothing: the feature file has no views."
        return [] if options.views else [idle]
    if not options.views:
        return []
    averaged = " Answers are averaged over them." if options.tta else ""
    return [f"Trained on {views}.{averaged}"]
