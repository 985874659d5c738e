"""The network of a recipe, for whatever engine: nothing is built before an engine asks for it.

What builds it can be pickled, so an engine may have it built in another process.
"""

from functools import partial
from typing import TYPE_CHECKING

from pipeline.backbones.engines.engine import Network, identify_network
from pipeline.backbones.engines.network_store import NetworkStore
from pipeline.backbones.weights.resolve import ResolvedWeights, resolve_recorded_weights
from pipeline.recipe import Recipe
from pipeline.system.quiet_start import no_start_up_talk
from pipeline.system.versions import list_versions

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras


def describe_network(
    recipe: Recipe, weights: ResolvedWeights | str, store: NetworkStore | None = None
) -> Network:
    """The frozen network from RGB 0..255 to a recipe's features.

    Args:
        weights: from `resolve_weights`, those of the recipe; or where they came from, to be found
            only when the network is built: a converted one that is kept needs none.
        store: of converted networks, None for none.
    """
    return Network(
        partial(_build, recipe, weights),
        recipe.precision,
        recipe,
        identify_network(recipe),
        store,
    )


def opens_quickly(recipe: Recipe, store: NetworkStore) -> bool:
    """Whether OpenVINO has the network converted already; it is not imported for that."""
    found = list_versions(["openvino"]).get("openvino")
    return found is not None and store.holds(identify_network(recipe), "openvino", found)


def _build(recipe: Recipe, weights: ResolvedWeights | str) -> "keras.Model":
    with no_start_up_talk():
        from pipeline.backbones.build import build_embedding_model
    if isinstance(weights, str):
        weights = resolve_recorded_weights(recipe, weights)
    return build_embedding_model(recipe, weights)
