"""Loads `.keras` files that nobody vouches for: only layers known to be plain arithmetic.

Keras's safe mode forbids pickled lambdas; on top of it the file's configuration is read first and
may name nothing but the layers, initialisers and the like listed here.
"""

import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.backbones.keras_files import NAMED_PARTS_AT_MOST, damaged, read_keras_file
from pipeline.backbones.keras_internals import flatten_layers, output_shapes, shapes_only
from pipeline.backbones.keras_settings import keras_settings
from pipeline.backbones.presets import import_keras_hub
from pipeline.errors import RunError
from pipeline.system.keras_on_tensorflow import keras

# What a file may name, by Keras module. All of it is arithmetic on what the file itself holds:
# no code, no files or addresses to read, no other frameworks.
KNOWN = {
    "keras": {"Functional", "Sequential", "DTypePolicy"},
    "keras.src.models.functional": {"Functional"},
    "keras.layers": {
        *("InputLayer", "Activation", "Dense", "Dropout", "SpatialDropout2D", "Identity"),
        *("Rescaling", "Normalization", "Reshape", "Flatten", "Permute", "RepeatVector"),
        *("Conv1D", "Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "SeparableConv2D"),
        *("ZeroPadding2D", "Cropping1D", "Cropping2D", "UpSampling2D"),
        *("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D"),
        *("AdaptiveAveragePooling2D", "GlobalAveragePooling1D", "GlobalMaxPooling1D"),
        *("BatchNormalization", "LayerNormalization", "GroupNormalization"),
        *("UnitNormalization", "RMSNormalization"),
        *("Embedding", "Attention", "MultiHeadAttention", "EinsumDense"),
        *("ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax", "GaussianNoise", "GaussianDropout"),
        *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot"),
        *("Resizing", "CenterCrop", "RandomFlip", "RandomRotation", "RandomTranslation"),
        *("RandomZoom", "RandomContrast", "RandomBrightness"),
    },
    # `x + y` between layers, as MobileNetV3 has it.
    "keras.src.ops.numpy": {"Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum"},
    "keras.src.applications.convnext": {"LayerScale", "StochasticDepth"},
    "keras.initializers": {
        *("Zeros", "Ones", "Constant", "RandomNormal", "RandomUniform", "TruncatedNormal"),
        *("GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal"),
        *("LecunUniform", "VarianceScaling", "Orthogonal", "Identity"),
    },
    "keras.regularizers": {"L1", "L2", "L1L2"},
    "keras.constraints": {"MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"},
    "keras.random": {"SeedGenerator"},
}
VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__ellipsis__", "__slice__"}
NUMBERS = {"float16", "bfloat16", "float32", "float64", "bool", "uint8", "int8", "int32", "int64"}

# Numbers that a layer may make of one image; 4 GB in float32. VGG16 makes as many at 4,096 pixels.
LARGEST_MAP = 2**30
REASON_LETTERS = 300


@keras_settings()
def load_keras_model_safely(path: str | Path) -> keras.Model:
    """Loads a model for inference from a `.keras` file, after reading what it is made of.

    The model is built twice: first as shapes only, which takes no memory however large it says that
    it is. Then each of its weights must be in the file.

    Args:
        path: the `.keras` file.

    Returns:
        The model, not compiled.

    Raises:
        RunError: the file is missing, damaged, claims more than it holds, or names anything but
            known Keras layers.
    """
    path = Path(path)
    config, n_numbers = read_keras_file(path)
    try:
        unknown = next(unknown_parts(config), None)
    except RecursionError as error:
        raise damaged(path, "a configuration that is nested too deeply") from error
    if unknown is not None:
        raise RunError(
            f"{path} is not loaded, since it could run foreign code. Expected: only known Keras "
            f"layers. Received: {unknown}. Use a model that Frostline saved"
        )
    try:
        with shapes_only():
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            problem = _find_excess(model, n_numbers)
        if problem:
            raise damaged(path, problem)
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except RunError:
        raise
    except Exception as error:
        # Keras raises whatever the broken part raised: KeyError, TypeError, h5py's OSError...
        reason = (str(error) or repr(error)).splitlines()[0]
        raise damaged(path, reason[:REASON_LETTERS]) from error


def _find_excess(model: keras.Model, n_numbers: int) -> str:
    """What a model claims beyond its file and beyond all measure, in words; empty for nothing."""
    if not isinstance(model, keras.Model):
        return f"a {type(model).__name__}"
    n_claimed = sum(math.prod(weight.shape) for weight in model.weights)
    if n_claimed > n_numbers:
        return f"layers with {n_claimed:,} weights, of which the file holds {n_numbers:,}"
    for layer in flatten_layers(model):
        for shape in output_shapes(layer):
            largest = math.prod(side for side in shape[1:] if side is not None)
            if largest > LARGEST_MAP:
                return f"a layer {layer.name} that makes {largest:,} numbers of one image"
    return ""


def unknown_parts(config: object) -> Iterator[str]:
    """Yields what a Keras configuration names beyond the known, as `module.class_name`.

    Args:
        config: the parsed JSON of a model's `config.json`, or a part of it.
    """
    named = list(itertools.islice(_find_named_parts(config), NAMED_PARTS_AT_MOST + 1))
    if len(named) > NAMED_PARTS_AT_MOST:
        yield f"more than {NAMED_PARTS_AT_MOST:,} layers and other parts"
    for part in named:
        if not _is_known(part):
            yield f"{part.get('module')}.{part['class_name']}"
        elif part.get("registered_name") not in _names_of(part):
            yield f"{part.get('module')}.{part['class_name']} as {part['registered_name']}"
    # By now KerasHub has registered its classes, if the file names one.
    registered = keras.saving.get_custom_objects()
    for text in _find_texts(config):
        if text in registered:
            yield f"{text} by its name alone"


def _find_named_parts(config: object) -> Iterator[dict[str, Any]]:
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from _find_named_parts(part)


def _find_texts(config: object) -> Iterator[str]:
    """All texts, but for the names by which Keras knows the parts themselves."""
    if isinstance(config, str):
        yield config
    elif isinstance(config, dict):
        for name, part in config.items():
            if name != "registered_name" or "class_name" not in config:
                yield from _find_texts(part)
    elif isinstance(config, list):
        for part in config:
            yield from _find_texts(part)


def _is_known(part: dict[str, Any]) -> bool:
    name, module = part["class_name"], part.get("module")
    if not isinstance(name, str):
        return False
    if name in VALUES:
        values = part.get("config")
        return not isinstance(values, dict) or str(values.get("dtype", "float32")) in NUMBERS
    if isinstance(module, str) and module.startswith("keras_hub."):
        return _is_layer_of_keras_hub(name, module)
    return isinstance(module, str) and name in KNOWN.get(module, ())


def _names_of(part: dict[str, Any]) -> tuple[str | None, ...]:
    """Names under which Keras finds this very class.

    Whatever is registered under the name that a file gives wins over the file's module and class.
    """
    name, module = part["class_name"], part.get("module")
    if isinstance(module, str) and module.startswith("keras_hub."):
        found = getattr(sys.modules[module], name)
        return None, name, keras.saving.get_registered_name(found)
    return None, name


def _is_layer_of_keras_hub(name: str, module: str) -> bool:
    """Whether it is one of the layers that KerasHub's networks are made of.

    Its tokenizers and the like are layers too, and read files: those stay unknown.
    """
    import_keras_hub()
    # Nothing is imported for the file's sake: KerasHub has loaded all its networks by now.
    found = getattr(sys.modules.get(module), name, None)
    return (
        module.startswith("keras_hub.src.models.")
        and isinstance(found, type)
        and found.__module__ == module
        and issubclass(found, keras.Layer)
        and not issubclass(found, keras.Model)
        and all(base.__name__ != "PreprocessingLayer" for base in found.__mro__)
    )
