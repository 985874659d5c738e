"""What one image costs in a network: multiplications with an addition, counted from shapes."""

import math

from pipeline.backbones.keras_internals import flatten_layers
from pipeline.backbones.layer_graph import Call, is_network, read_layer_graph
from pipeline.system.keras_on_tensorflow import keras

# The weights that each position of a layer's output is multiplied with.
KERNELS = {
    keras.layers.Dense: ("kernel",),
    keras.layers.DepthwiseConv2D: ("kernel",),
    keras.layers.SeparableConv2D: ("depthwise_kernel", "pointwise_kernel"),
    keras.layers.Conv2D: ("kernel",),
}


def count_multiply_adds(model: keras.Model) -> int:
    """Counts the multiplications with an addition that one image costs.

    Convolutions and dense layers count, as in the published figures; biases, normalisation and
    activations do not.

    Args:
        model: a functional or sequential model whose image size is known.
    """
    return sum(call_multiply_adds(call) for call in read_layer_graph(model).calls)


def call_multiply_adds(call: Call) -> int:
    """Work of one call of a layer, for one image, from the shapes of its weights and output."""
    layer = call.layer
    if is_network(layer):
        return count_multiply_adds(layer)
    # Positions at which a kernel is applied; the kernel's own axes hold the rest.
    n_positions = math.prod(call.output_shape[:-1])
    for kind, names in KERNELS.items():
        if isinstance(layer, kind):
            return n_positions * sum(math.prod(getattr(layer, name).shape) for name in names)
    if is_made_of_layers(layer):
        # A transformer's encoder, say. The products of tokens with each other are left out.
        kernels = [weight for weight in layer.weights if weight.path.endswith("/kernel")]
        return n_positions * sum(math.prod(kernel.shape) for kernel in kernels)
    return 0


def is_made_of_layers(layer: keras.Operation) -> bool:
    """Whether there are layers in it without a graph that can be looked into."""
    if not isinstance(layer, keras.Layer) or is_network(layer):
        return False
    return any(inner.weights for inner in flatten_layers(layer)[1:])
