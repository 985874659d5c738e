"""Images to the features that a run's head takes: of each of its networks, side by side."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from pipeline.backbones.engines.embedder import Embedder
from pipeline.classifier.sources import Source, name_image
from pipeline.features.embed import Embedded, embed_decoded
from pipeline.images.augmentation.read_views import make_views
from pipeline.images.augmentation.views import Views
from pipeline.images.decoding.read_images import Limits
from pipeline.recipe import Recipe

# Of each image its digest, and its pixels or the reason why there are none.
_Decoded = list[tuple[np.ndarray, np.ndarray | str]]


def embed_images(
    images: list[Source],
    recipes: Sequence[Recipe],
    embedders: Sequence[Embedder],
    limits: Limits,
    views: Views | None = None,
) -> Embedded:
    """Decodes and embeds one batch; an image is decoded once for all networks of one size.

    Args:
        recipes: of the networks.
        embedders: that run them, in the same order.
        limits: what an image may be at most.
        views: of each image; None = the image as it is.

    Returns:
        (digest, reason or None) of each image, where one that any network cannot have has a
        reason; and float32 (n_usable, n_features), the networks' features side by side; with views
        (n_usable, n_views, n_features).

    Raises:
        BackboneError: a network's output is not finite.
    """
    decoded: dict[tuple[Any, ...], _Decoded] = {}
    for recipe in recipes:
        if describe_decoding(recipe) not in decoded:
            decoded[describe_decoding(recipe)] = [
                _read(image, recipe, limits, views) for image in images
            ]
    outcomes = [_agree(forms) for forms in zip(*decoded.values(), strict=True)]
    is_usable = [reason is None for _, reason in outcomes]
    parts = []
    for recipe, embed in zip(recipes, embedders, strict=True):
        found = zip(decoded[describe_decoding(recipe)], is_usable, strict=True)
        pixels = [form for (_, form), usable in found if usable and not isinstance(form, str)]
        stacked = np.stack(pixels) if pixels else None
        # Sources where files are expected: they are only named there.
        parts.append(embed_decoded(cast(Any, images), outcomes, stacked, embed)[1])
    return outcomes, parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def describe_decoding(recipe: Recipe) -> tuple[Any, ...]:
    """All of a recipe that decides pixels: recipes of which this is equal share them."""
    return recipe.image_size, recipe.resize, recipe.background, recipe.truncated, recipe.depth


def _read(
    image: Source, recipe: Recipe, limits: Limits, views: Views | None
) -> tuple[np.ndarray, np.ndarray | str]:
    """Digest and pixels of an image, or of all its views; or the reason why there are none."""
    digest, pixels = image.read(recipe, limits)
    if views is None or isinstance(pixels, str):
        return digest, pixels
    return digest, make_views(pixels, name_image(digest, pixels), views, range(views.number))


def _agree(
    forms: Sequence[tuple[np.ndarray, np.ndarray | str]],
) -> tuple[np.ndarray, str | None]:
    """Digest and reason of an image that was read once for each size."""
    digest = forms[0][0]
    for _, pixels in forms:
        if isinstance(pixels, str):
            return digest, pixels
    if any(not np.array_equal(other, digest) for other, _ in forms[1:]):
        return digest, "cannot be read: it changed while it was being read"
    return digest, None
