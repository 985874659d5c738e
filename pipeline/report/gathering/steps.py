"""The steps that made a run, from the images on, as calls of the library with their options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.backbones.tuned_runs import RUN_PREFIX, TUNED_PREFIX, find_tuned
from pipeline.errors import RunError, WeightsError
from pipeline.features.options import USUAL, ExtractOptions
from pipeline.heads.fit_options import SHARED_OPTIONS
from pipeline.heads.registry import HEADS
from pipeline.images.augmentation.views import Views
from pipeline.recipe import FULL_DEPTH, PRECISIONS, Recipe
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
    """From the extraction on; of a fine-tuned run whose parent is gone the last step alone.

    Where a backbone is what a fine-tuned run made of one, with the steps to that.
    """
    manifest = run.manifest
    tuned = manifest.finetuning
    if tuned is None:
        used = manifest.backbones
        steps = [step for one in used for step in _extract(manifest, one)]
        return [*steps, _fit(manifest, used)]
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


def _extract(manifest: Manifest, used: UsedBackbone) -> list[Step]:
    """The extraction, after the steps to the fine-tuned run whose network it used, if any."""
    recipe = used.recipe
    said: dict[str, Any] = {"precision": _name_precision(recipe.precision)}
    before: list[Step] = []
    usual: dict[str, Any] = USUAL
    if recipe.backbone.startswith(TUNED_PREFIX):
        tuned = _find_tuned_run(used)
        folder = Path(used.weights_source).parent if tuned is None else tuned.folder
        said["backbone"] = RUN_PREFIX + shorten(str(folder))
        before = [] if tuned is None else list_steps(tuned)
        usual = {} if tuned is None else _say_pixels(tuned.recipe)
    else:
        said |= {"backbone": recipe.backbone, "weights": used.weights_source}
    if recipe.weights.startswith("random:"):
        said["seed"] = int(recipe.weights.partition(":")[2])
    found = _say_pixels(recipe)
    said |= {name: value for name, value in found.items() if value != usual.get(name)}
    options = _leave_out_defaults(said, ExtractOptions)
    views = manifest.views or manifest.tta
    options |= {} if views is None else _say_views(views)
    options |= _say_output(manifest, used)
    return [*before, Step("extract", (shorten(manifest.data_root),), options)]


def _find_tuned_run(used: UsedBackbone) -> Run | None:
    """The fine-tuned run whose network made a backbone's features; None where it is gone."""
    try:
        return open_run(find_tuned(used.recipe, used.weights_source).parent)
    except (RunError, WeightsError):
        return None


def _say_pixels(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says of the images and of the layer whose output is taken, as options."""
    red, green, blue = recipe.background
    colour = f"#{red:02x}{green:02x}{blue:02x}"
    return {
        "image_size": recipe.image_size,
        "layer": recipe.layer,
        "pooling": recipe.pooling,
        "resize": recipe.resize,
        "background": "white" if colour == "#ffffff" else colour,
        "truncated": recipe.truncated,
        "depth": "full" if recipe.depth == FULL_DEPTH else "auto",
    }


def _say_output(manifest: Manifest, used: UsedBackbone) -> dict[str, str]:
    """Where the feature file lies, if not where it usually does."""
    recipe = used.recipe
    file = None if used.features is None else Path(used.features.features_file)
    name = manifest.data_name or Path(manifest.data_root).name
    usual = f"{name}-{recipe.backbone_in_file_names}-{recipe.id[:8]}"
    if file is None or (file.parent.name == "cache" and file.name.startswith(usual)):
        return {}
    return {"output": shorten(str(file))}


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
