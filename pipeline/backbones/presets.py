"""`--backbone hub:PRESET`: what a preset of KerasHub says of itself, before any network is built.

A preset that is a folder is read without loading TensorFlow. Any other is fetched by KerasHub,
which loads it.
"""

import contextlib
import hashlib
import importlib.util
import json
import sys
from pathlib import Path

from pipeline.backbones.registry import Backbone, Preset, get_backbone
from pipeline.backbones.start_up import no_start_up_talk
from pipeline.errors import BackboneError, MissingExtraError, WeightsError
from pipeline.files import sha256_of_file

HUB_PREFIX = "hub:"
CONFIG_FILE, CONVERTER_FILE = "config.json", "image_converter.json"
# Weights of KerasHub, and of Hugging Face; the second of each lists the parts of large ones.
WEIGHTS_FILES = ("model.weights.h5", "model.safetensors")
WEIGHTS_LISTS = ("model.weights.json", "model.safetensors.index.json")


def find_backbone(name: str, location: str | None = None) -> Backbone:
    """Finds a backbone by its name: a line of the table, or a preset of KerasHub.

    Args:
        name: as in `--backbone NAME`; `hub:PRESET` for a preset.
        location: where a preset is now, if not where its name says.

    Raises:
        BackboneError: if there is none, or the preset is no image network.
        MissingExtraError: if KerasHub is needed and not installed.
        WeightsError: if the preset cannot be read or fetched.
    """
    if not name.startswith(HUB_PREFIX):
        return get_backbone(name)
    if importlib.util.find_spec("keras_hub") is None:
        raise MissingExtraError(_how_to_install(name, "it is not installed"))
    return _read_preset(location or name.removeprefix(HUB_PREFIX))


def require_image_size(backbone: Backbone, image_size: int | None) -> int:
    """The image size that was asked for, else the backbone's own, in pixels.

    Raises:
        BackboneError: if there is neither, as with some presets.
    """
    size = image_size or backbone.image_size
    if size is None:
        raise BackboneError(
            f"{backbone.name} does not say which image size it expects. Expected: --image-size N. "
            "Received: no --image-size"
        )
    return size


def import_keras_hub():
    """Imports KerasHub, and TensorFlow with it.

    Raises:
        MissingExtraError: if that fails for whatever reason.
    """
    try:
        with no_start_up_talk():
            import keras_hub
    except Exception as error:
        # A tensorflow-text that was built for another TensorFlow raises TensorFlow's own errors.
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise MissingExtraError(_how_to_install("hub:...", reason)) from error
    return keras_hub


def digest_preset(preset: Preset) -> str:
    """SHA-256 over a preset's configuration and weights, 64 hex digits.

    Raises:
        WeightsError: if a file is missing or cannot be fetched.
    """
    names = [CONFIG_FILE, *_weights_files(preset.location)]
    lines = [f"{sha256_of_file(_get_file(preset.location, name))}  {name}\n" for name in names]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _how_to_install(received: str, reason: str) -> str:
    return (
        f"Presets need KerasHub, and it cannot be used: {reason}. Received: --backbone {received}\n"
        "Run: pip install 'frostline[hub]', which installs keras-hub and a tensorflow-text that "
        "fits (2.21.1 for TensorFlow 2.21; 2.21.0 cannot be imported beside it)."
    )


def _read_preset(location: str) -> Backbone:
    folder = Path(location).expanduser()
    is_folder = folder.is_dir()
    location = str(folder.absolute()) if is_folder else location
    config = _read_json(location, CONFIG_FILE)
    image_size, scale, offset = _read_preprocessing(location)
    if image_size is None and isinstance(config.get("config"), dict):
        image_size = _side(config["config"].get("image_shape"))
    return Backbone(
        name=HUB_PREFIX + (folder.absolute().name if is_folder else location),
        builder="",
        image_size=image_size,
        n_features=None,
        parameters=None,
        multiply_adds=None,
        top1=None,
        feature_layer=None,
        weights=Preset(location),
        scale=scale,
        offset=offset,
        channel_order="RGB",
        top_layers=(),
    )


def _read_preprocessing(location: str) -> tuple[int | None, tuple, tuple]:
    """Image size, scale and offset of a preset's image converter."""
    try:
        converter = _read_json(location, CONVERTER_FILE)["config"]
    except WeightsError:
        # Presets of Hugging Face have other files, which KerasHub can translate.
        converter = _ask_for_converter(location)
    size = _side(converter.get("image_size"))
    return size, _triple(converter.get("scale"), 1.0), _triple(converter.get("offset"), 0.0)


def _ask_for_converter(location: str) -> dict:
    keras_hub = import_keras_hub()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return keras_hub.layers.ImageConverter.from_preset(location).get_config()
    except Exception as error:
        raise BackboneError(
            f"The preset does not say how images are to be scaled: {error}. Expected: an image "
            f"network's preset with {CONVERTER_FILE}. Received: hub:{location}\n"
            "For a network of your own, save both: backbone.save_to_preset(FOLDER) and "
            "converter.save_to_preset(FOLDER), the converter being the network's own kind of "
            "keras_hub.layers.ImageConverter."
        ) from error


def _side(size) -> int | None:
    """The side of square images from `(height, width, ...)`, None if there is none."""
    if isinstance(size, list | tuple) and len(size) >= 2 and size[0] == size[1]:
        return size[0]
    return None


def _triple(value, default: float) -> tuple[float, float, float]:
    if value is None:
        value = default
    values = tuple(value) if isinstance(value, list | tuple) else (value,) * 3
    return tuple(float(number) for number in values)


def _weights_files(location: str) -> list[str]:
    for name in WEIGHTS_FILES:
        with contextlib.suppress(WeightsError):
            _get_file(location, name)
            return [name]
    for name in WEIGHTS_LISTS:
        with contextlib.suppress(WeightsError):
            parts = _read_json(location, name)["weight_map"].values()
            names = {n for part in parts for n in (part if isinstance(part, list) else [part])}
            return [name, *sorted(names)]
    raise WeightsError(
        f"The preset has no weights. Expected one of {', '.join(WEIGHTS_FILES + WEIGHTS_LISTS)}. "
        f"Received: hub:{location}"
    )


def _read_json(location: str, name: str) -> dict:
    path = _get_file(location, name)
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path} cannot be read as JSON: {error}. Expected: a file that KerasHub's "
            "save_to_preset wrote. Save the preset again."
        ) from error


def _get_file(location: str, name: str) -> Path:
    """A file of a preset, fetched by KerasHub where the preset is no folder."""
    path = Path(location) / name
    if path.is_file():
        return path
    if Path(location).is_dir():
        raise WeightsError(
            f"The preset has no {name}. Expected: a folder that KerasHub's save_to_preset wrote. "
            f"Received: hub:{location}"
        )
    import_keras_hub()
    from keras_hub.src.utils.preset_utils import get_file

    try:
        with contextlib.redirect_stdout(sys.stderr):
            return Path(get_file(location, name))
    except Exception as error:
        # kagglehub, huggingface_hub and requests have errors of their own.
        raise WeightsError(
            f"The preset's file {name} cannot be had: {error}\nExpected: the name of one of "
            "KerasHub's presets, hf://OWNER/NAME, kaggle://..., or a folder. "
            f"Received: hub:{location}. Without a network, fetch the preset elsewhere and give "
            "its folder: --backbone hub:FOLDER."
        ) from error
