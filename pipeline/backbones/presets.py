"""`backbone="hub:PRESET"`: what a preset of KerasHub says of itself, before any network is built.

A preset that is a folder is read without loading TensorFlow. Any other is fetched by KerasHub,
which loads it.
"""

import contextlib
import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.backbones.backbone import Backbone, Preset
from pipeline.backbones.registry import get_backbone
from pipeline.backbones.tuned_runs import RUN_PREFIX, TUNED_PREFIX, read_tuned
from pipeline.errors import BackboneError, MissingExtraError, WeightsError
from pipeline.recipe import GREATEST_IMAGE_SIZE
from pipeline.system.paths import is_file, is_folder, sha256_of_file
from pipeline.system.quiet_start import no_start_up_talk

HUB_PREFIX = "hub:"
_FEW_PIXELS = 32  # the least that Keras builds most of its networks for
CONFIG_FILE, CONVERTER_FILE = "config.json", "image_converter.json"
# Weights of KerasHub, and of Hugging Face; the second of each lists the parts of large ones.
WEIGHTS_FILES = ("model.weights.h5", "model.safetensors")
WEIGHTS_LISTS = ("model.weights.json", "model.safetensors.index.json")


def find_backbone(name: str, location: str | None = None) -> Backbone:
    """Finds a backbone by its name: a line of the table, a preset of KerasHub, or a run.

    Args:
        name: as in `backbone='NAME'`; `hub:PRESET` for a preset, `run:NAME` for a fine-tuned run,
            which recipes call `tuned:` and the name of what was fine-tuned.
        location: where a preset or a run is now, if not where its name says.

    Raises:
        BackboneError: if there is none, the preset is no image network, or the run not fine-tuned.
        MissingExtraError: if KerasHub is needed and not installed.
        WeightsError: if the preset cannot be read or fetched.
    """
    if name.startswith(RUN_PREFIX):
        return read_tuned(name)
    if name.startswith(TUNED_PREFIX):
        if location is None:
            raise BackboneError(
                "Recipes call the network of some fine-tuned run so. Expected: that run. "
                f"Received: `backbone={name}`\nSay `backbone=run:NAME`; `frostline.list_runs()` "
                "lists the runs."
            )
        return read_tuned(location)
    if not name.startswith(HUB_PREFIX):
        return get_backbone(name)
    if importlib.util.find_spec("keras_hub") is None:
        raise MissingExtraError(_how_to_install(name, "it is not installed"))
    return _read_preset(locate_preset(location or name))


def require_image_size(backbone: Backbone, image_size: int | None) -> int:
    """The image size that was asked for, else the backbone's own, in pixels.

    Raises:
        BackboneError: if there is neither, as with some presets, or it is too large.
    """
    size = image_size or backbone.image_size
    if size is not None and size > GREATEST_IMAGE_SIZE:
        raise BackboneError(
            f"The maps of a network for images of {size:,} x {size:,} pixels fit no memory. "
            f"Expected: an image size of at most {GREATEST_IMAGE_SIZE:,}. "
            f"Received: `image_size={size}`"
        )
    if size is None:
        raise BackboneError(
            f"{backbone.name} does not say which image size it expects. Expected: `image_size=N`. "
            "Received: no `image_size`"
        )
    return size


def describe_few_pixels(backbone: Backbone, size: int) -> list[str]:
    """Says of an image size that it leaves little to see, where it does."""
    if size >= _FEW_PIXELS:
        return []
    made_for = (
        f" {backbone.name} was made for {backbone.image_size}." if backbone.image_size else ""
    )
    return [
        f"`image_size={size}` leaves little of an image to see, so scores may be poor.{made_for}"
    ]


def import_keras_hub() -> ModuleType:
    """Imports KerasHub, and TensorFlow with it.

    Raises:
        MissingExtraError: if that fails for whatever reason.
    """
    try:
        with no_start_up_talk():
            # Before KerasHub imports Keras.
            import keras_hub

            import pipeline.system.keras_on_tensorflow  # noqa: F401
    except Exception as error:
        # A tensorflow-text that was built for another TensorFlow raises TensorFlow's own errors.
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise MissingExtraError(_how_to_install("hub:...", reason)) from error
    return keras_hub


def digest_preset(preset: Preset) -> str:
    """SHA-256 over a preset's configuration and weights, 64 hex digits.

    Raises:
        BackboneError: if the list of large weights cannot be understood.
        WeightsError: if a file is missing or cannot be fetched.
    """
    names = [CONFIG_FILE, *_weights_files(preset.location)]
    lines = [f"{sha256_of_file(_get_file(preset.location, name))}  {name}\n" for name in names]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def locate_preset(name: str) -> str:
    """What KerasHub calls a preset: without `hub:`, and absolute where it is a folder."""
    location = name.removeprefix(HUB_PREFIX)
    folder = Path(location)
    with contextlib.suppress(RuntimeError):  # there is no such user
        folder = folder.expanduser()
    return str(folder.absolute()) if is_folder(folder) else location


def _how_to_install(received: str, reason: str) -> str:
    return (
        f"Presets need KerasHub, and it cannot be used: {reason}. Received: `backbone={received}`\n"
        "Run: pip install '.[hub]' in Frostline's folder, which installs keras-hub and a "
        "tensorflow-text that fits (2.21.1 for TensorFlow 2.21; 2.21.0 cannot be imported beside "
        "it)."
    )


