"""`backbone="run:NAME"`: a fine-tuned run's network, as what the next features are made with.

A run is a file of weights here, with a manifest beside it that says what its network is and how
images are brought before it. Its recipe knows it by the file's sha256 and not by a name, so a run
may be renamed. TensorFlow is not loaded.
"""

import json
from pathlib import Path

import msgspec

from pipeline.backbones.backbone import Backbone, TunedModel
from pipeline.errors import BackboneError, WeightsError
from pipeline.recipe import Recipe
from pipeline.system.paths import denial, is_file, is_folder, sha256_of_file
from pipeline.system.run_files import (
    FINETUNED_MODEL,
    MANIFEST,
    RUNS_FOLDER,
    bind_digests,
    find_run,
)

RUN_PREFIX = "run:"
# What recipes call such a backbone, followed by the name of what was fine-tuned.
TUNED_PREFIX = "tuned:"
_MANIFEST_BYTES = 64 * 2**20  # no manifest has more


class _Manifest(msgspec.Struct):
    """What a network is made of, of all that a run says of itself."""

    recipe: Recipe
    class_names: list[str]
    names_and_head_sha256: str | None = None


def read_tuned(name: str) -> Backbone:
    """What a fine-tuned run says of its network.

    Args:
        name: `run:NAME`, or just the run's folder, its name in `runs/`, or its `model.keras`.

    Raises:
        BackboneError: there is no such run, it was not fine-tuned, or cannot be understood.
    """
    path = locate_model(name)
    folder = path.parent
    if not is_file(folder / MANIFEST):
        raise BackboneError(
            "There is no such run. Expected the folder of one that `frostline.finetune()` wrote, "
            f"or its name in {RUNS_FOLDER.resolve()}. Received: {folder}{denial(folder)}\n"
            "`frostline.list_runs()` lists the runs."
        )
    manifest = _read_manifest(folder)
    recipe = manifest.recipe
    if not is_file(path):
        raise BackboneError(
            f"This run has no network of its own. Expected: a run with {FINETUNED_MODEL}, as "
            f"`frostline.finetune()` writes it. Received: {folder}{denial(path)}\nIts features are "
            f"those of {recipe.backbone.removeprefix(TUNED_PREFIX)}, as they came. Fine-tune it."
        )
    return Backbone(
        name=TUNED_PREFIX + recipe.backbone.removeprefix(TUNED_PREFIX),
        builder="",
        image_size=recipe.image_size,
        n_features=None,
        parameters=None,
        multiply_adds=None,
        top1=None,
        feature_layer=None,
        weights=TunedModel(
            path=path.absolute(),
            recipe=recipe,
            class_names=tuple(manifest.class_names),
            bound_sha256=manifest.names_and_head_sha256,
        ),
        scale=recipe.scale,
        offset=recipe.offset,
        channel_order=recipe.channel_order,
        top_layers=(),
    )


def locate_model(name: str) -> Path:
    """The file of a run's network, whether it is there or not.

    Args:
        name: as in `read_tuned`.
    """
    folder = find_run(Path(name.removeprefix(RUN_PREFIX)))
    is_model = folder.name == FINETUNED_MODEL and not is_folder(folder)
    return folder if is_model else folder / FINETUNED_MODEL


def digest_tuned(model: TunedModel) -> str:
    """sha256 of a run's network, which is to be the one that the run was written with.

    Raises:
        WeightsError: it is another, or cannot be read.
    """
    digest = _digest(model.path)
    bound = bind_digests(list(model.class_names), {FINETUNED_MODEL: digest})
    if model.bound_sha256 not in (None, bound):
        raise WeightsError(
            f"This run was changed after it was written: its manifest does not belong to its "
            f"{FINETUNED_MODEL}. Expected names and network with the sha256 {model.bound_sha256}. "
            f"Received: {bound}, from {model.path.parent}\n"
            "Take the run from a backup, or fine-tune anew."
        )
    return digest


def find_tuned(recipe: Recipe, source: str) -> Path:
    """The network that a recipe was made with: where it was, or where a run of that sha256 is.

    Args:
        source: its file or its run's folder, as it was recorded or as the user says that it is now.

    Raises:
        WeightsError: it is gone, or another network lies there.
    """
    path = locate_model(source)
    is_there = is_file(path)
    expected = recipe.weights.removeprefix("sha256:")
    received = _digest(path) if is_there else ""
    if received == expected:
        return path.absolute()
    found = _search(path, expected)
    if not is_there and found is not None:
        return found
    if is_there:
        way_out = (
            f"It lies in {found.parent}: say `weights={found.parent}`."
            if found is not None
            else "If you have the run as it was, say where with `weights=FOLDER`; if not, extract "
            f"the features anew, `backbone=run:{path.parent}`, and fit the head on them."
        )
        raise WeightsError(
            f"{path.parent} is another network than the features were made with: the run was "
            f"fine-tuned anew or changed since. Expected: {FINETUNED_MODEL} with the sha256 "
            f"{expected}. Received: {received}\n{way_out}"
        )
    raise WeightsError(
        "The fine-tuned run whose network made the features is gone. Expected: "
        f"{FINETUNED_MODEL} with the sha256 {expected} in {path.parent}, where it was, or in "
        f"another run beside it or in {RUNS_FOLDER.resolve()}. Received: none{denial(path)}\n"
        "If the run was moved, say where it is with `weights=FOLDER`. Without it these features "
        "serve to fit heads, and no new image can be brought before them."
    )


def _search(path: Path, expected: str) -> Path | None:
    """A run's network of that sha256, beside the run of the path and in `runs/`."""
    places = dict.fromkeys([path.absolute().parent.parent, RUNS_FOLDER.absolute()])
    for place in places:
        for model in sorted(place.glob(f"*/{FINETUNED_MODEL}")):
            if is_file(model) and _digest(model) == expected:
                return model
    return None


def _digest(path: Path) -> str:
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise WeightsError(
            f"Cannot read the weights {path}: {error.strerror}. Make the file readable."
        ) from error


def _read_manifest(folder: Path) -> _Manifest:
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MANIFEST_BYTES:
            raise ValueError(f"it has more than {_MANIFEST_BYTES:,} bytes")
        return msgspec.convert(json.loads(path.read_text("utf-8")), _Manifest)
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise BackboneError(
            f"The run does not say what its network is: {reason}. Expected: a manifest as "
            f"`frostline.finetune()` writes it. Received: {path}\nMake the run again."
        ) from error
