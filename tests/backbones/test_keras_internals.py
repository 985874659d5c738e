"""What is used beyond Keras's public API is there and does what it is used for."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.backbones.keras_internals import (
    CHECKED_WITH,
    fetch_preset_file,
    flatten_layers,
    layers_numbered_from_0,
    output_shapes,
    replace_variables_by_constants,
    shapes_only,
    trainable_weights_when_thawed,
)

PIPELINE = Path(__file__).resolve().parents[2] / "pipeline"
CHANGED = (
    "pipeline/backbones/keras_internals.py relies on something private that Keras {now} does "
    "differently. It was checked with {keras}; look for a public way, or for the new private one."
).format(now=keras.__version__, **CHECKED_WITH)


class Encoder(keras.layers.Layer):
    """Made of layers, as a transformer's encoder in KerasHub, and no model."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.dense = keras.layers.Dense(3)
        self.steps = [keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]

    def build(self, shape):
        self.dense.build(shape)
        self.steps[0].build((None, 3))

    def call(self, x):
        return self.steps[0](self.dense(x))


def test_layers_inside_a_layer_that_is_no_model_are_found():
    encoder = Encoder()
    model = keras.Sequential([keras.Input((2,)), encoder])
    kinds = {type(layer).__name__ for layer in flatten_layers(model)}
    assert {"Sequential", "Encoder", "Dense", "BatchNormalization", "Dropout"} <= kinds, CHANGED
    assert flatten_layers(encoder)[0] is encoder, CHANGED


def test_weights_to_train_do_not_depend_on_what_is_frozen():
    layer = keras.layers.BatchNormalization()
    layer.build((None, 4))
    layer.trainable = False
    assert layer.trainable_weights == []
    names = [weight.name for weight in trainable_weights_when_thawed(layer)]
    assert names == ["gamma", "beta"], CHANGED


def test_weights_that_are_shapes_only_take_no_memory_then_or_later():
    with shapes_only():
        layer = keras.layers.Dense(2**40)
        layer.build((None, 2**20))
    assert layer.kernel.shape == (2**20, 2**40), CHANGED
    with keras.StatelessScope():  # at its end, Keras fills the weights that have no numbers yet
        small = keras.layers.Dense(2)
        small.build((None, 2))
    assert small.kernel.numpy().shape == (2, 2), CHANGED


def test_outputs_of_a_layer_are_known_for_each_of_its_uses():
    dense = keras.layers.Dense(3)
    dense(dense(keras.Input((3,))))
    dense(keras.Input((7, 3)))
    assert output_shapes(dense) == [(None, 3), (None, 3), (None, 7, 3)], CHANGED


def test_layers_are_numbered_as_in_a_new_process_and_the_count_goes_on_afterwards():
    keras.layers.Activation("relu")
    before = _number(keras.layers.Activation("relu"))
    with layers_numbered_from_0():
        names = [keras.layers.Activation("relu").name for _ in range(2)]
    assert names == ["activation", "activation_1"], CHANGED
    assert _number(keras.layers.Activation("relu")) == before + 1, CHANGED


def _number(layer: keras.layers.Layer) -> int:
    return int(layer.name.rsplit("_", 1)[1])


def test_a_file_of_a_preset_is_had_without_building_the_network(tmp_path):
    pytest.importorskip("keras_hub")
    (tmp_path / "config.json").write_text("{}")
    assert Path(fetch_preset_file(str(tmp_path), "config.json")) == tmp_path / "config.json", (
        f"checked with KerasHub {CHECKED_WITH['keras_hub']}"
    )


def test_a_frozen_graph_no_longer_follows_its_variables():
    variable = tf.Variable([2.0])
    function = tf.function(lambda x: x * variable).get_concrete_function(tf.TensorSpec([1]))
    frozen = replace_variables_by_constants(function)
    variable.assign([5.0])
    np.testing.assert_array_equal(frozen(tf.constant([3.0]))[0], [6.0])


def test_nothing_private_of_keras_or_tensorflow_is_used_anywhere_else():
    """Names of private modules in strings, as in an allow-list of classes, are no use of them."""
    private = re.compile(
        r"(import|from) (keras|keras_hub)\.src|__internal__|(import|from) tensorflow\.python"
        r"|(?<!self)\._(flatten_layers|layers|seed_generators|nodes|functional|keras_history|var_key"
        r"|trainable_variables|maybe_symbolic_build|model_variables_moving_average"
        r"|inbound_nodes|operations|distribution_strategy)\b"
    )
    found = [
        f"{path.relative_to(PIPELINE)}: {line.strip()}"
        for path in sorted(PIPELINE.rglob("*.py"))
        for line in path.read_text().splitlines()
        if private.search(line) and path.name != "keras_internals.py"
    ]
    assert found == []