def _read_preset(location: str) -> Backbone:
    config = _read_json(location, CONFIG_FILE)
    image_size, scale, offset = _read_preprocessing(location)
    if image_size is None:
        # Presets of Hugging Face describe their networks in other words.
        network = config.get("config")
        if isinstance(network, dict):
            image_size = _side(network.get("image_shape"), location, "image_shape")
    return Backbone(
        name=HUB_PREFIX + (Path(location).name if is_folder(Path(location)) else location),
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


def _read_preprocessing(
    location: str,
) -> tuple[int | None, tuple[float, float, float], tuple[float, float, float]]:
    """Image size, scale and offset of a preset's image converter."""
    try:
        file = _read_json(location, CONVERTER_FILE)
    except WeightsError:
        # Presets of Hugging Face have other files, which KerasHub can translate.
        converter = _ask_for_converter(location)
    else:
        found = file.get("config")
        if not isinstance(found, dict):
            raise _malformed(location, f"an object as config of {CONVERTER_FILE}", found)
        converter = found
    return (
        _side(converter.get("image_size"), location, "image_size"),
        _triple(converter.get("scale"), 1.0, location, "scale"),
        _triple(converter.get("offset"), 0.0, location, "offset"),
    )


def _ask_for_converter(location: str) -> dict[str, Any]:
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


def _side(size: object, location: str, name: str) -> int | None:
    """The side of square images from it or `(height, width, ...)`; None if they are not square."""
    sides = size[:2] if isinstance(size, list | tuple) else (size, size)
    if all(side is None for side in sides):
        return None
    if len(sides) < 2 or not all(type(side) is int and 0 < side < 2**16 for side in sides):
        raise _malformed(location, f"a number of pixels or (height, width) as {name}", size)
    return sides[0] if sides[0] == sides[1] else None


def _triple(value: object, default: float, location: str, name: str) -> tuple[float, float, float]:
    """One number per channel, from three, from one, or from none."""
    if value is None:
        value = default
    values: tuple[Any, ...] = tuple(value) if isinstance(value, list | tuple) else (value,)
    # NaN lies in no range.
    are_numbers = all(isinstance(n, int | float) and -1e9 < n < 1e9 for n in values)
    if len(values) not in (1, 3) or not are_numbers:
        raise _malformed(location, f"one number or three as {name}", value)
    first, second, third = (float(number) for number in (values * 3)[:3])
    return first, second, third


def _malformed(location: str, expected: str, received: object) -> BackboneError:
    return BackboneError(
        f"The preset cannot be understood. Expected: {expected}. Received: {str(received)[:80]} in "
        f"hub:{location}\nSave it again with KerasHub's save_to_preset."
    )


def _weights_files(location: str) -> list[str]:
    for name in WEIGHTS_FILES:
        with contextlib.suppress(WeightsError):
            _get_file(location, name)
            return [name]
    for name in WEIGHTS_LISTS:
        with contextlib.suppress(WeightsError):
            return [name, *_list_parts(location, name)]
    raise WeightsError(
        f"The preset has no weights. Expected one of {', '.join(WEIGHTS_FILES + WEIGHTS_LISTS)}. "
        f"Received: hub:{location}"
    )


def _list_parts(location: str, name: str) -> list[str]:
    """The files that large weights were divided into, as the list of that name says."""
    weight_map = _read_json(location, name).get("weight_map")
    parts = list(weight_map.values()) if isinstance(weight_map, dict) else []
    names = [n for part in parts for n in (part if isinstance(part, list) else [part])]
    if not names or not all(isinstance(n, str) for n in names):
        raise _malformed(location, f"names of files as weight_map of {name}", weight_map)
    return sorted(set(names))


def _read_json(location: str, name: str) -> dict[str, Any]:
    path = _get_file(location, name)
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path} cannot be read as JSON: {error}. Expected: a file that KerasHub's "
            "save_to_preset wrote. Save the preset again."
        ) from error
    if not isinstance(found, dict):
        raise _malformed(location, f"an object in {name}", found)
    return found


def _get_file(location: str, name: str) -> Path:
    """A file of a preset, fetched by KerasHub where the preset is no folder."""
    path = Path(location) / name
    if is_file(path):
        return path
    if is_folder(Path(location)):
        raise WeightsError(
            f"The preset has no {name}. Expected: a folder that KerasHub's save_to_preset wrote. "
            f"Received: hub:{location}"
        )
    import_keras_hub()
    from pipeline.backbones.keras_internals import fetch_preset_file

    try:
        with contextlib.redirect_stdout(sys.stderr):
            return Path(fetch_preset_file(location, name))
    except Exception as error:
        # kagglehub, huggingface_hub and requests have errors of their own.
        raise WeightsError(
            f"The preset's file {name} cannot be had: {error}\nExpected: the name of one of "
            "KerasHub's presets, hf://OWNER/NAME, kaggle://..., or a folder. "
            f"Received: hub:{location}. Without a network, fetch the preset elsewhere and give "
            "its folder: `backbone=hub:FOLDER`."
        ) from error
