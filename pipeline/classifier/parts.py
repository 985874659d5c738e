"""The two halves of a run's model, for prediction: the network that an engine runs, and the head.

The network of a run that was not fine-tuned is described, not built: an engine builds it where it
computes. Keras is imported only where a half is a Keras model.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.backbones.engines.engine import Network
from pipeline.backbones.engines.recipe_network import describe_network
from pipeline.backbones.weights.resolve import resolve_recorded_weights
from pipeline.heads.head import Head
from pipeline.heads.saved_head import load_head
from pipeline.runs.run_folder import Run, open_run
from pipeline.system.quiet_start import no_start_up_talk

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras


def load_parts(run: Run, weights: str | None = None) -> tuple[Network, Head]:
    """The network from RGB 0..255 to features, and the head.

    Args:
        weights: where the backbone's weights lie now, None for where they came from.

    Raises:
        RunError: head or model are missing or damaged.
        WeightsError: the weights are not there, or are others than the run was made with.
    """
    if run.manifest.is_finetuned:
        return _load_finetuned_parts(run)
    head = load_head(run)  # first, since the network takes longer
    source = weights or run.manifest.weights_source
    return describe_network(run.recipe, resolve_recorded_weights(run.recipe, source)), head


def _load_finetuned_parts(run: Run) -> tuple[Network, Head]:
    with no_start_up_talk():
        from pipeline.classifier.build import load_finetuned
        from pipeline.heads.dense_head import DenseHead
        from pipeline.heads.linear import LinearHead
        from pipeline.system.keras_on_tensorflow import keras

    model = load_finetuned(run)
    network = Network(partial(_build_finetuned, run.folder), built=_take_embedding(model))
    layer = model.get_layer("head")
    if isinstance(layer, keras.layers.Dense):
        kernel, bias = layer.get_weights()
        return network, LinearHead(kernel, bias, tuple(run.class_names))
    return network, DenseHead(layer)


def _build_finetuned(folder: Path) -> "keras.Model":
    with no_start_up_talk():
        from pipeline.classifier.build import load_finetuned

    return _take_embedding(load_finetuned(open_run(folder)))


def _take_embedding(model: "keras.Model") -> "keras.Model":
    from pipeline.system.keras_on_tensorflow import keras

    backbone, preprocessing = model.get_layer("backbone"), model.get_layer("preprocessing")
    return keras.Model(model.input, backbone(preprocessing(model.input)), name="embedding")
