"""Flips bytes of Keras weights files one by one and loads them; a process of its own.

HDF5 is C code: what damaged bytes do to it must not take the tests with it. Prints a line for each
error that is not Frostline's.
"""

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras

from pipeline.backbones.weights.keras_weights import load_keras_weights
from pipeline.errors import WeightsError


def make_model() -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3)(image)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(image, keras.layers.DepthwiseConv2D(3)(x))


def main(folder: Path, n_flips: int) -> None:
    model = make_model()
    model.save_weights(folder / "whole.weights.h5")
    model.save(folder / "whole.h5")
    model.save(folder / "whole.keras")
    for suffix in (".weights.h5", ".h5", ".keras"):
        content = (folder / f"whole{suffix}").read_bytes()
        path = folder / f"damaged{suffix}"
        path.write_bytes(content)
        load_keras_weights(model, path)
        n_refused = 0
        for position in range(0, len(content), max(1, len(content) // n_flips)):
            damaged = bytearray(content)
            damaged[position] ^= 0xFF
            path.write_bytes(damaged)
            try:
                load_keras_weights(model, path)
            except WeightsError:
                n_refused += 1
            except BaseException as error:
                print(f"{suffix} at {position}: {type(error).__name__}: {error}".encode())
        print(f"{suffix}: {n_refused > 10}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
