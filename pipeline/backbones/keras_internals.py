"""All that Frostline uses of Keras, KerasHub and TensorFlow beyond their public API.

Each function does what no public one does, and says so. A test for each names the versions that it
was checked with and fails clearly where a later one has no such thing.
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator

from pipeline.system.keras_on_tensorflow import keras

CHECKED_WITH = {"keras": "3.15.1", "keras_hub": "0.32.0", "tensorflow": "2.21.0"}


def flatten_layers(layer: keras.Layer) -> list[keras.Layer]:
    """A layer and all layers inside it, however deep.

    `model.layers` is public but stops at layers that are made of layers without being models, such
    as KerasHub's `ViTEncoder`; BatchNormalization and dropout lie in those, too.
    """
    return list(layer._flatten_layers())


def trainable_weights_when_thawed(layer: keras.Layer) -> list[keras.Variable]:
    """The layer's own weights that training changes, whatever is frozen at the moment.

    `layer.trainable_weights` is public but empty in a frozen layer, and thawing one to look would
    forget which of the layers inside it were frozen.
    """
    return list(layer._trainable_variables)


@contextlib.contextmanager
def layers_numbered_from_0() -> Iterator[None]:
    """Inside, Keras names layers as in a new process: `activation`, `activation_1`, ...

    Keras numbers layers without a name by what else the process has built, but the name
    `activation_7` must mean the same layer wherever a recipe is used. `keras.utils.clear_session`
    is public but resets everything else, too, and for good.
    """
    from keras.src.backend.common import global_state

    before = global_state.get_global_attribute("object_name_uids")
    global_state.set_global_attribute("object_name_uids", defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute("object_name_uids", before)


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Inside, layers get weights that are shapes and take no memory; they are of no use afterwards.

    `keras.StatelessScope` is public but keeps a list of such weights, and the next scope that ends
    would fill them all with numbers.
    """
    from keras.src.backend.common import global_state

    name = "uninitialized_variables"
    before = global_state.get_global_attribute(name)
    global_state.set_global_attribute(name, [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute(name, before)


def output_shapes(layer: keras.Layer) -> list[tuple[int | None, ...]]:
    """The shape of each tensor that a layer of a functional model makes, for each of its uses.

    `layer.output` is public but refuses a layer that is used more than once.
    """
    tensors = (tensor for node in layer._inbound_nodes for tensor in node.output_tensors)
    return [tuple(tensor.shape) for tensor in tensors]


def fetch_preset_file(location: str, name: str) -> str:
    """The path of one file of a KerasHub preset, fetched where it is not at hand.

    KerasHub's `from_preset` is public but builds the whole network; the recipe needs the sha256 of
    the preset's files before anything is built.
    """
    from keras_hub.src.utils.preset_utils import get_file

    return get_file(location, name)


def replace_variables_by_constants(function: Callable) -> Callable:
    """A concrete TensorFlow function's graph with its variables as constants, to be called alike.

    `tf.saved_model` with `tf.compat.v1.graph_util` is public but goes by way of the disk and a
    session, which takes seconds more.
    """
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    return convert_variables_to_constants_v2(function)
