"""Loads `.keras` files that nobody vouches for: only layers known to be plain arithmetic.

Keras's safe mode forbids pickled lambdas; on top of it the file's configuration is read first and
may name nothing but the layers, initialisers and the like listed here.
"""

import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

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

CONFIG_BYTES_AT_MOST = 64 * 2**20


@keras_settings()
def load_keras_model_safely(path: str | Path) -> keras.Model:
    """Loads a model for inference from a `.keras` file, after reading what it is made of.

    Args:
        path: the `.keras` file.

    Returns:
        The model, not compiled.

    Raises:
        RunError: the file is missing, damaged, or names anything but known Keras layers.
    """
    path = Path(path)
    config = _read_config(path)
    for name in unknown_parts(config):
        raise RunError(
            f"{path} is not loaded, since it could run foreign code. Expected: only known Keras "
            f"layers. Received: {name}. Use a model that Frostline saved"
        )
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        # Keras raises whatever the broken part raised: KeyError, TypeError, h5py's OSError...
        raise _damaged(path, str(error).splitlines()[0] if str(error) else repr(error)) from error


def unknown_parts(config: object) -> Iterator[str]:
    """Yields what a Keras configuration names beyond the known, as `module.class_name`.

    Args:
        config: the parsed JSON of a model's `config.json`, or a part of it.
    """
    if isinstance(config, list):
        for part in config:
            yield from unknown_parts(part)
    elif isinstance(config, dict):
        if "class_name" in config and not _is_known(config):
            yield f"{config.get('module')}.{config['class_name']}"
        for part in config.values():
            yield from unknown_parts(part)


def _is_known(config: dict) -> bool:
    name, module = config["class_name"], config.get("module")
    if not isinstance(name, str):
        return False
    if isinstance(module, str) and module.startswith("keras_hub."):
        return _is_layer_of_keras_hub(name, module)
    if config.get("registered_name") not in (None, name):
        return False
    return name in VALUES or (isinstance(module, str) and name in KNOWN.get(module, ()))


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


def _read_config(path: Path) -> dict:
    if not path.is_file():
        raise RunError(f"There is no model at {path}. Fit or fine-tune one first")
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo("config.json").file_size
            if size > CONFIG_BYTES_AT_MOST:
                raise _damaged(path, f"a config.json of {size} bytes")
            config = json.loads(archive.read("config.json"))
    except (OSError, ValueError, KeyError, RecursionError, zipfile.BadZipFile) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(config, dict):
        raise _damaged(path, f"a config.json that holds a {type(config).__name__}")
    return {**config, "compile_config": None}  # optimizer and losses are not loaded


def _damaged(path: Path, received: str) -> RunError:
    return RunError(
        f"{path} is damaged or no Keras model. Expected: a `.keras` file as `model.save` writes "
        f"it. Received: {received}. Fit the run again"
    )
