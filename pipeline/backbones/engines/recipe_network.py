"""The network of a recipe, for whatever engine: nothing is built before an engine asks for it."""

from functools import partial
from typing import TYPE_CHECKING

from pipeline.backbones.engines.engine import Network
from pipeline.backbones.weights.resolve import ResolvedWeights
from pipeline.recipe import Recipe
from pipeline.system.quiet_start import no_start_up_talk

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras


def describe_network(recipe: Recipe, weights: ResolvedWeights) -> Network:
    """The frozen network from RGB 0..255 to a recipe's features.

    Args:
        weights: from `resolve_weights`; must be those of the recipe.
    """
    return Network(partial(_build, recipe, weights), recipe.precision, recipe)


def _build(recipe: Recipe, weights: ResolvedWeights) -> "keras.Model":
    with no_start_up_talk():
        from pipeline.backbones.build import build_embedding_model
    return build_embedding_model(recipe, weights)
