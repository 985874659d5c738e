"""A frozen backbone as a scikit-learn transformer: images in, cached features out."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from pipeline.backbones.engines.device import require_device_name
from pipeline.backbones.weights.resolve import ResolvedWeights
from pipeline.classifier.sources import Source, list_images, make_source, name_image
from pipeline.errors import DatasetError, ParameterError
from pipeline.features.embed import embed_files, make_embedder
from pipeline.features.finished_rows import FinishedRows, PartWriter, find_rows
from pipeline.features.make_recipe import make_recipe
from pipeline.features.options import ExtractOptions
from pipeline.images.decoding.read_images import DEFAULT_LIMITS, hash_image_file
from pipeline.recipe import Recipe
from pipeline.system.options import build_options
from pipeline.system.parallel import map_batches
from pipeline.system.paths import as_path
from pipeline.system.printable import printable

_N_SHOWN = 3
_HASHING_THREADS = 4
_PART_NUMBERS = 10**9  # one is drawn, since several processes may write parts at once


class FrozenFeatures(TransformerMixin, BaseEstimator):
    """Turns images into features of a frozen backbone, and computes none a second time.

    It learns nothing, so in cross-validation nothing of a fold is known to another. Rows are kept
    in a folder by the images' contents, and feature files of the same recipe there are used, too.
    Any number of processes may share it.

    Args:
        backbone: a name of the registry, `hub:PRESET`, or `run:NAME` for the network of a
            fine-tuned run. Of such a run comes what is None below, where others have the usual.
        weights: `imagenet`, `random`, or the path of a file.
        image_size: side in pixels of the square that the backbone sees, None for its own.
        layer: whose output to take; `top` is the last below the classifier. None = `top`.
        pooling: from the layer's map to one row: `avg`, `max`, `flatten` or `none`. None = `avg`.
        resize: how images become square: `stretch`, `crop` or `pad`. None = `stretch`.
        precision: of the computation: `float32`, `float16` or `bfloat16`.
        device: where to compute: `auto`, `cpu`, `gpu` or `gpu:N`.
        engine: what runs the network, None for what suits the device.
        cache: the folder of the rows.

    Attributes:
        n_features_out_: number of features, after `fit`.

    Example:
        >>> from sklearn.linear_model import RidgeClassifier
        >>> from sklearn.pipeline import make_pipeline
        >>> model = make_pipeline(FrozenFeatures("efficientnet-lite0"), RidgeClassifier())
        >>> model.fit(paths, labels).predict(["a.jpg"])  # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: str = ExtractOptions.backbone,
        *,
        weights: str = ExtractOptions.weights,
        image_size: int | None = None,
        layer: str | None = ExtractOptions.layer,
        pooling: str | None = ExtractOptions.pooling,
        resize: str | None = ExtractOptions.resize,
        precision: str = ExtractOptions.precision,
        device: str = ExtractOptions.device,
        engine: str | None = None,
        cache: str | os.PathLike[str] = "cache",
    ):
        self.backbone = backbone
        self.weights = weights
        self.image_size = image_size
        self.layer = layer
        self.pooling = pooling
        self.resize = resize
        self.precision = precision
        self.device = device
        self.engine = engine
        self.cache = cache

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.no_validation = True
        return tags

    def fit(self, X: Iterable[Any], y: Any = None) -> "FrozenFeatures":
        """Checks the parameters and computes the features of the images, for what comes next.

        Args:
            X: images, as `transform` takes them.
            y: is not used.

        Raises:
            FrostlineError: a parameter makes no sense, or an image cannot be used.
        """
        self.n_features_out_ = self._embed(X).shape[1]
        return self

    def fit_transform(self, X: Iterable[Any], y: Any = None, **parameters: Any) -> np.ndarray:
        """As `fit` and then `transform`."""
        features = self._embed(X)
        self.n_features_out_ = features.shape[1]
        return features

    def transform(self, X: Iterable[Any]) -> np.ndarray:
        """The features of images.

        Args:
            X: each a path, the bytes of an image file, a Pillow image, or an RGB array, uint8
                `(height, width, 3)`.

        Returns:
            float32 `(n_images, n_features)`.

        Raises:
            ParameterError: an image is none of these.
            DatasetError: an image cannot be used; a row that means nothing would be learned from.
        """
        check_is_fitted(self)
        return self._embed(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """`BACKBONE_0` and so on."""
        check_is_fitted(self)
        names = [f"{self.backbone}_{number}" for number in range(self.n_features_out_)]
        return np.array(names, object)

    def _embed(self, X: Iterable[Any]) -> np.ndarray:
        sources = [make_source(image, place) for place, image in enumerate(_list(X))]
        recipe, weights = self._make_recipe()
        folder = as_path(self.cache, "cache")
        name = f"frozen-{recipe.backbone_in_file_names}-{recipe.id[:8]}"
        identified = list(
            map_batches(lambda source: _identify(source, recipe), sources, _HASHING_THREADS)
        )
        reasons = [(place, reason) for place, (_, reason) in enumerate(identified) if reason]
        _raise_failures(reasons, sources)
        digests = [digest for digest, _ in identified]
        known = _find_known(folder, name, recipe, self.engine)
        first_of = {digest.tobytes(): place for place, digest in reversed(list(enumerate(digests)))}
        missing = [place for digest, place in first_of.items() if digest not in known]
        if missing:
            self._compute(sources, digests, sorted(missing), recipe, weights, folder / name)
            known = _find_known(folder, name, recipe, self.engine)
        return np.concatenate(list(known.gather(np.stack(digests))))

    def _make_recipe(self) -> tuple[Recipe, ResolvedWeights]:
        given = {name: value for name, value in self.get_params().items() if name != "cache"}
        given["weights"] = os.fspath(self.weights)
        wanted = build_options(ExtractOptions, given, "embed images")
        wanted.check()
        require_device_name(wanted.device)
        return make_recipe(
            wanted.backbone,
            wanted.weights,
            image_size=wanted.image_size,
            resize=wanted.resize,
            layer=wanted.layer,
            pooling=wanted.pooling,
            precision=wanted.precision,
        )

    def _compute(
        self,
        sources: list[Source],
        digests: list[np.ndarray],
        missing: list[int],
        recipe: Recipe,
        weights: ResolvedWeights,
        folder: Path,
    ) -> None:
        """Embeds images and writes their rows; what is finished when one fails is kept."""
        embed = make_embedder(recipe, weights, self.device, self.engine)

        def read(batch: list[Source]) -> list[tuple[np.ndarray, np.ndarray | str]]:
            return [source.read(recipe, DEFAULT_LIMITS) for source in batch]

        size = embed.images_per_task
        batches = [missing[start : start + size] for start in range(0, len(missing), size)]
        writer = PartWriter(folder, recipe, embed.record, secrets.randbelow(_PART_NUMBERS))
        failures: list[tuple[int, str]] = []
        try:
            for batch, (outcomes, features) in zip(
                batches,
                map_batches(
                    # Sources where files are expected: what is asked of either is left to `read`.
                    lambda batch: embed_files(
                        cast(Any, [sources[place] for place in batch]), cast(Any, read), embed
                    ),
                    batches,
                    embed.n_streams,
                ),
                strict=True,
            ):
                rows = iter(features)
                for place, (_, reason) in zip(batch, outcomes, strict=True):
                    if reason is None:
                        writer.add(digests[place], next(rows))
                    else:
                        failures.append((place, reason))
        finally:
            writer.flush()
        _raise_failures(failures, sources)


def _list(X: Iterable[Any]) -> list[Any]:
    """The images, at least one; numpy's texts as paths."""
    is_texts = isinstance(X, np.ndarray) and X.dtype.kind == "U" and X.ndim == 1
    images = list_images(cast(np.ndarray, X).tolist() if is_texts else X)
    if not images:
        raise ParameterError("Expected `X` to be one image or more. Received: none", "X")
    return images


def _identify(source: Source, recipe: Recipe) -> tuple[np.ndarray, str | None]:
    """What a row is known by: the digest of the file, or of the pixels where there is none."""
    if source.path is not None:
        return hash_image_file(source.path, DEFAULT_LIMITS)
    digest, pixels = source.read(recipe, DEFAULT_LIMITS)
    if isinstance(pixels, str):
        return digest, pixels
    return name_image(digest, pixels), None


def _find_known(folder: Path, name: str, recipe: Recipe, engine: str | None) -> FinishedRows:
    """Rows of the recipe in the folder: those kept here, and those of feature files."""
    found = find_rows(folder / f"{name}.h5", folder / name, recipe, None, reuse=True, engine=engine)
    return FinishedRows(found.sources)


def _raise_failures(failures: list[tuple[int, str]], sources: list[Source]) -> None:
    """Raises a DatasetError for images that cannot be used, if there are any."""
    if not failures:
        return
    shown = [
        f"{printable(str(sources[place]))} ({printable(reason)})"
        for place, reason in sorted(failures)[:_N_SHOWN]
    ]
    more = len(failures) - len(shown)
    raise DatasetError(
        f"{len(failures):,} of {len(sources):,} images cannot be used. Expected features of each. "
        f"Received: {', '.join(shown)}{f' and {more:,} more' if more > 0 else ''}\n"
        "Leave them out; `frostline.extract(DATA)` does so by itself."
    )
