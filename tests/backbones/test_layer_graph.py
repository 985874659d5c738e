"""Networks whose graph is no plain chain of layers; numbers worked out by hand."""

import keras
import numpy as np

from pipeline.backbones.frost_lines import find_frost_lines, split_at
from pipeline.backbones.layer_graph import read_layer_graph
from pipeline.backbones.multiply_adds import count_multiply_adds


def test_a_layer_called_twice_and_a_network_in_the_network_count_and_can_be_cut_around():
    twice = keras.layers.Dense(6, name="twice")
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5)], name="inner")
    inputs = keras.Input((6,))
    x = twice(twice(inputs))
    x = keras.layers.Dense(6, name="block1_a")(x)
    x = inner(x)
    x = keras.layers.Dense(4, name="block2_a")(x)
    model = keras.Model(inputs, x)
    assert count_multiply_adds(model) == 2 * 6 * 6 + 6 * 6 + 6 * 5 + 5 * 4
    values = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    lines = find_frost_lines(model)
    assert (lines[0].name, lines[0].tensor_of) == ("block2", "inner")
    for line in lines:
        trunk, top = split_at(model, line.name)
        np.testing.assert_allclose(top(trunk(values)), model(values), rtol=1e-5)


def test_calls_come_after_those_whose_outputs_they_take_and_say_both_sides():
    inputs = keras.Input((4,), name="in")
    left = keras.layers.Dense(3, name="left")(inputs)
    right = keras.layers.Dense(3, name="right")(inputs)
    graph = read_layer_graph(keras.Model(inputs, left + 2 * right))
    made = set(graph.inputs)
    for call in graph.calls:
        assert set(call.inputs) <= made
        made |= set(call.outputs)
    assert set(graph.outputs) <= made
    by_name = {call.layer.name: call for call in graph.calls}
    assert by_name["left"].inputs == (("in", 0, 0),)
    assert by_name["right"].output_shape == (3,)


def test_a_sequential_model_has_a_graph_too():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    assert [call.layer for call in read_layer_graph(model).calls] == model.layers
