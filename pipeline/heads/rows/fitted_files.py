"""Which feature files a head was fitted on, as its run is to say it."""

from dataclasses import dataclass

import numpy as np

from pipeline.features.feature_file import FeatureFile
from pipeline.features.joined_features import JoinedFeatures
from pipeline.features.sliced_rows import FeatureRows
from pipeline.runs.manifest import FeaturesPart, UsedBackbone


@dataclass(frozen=True)
class FurtherFile:
    """A feature file whose features stand behind the first one's in the rows of a head.

    Args:
        backbone: that made it.
        probe_rows: int64 (n_probes,), rows of its probe images among all rows.
        probe_pixels: uint8 (n_probes, height, width, 3).
        probe_features: float32 (n_probes, n_features), all that the head takes.
    """

    backbone: UsedBackbone
    probe_rows: np.ndarray
    probe_pixels: np.ndarray
    probe_features: np.ndarray


def describe_files(
    features: FeatureFile | JoinedFeatures,
    rows: FeatureRows,
    equal_images: dict[str, list[list[str]]],
) -> tuple[FeaturesPart, list[FurtherFile]]:
    """The feature file, and those that are joined to it."""
    if isinstance(features, FeatureFile):
        return _describe_source(features, equal_images), []
    first, *others = features.files
    further = [
        FurtherFile(
            UsedBackbone(
                recipe=one.file.contents.recipe,
                weights_source=one.file.contents.weights_source,
                engine=one.file.contents.engine,
                features=_describe_source(one.file, {}),
                n_features=one.file.n_features,
                recipe_id=one.file.contents.recipe.id,
            ),
            one.probe_rows,
            one.probe_pixels,
            rows[one.probe_rows],
        )
        for one in others
    ]
    return _describe_source(first.file, equal_images), further


def _describe_source(file: FeatureFile, equal_images: dict[str, list[list[str]]]) -> FeaturesPart:
    return FeaturesPart(
        features_file=str(file.path.resolve()),
        features_file_seal=file.seal,
        features_sha256=file.contents.features_sha256,
        features_batch_size=file.contents.batch_size,
        equal_images=equal_images,
    )
