"""The steps that made a run, from the images on, as calls of the library with their options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import RunError
from pipeline.features.options import ExtractOptions
from pipeline.heads.fit_options import SHARED_OPTIONS
from pipeline.heads.registry import HEADS
from pipeline.images.augmentation.views import Views
from pipeline.recipe import FULL_DEPTH, PRECISIONS
from pipeline.runs.manifest import FINETUNED, Manifest, UsedBackbone
from pipeline.runs.run_folder import Run, open_run
from pipeline.system.options import list_options


@dataclass(frozen=True)
class Step:
    """A call of a public function.

    Args:
        function: its name, such as `fit_head`.
        places: what it takes, paths.
        options: by name; those that are left as they are by default need not be there.
    """

    function: str
    places: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wording:
    """How a page speaks to whoever asked for it.

    Args:
        say: translates a sentence of the library, whose names stand in backticks.
        spell: writes a step.
    """

    say: Callable[[str], str]
    spell: Callable[[Step], str]


def spell_in_python(step: Step) -> str:
    """The step as a call of the library."""
    places = [repr(place) for place in step.places]
    first = places[0] if len(places) == 1 else f"[{', '.join(places)}]"
    options = [f"{name}={value!r}" for name, value in step.options.items()]
    return f"frostline.{step.function}({', '.join([first, *options])})"


IN_PYTHON = Wording(str, spell_in_python)


def list_steps(run: Run) -> list[Step]:
    """From the extraction on; of a fine-tuned run whose parent is gone the last step alone."""
    manifest = run.manifest
    tuned = manifest.finetuning
    if tuned is None:
        used = manifest.backbones
        return [*(_extract(manifest, one) for one in used), _fit(manifest, used)]
    try:
        before = list_steps(open_run(tuned.parent))
    except RunError:
        before = []
    options = {name: value for name, value in manifest.parameters.items() if value is not None}
    return [*before, Step("finetune", (shorten(tuned.parent),), options)]


def shorten(path: str) -> str:
    """A path as it is typed here: relative to the current folder where it lies in it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path


def _extract(manifest: Manifest, used: UsedBackbone) -> Step:
    recipe = used.recipe
    red, green, blue = recipe.background
    said: dict[str, Any] = {
        "backbone": recipe.backbone,
        "weights": used.weights_source,
        "image_size": recipe.image_size,
        "layer": recipe.layer,
        "pooling": recipe.pooling,
        "precision": _name_precision(recipe.precision),
        "resize": recipe.resize,
        "background": f"#{red:02x}{green:02x}{blue:02x}",
        "truncated": recipe.truncated,
        "depth": "full" if recipe.depth == FULL_DEPTH else "auto",
    }
    if said["background"] == "#ffffff":
        said["background"] = ExtractOptions.background
    if recipe.weights.startswith("random:"):
        said["seed"] = int(recipe.weights.partition(":")[2])
    options = _leave_out_defaults(said, ExtractOptions)
    file = None if used.features is None else Path(used.features.features_file)
    views = manifest.views or manifest.tta
    options |= {} if views is None else _say_views(views)
    name = manifest.data_name or Path(manifest.data_root).name
    usual = f"{name}-{recipe.backbone_in_file_names}-{recipe.id[:8]}"
    if file is not None and not (file.parent.name == "cache" and file.name.startswith(usual)):
        options["output"] = shorten(str(file))
    return Step("extract", (shorten(manifest.data_root),), options)


def _say_views(views: Views) -> dict[str, Any]:
    said = {"views": views.number, "augment": views.augment, "seed": views.seed}
    return _leave_out_defaults(said, ExtractOptions)


def _fit(manifest: Manifest, backbones: list[UsedBackbone]) -> Step:
    kind = manifest.kind
    given = dict(manifest.parameters)
    if "tta" in given:  # of a file with views the number is there, and not whether they are used
        given["views"] = given.get("views") != 1
    options: dict[str, Any] = {} if kind in ("", "logreg", FINETUNED) else {"head": kind}
    if len(backbones) > 1:
        options["join"] = True
    of_head = (HEADS[kind].options,) if kind in HEADS else ()
    for options_of in (*of_head, *SHARED_OPTIONS):
        options |= _leave_out_defaults(given, options_of)
    files = [one.features.features_file for one in backbones if one.features is not None]
    return Step("fit_head", tuple(map(shorten, files)), options)


def _leave_out_defaults(given: Mapping[str, Any], options_of: type) -> dict[str, Any]:
    """Those that are fields of an options dataclass and say something else than it does."""
    return {
        entry.name: given[entry.name]
        for entry in list_options(options_of)
        if entry.name in given and given[entry.name] != entry.default
    }


def _name_precision(recorded: str) -> str:
    return next(name for name, known in PRECISIONS.items() if known == recorded)
