"""A network as the calls of its layers, read from its public configuration."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import BackboneError
from pipeline.system.keras_on_tensorflow import keras

# Which layer made it, in which of its calls, and as which of the call's outputs.
Tensor = tuple[str, int, int]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One call of a layer, or of an operation such as `x + y`.

    Args:
        layer: whatever is called.
        number: 0 for the first call of the layer in this network.
        inputs: the tensors that it takes, one for each place where it takes it.
        outputs: those of its tensors that somebody takes.
        output_shape: of the first of these, without the batch.
    """

    layer: keras.Operation
    number: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    output_shape: Shape


@dataclass(frozen=True)
class LayerGraph:
    """The calls of a network.

    Args:
        calls: each after those whose outputs it takes; inputs are no calls.
        inputs, outputs: of the network.
        shapes: of every tensor that somebody takes, without the batch.
    """

    calls: tuple[Call, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    shapes: dict[Tensor, Shape]


def is_network(layer: keras.Operation) -> bool:
    """Whether it has a graph to look into: a functional or sequential model."""
    return isinstance(layer, keras.Function | keras.Sequential)


def read_layer_graph(model: keras.Model) -> LayerGraph:
    """Reads a functional or sequential model's graph."""
    # A plain functional model with the same layers: what `get_config` says of a subclass or a
    # Sequential has another form.
    plain = keras.Model(model.inputs, model.outputs, name="plain")
    config = plain.get_config()
    shapes: dict[Tensor, Shape] = {}
    inputs_of: dict[tuple[str, int], tuple[Tensor, ...]] = {}
    layers = {layer.name: layer for layer in plain.operations}
    for entry in config["layers"]:
        # Keras counts a nested model's own graph as its first call.
        first = 1 if isinstance(layers[entry["name"]], keras.Function) else 0
        for number, call in enumerate(entry["inbound_nodes"], start=first):
            taken = list(_find_tensors((call["args"], call["kwargs"])))
            shapes.update(taken)
            inputs_of[entry["name"], number] = tuple(tensor for tensor, _ in taken)
    outputs = tuple(_as_tensors(config["output_layers"]))
    shapes.update(
        (tensor, tuple(output.shape[1:]))
        for tensor, output in zip(outputs, plain.outputs, strict=True)
    )
    return LayerGraph(
        calls=tuple(_sort_calls(layers, inputs_of, shapes)),
        inputs=tuple(_as_tensors(config["input_layers"])),
        outputs=outputs,
        shapes=shapes,
    )


def find_keras_tensor(model: keras.Model, graph: LayerGraph, tensor: Tensor) -> keras.KerasTensor:
    """The symbolic tensor to cut a network at.

    Keras gives away what a layer took and made in its first call, but not of a network in the
    network.

    Args:
        graph: of the model.

    Raises:
        BackboneError: none of the layers on both sides of it says.
    """
    for call in graph.calls:
        if call.number == 0 and not is_network(call.layer):
            if tensor in call.outputs:
                return _at(call.layer.output, tensor[2])
            if tensor in call.inputs:
                return _at(call.layer.input, call.inputs.index(tensor))
    if tensor in graph.inputs:
        return model.inputs[graph.inputs.index(tensor)]
    raise BackboneError(
        f"Keras does not give away the output of {tensor[0]!r}, so {model.name} cannot be cut "
        "there. Expected: another frost line."
    )


def _at(
    tensors: keras.KerasTensor | list[keras.KerasTensor] | tuple[keras.KerasTensor, ...], place: int
) -> keras.KerasTensor:
    """Keras does not wrap a single tensor in a list."""
    return tensors[place] if isinstance(tensors, list | tuple) else tensors


def _find_tensors(value: object) -> Iterator[tuple[Tensor, Shape]]:
    """Each tensor, with its shape, in the serialized arguments of a call."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            yield tuple(value["config"]["keras_history"]), tuple(value["config"]["shape"][1:])
        else:
            for part in value.values():
                yield from _find_tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _find_tensors(part)


def _as_tensors(places: list) -> Iterator[Tensor]:
    """`["layer", 0, 0]`, or a list of such."""
    if places and isinstance(places[0], str):
        yield tuple(places)
    else:
        for place in places:
            yield from _as_tensors(place)


def _sort_calls(
    layers: dict[str, keras.Operation],
    inputs_of: dict[tuple[str, int], tuple[Tensor, ...]],
    shapes: dict[Tensor, Shape],
) -> Iterator[Call]:
    """In Keras's order, by depth, but for layers that are called more than once."""
    outputs_of: dict[tuple[str, int], list[Tensor]] = {}
    for tensor in shapes:
        outputs_of.setdefault(tensor[:2], []).append(tensor)
    waiting = dict(inputs_of)
    while waiting:
        for key, taken in list(waiting.items()):
            if all(tensor[:2] not in waiting for tensor in taken):
                del waiting[key]
                outputs = tuple(sorted(outputs_of[key]))
                yield Call(layers[key[0]], key[1], taken, outputs, shapes[outputs[0]])
