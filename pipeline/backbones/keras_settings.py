"""Keras's settings as Frostline needs them, for as long as a network is built or traced."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from pipeline.system.keras_on_tensorflow import keras


@contextmanager
def keras_settings(precision: str = "float32") -> Iterator[None]:
    """Inside, Keras is set as after its installation, whatever a notebook or keras.json says.

    Data format and fuzz factor decide what a layer computes. Afterwards all is as it was, and so is
    the state of Python's `random`, from which Keras draws the seeds of layers. To be around
    whatever makes layers, and whatever calls them for the first time.

    Args:
        precision: dtype policy of the layers that do not name one: `float32`, `mixed_float16` or
            `mixed_bfloat16`.
    """
    config = keras.config
    floatx, data_format, epsilon = config.floatx(), config.image_data_format(), config.epsilon()
    policy, random_state = config.dtype_policy(), random.getstate()
    config.set_floatx("float32")
    config.set_image_data_format("channels_last")
    config.set_epsilon(1e-7)
    config.set_dtype_policy(precision)
    try:
        yield
    finally:
        config.set_floatx(floatx)
        config.set_image_data_format(data_format)
        config.set_epsilon(epsilon)
        config.set_dtype_policy(policy)
        random.setstate(random_state)


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Inside, layers begin with the weights that `keras.utils.set_random_seed(seed)` would give.

    Of all that it sets, weights depend on Python's `random` alone, whose state is put back.
    """
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


@contextmanager
def blank_weights() -> Iterator[None]:
    """Inside, layers begin with zeros wherever they would draw their weights.

    For a process that gives all of them other weights anyway: JAX compiles the drawing for each
    shape, which takes longer than all the rest of building a network.
    """
    initializers = keras.initializers
    drawing = [
        initializers.VarianceScaling,
        initializers.RandomNormal,
        initializers.RandomUniform,
        initializers.TruncatedNormal,
    ]
    calls = [kind.__call__ for kind in drawing]

    def give_zeros(_: object, shape: Sequence[int], dtype: str | None = None, **__: object) -> Any:
        return keras.ops.convert_to_tensor(np.zeros(shape), dtype)

    for kind in drawing:
        kind.__call__ = give_zeros
    try:
        yield
    finally:
        for kind, call in zip(drawing, calls, strict=True):
            kind.__call__ = call
