"""A run's manifest: what went into an experiment and what came out, typed, versioned, checked.

Both stages write it and everything reads it as a `Manifest`. On disk it is one flat JSON object for
people: the keys of the optional parts (`FeaturesPart`, `FinetuningPart`) stand beside all others.
"""

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pipeline.errors import RunError
from pipeline.features.question import Question
from pipeline.images.augmentation.views import Views
from pipeline.images.split_rules import CHANCE
from pipeline.recipe import EngineRecord, Recipe
from pipeline.runs.fold_scores import FoldScores
from pipeline.runs.promise.record import PromisePart
from pipeline.runs.scores import SCORED_SPLITS, Metrics
from pipeline.runs.selection_bias import SelectionBias
from pipeline.runs.significance import Comparison
from pipeline.system.atomic_files import to_json, write_text
from pipeline.system.paths import denial, is_file
from pipeline.system.wild_values import find_wild_values, shorten

FORMAT = "frostline-run"
VERSION = 2  # 1 had no record of the engine
FINETUNED = "finetuned"
MAX_BYTES = 64 * 2**20

_PARTS = ("features", "finetuning")
_NO_MATRIX = np.empty((0, 0), np.int64)


@dataclass(frozen=True)
class SplitFacts:
    """How the images were divided.

    Args:
        seed: of the division.
        val_fraction: 0..1, of the images that the source gave no split.
        test_fraction: 0..1, likewise.
        group_by: regular expression that found an image's group in its path; None = no groups.
        n_groups: how many groups there are; None without groups.
        given: names of the splits that the source gave.
        n_images: by name of the split.
        rule: by which they were divided: `exact`, or `chance` in runs of 0.1.0.
        n_near_duplicate_groups: how many groups of near duplicates were kept together; None where
            that was not asked for, or no audit had been made.
        n_near_duplicates_moved: how many images have another split for that.
    """

    seed: int
    val_fraction: float
    test_fraction: float
    group_by: str | None
    n_groups: int | None
    given: list[str]
    n_images: dict[str, int]
    rule: str = CHANCE
    n_near_duplicate_groups: int | None = None
    n_near_duplicates_moved: int = 0


@dataclass(frozen=True)
class HistoryAxis:
    """What `history.csv` runs over, and where the best is.

    Args:
        x: name of the column: `C` or `epoch`.
        best: the value in it that was chosen.
    """

    x: str
    best: int | float


@dataclass(frozen=True)
class FeaturesPart:
    """Of a run that `fit_head` wrote: the feature file that it was made from.

    Args:
        features_file: absolute path.
        features_file_seal: sha256 of the file, hex.
        features_sha256: of the rows, hex.
        features_batch_size: images per call of the network that made them.
        equal_images: paths of images that are there more than once, a list per image: `all`,
            those with `different_labels`, those in `different_given_splits`.
    """

    features_file: str
    features_file_seal: str
    features_sha256: str
    features_batch_size: int
    equal_images: dict[str, list[list[str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class UsedBackbone:
    """A backbone of a run, and the feature file whose rows it made.

    Args:
        recipe: of the features.
        weights_source: `imagenet`, `random`, or the file that its weights came from.
        engine: what computed the features of the probes.
        features: the file; None of a fine-tuned run. Equal images are named once for all files.
        n_features: how many of the head's features are its own; None = all that the others leave.
        recipe_id: of the recipe, when the run was made.
    """

    recipe: Recipe
    weights_source: str
    engine: EngineRecord
    features: FeaturesPart | None = None
    n_features: int | None = None
    recipe_id: str = ""


@dataclass(frozen=True)
class SearchPart:
    """Of a fine-tuned run whose settings were searched.

    Args:
        budget_seconds: that it was given, None for no limit.
        n_settings: that were tried.
        winner: what won, in words.
        trials: of each training its `round`, `setting`, `values`, `epochs`, `n_images`,
            `accuracy`, `log_loss`, `frozen_accuracy`, `frozen_log_loss` and `seconds`.
        luck: how much of what was found is luck, in words; empty where nothing was chosen.
    """

    budget_seconds: float | None
    n_settings: int
    winner: str
    trials: list[dict[str, Any]]
    luck: str


@dataclass(frozen=True)
class FinetuningPart:
    """Of a fine-tuned run: how it was trained, and how it compares with its frozen head.

    Args:
        parent: absolute path of the run that was fine-tuned.
        device: where, in words that begin with `CPU` or `GPU`.
        n_devices: how many at once.
        parity: greatest difference of the rebuilt backbone's features to the recorded ones,
            relative to the greatest feature.
        unfreeze_reason: why this frost line.
        trainable_parameters: how many.
        used_trunk_cache: whether the frozen part was computed once.
        learning_rate_sweep: (rate, smoothed loss) of each step; empty without a sweep.
        learning_rate_found: the highest rate used; None for a run without training.
        n_divergences: how often training went astray and was set back.
        metrics_frozen: scores of the frozen head by split.
        log_loss_frozen_calibrated: log-loss of the frozen head by split, after one temperature.
        comparison: frozen against fine-tuned.
        verdict: did it help.
        next_step: what to try next, in words.
        n_parts: that each batch was computed in, one after the other, for want of memory.
        advice: of what was found `finding`, by which numbers it is `shown`, `ways` to try, and the
            `sentence`; empty in runs from before there was any.
        search: how the settings were found; None where they were given.
    """

    parent: str
    device: str
    n_devices: int
    parity: float
    unfreeze_reason: str
    trainable_parameters: int
    used_trunk_cache: bool
    learning_rate_sweep: list[tuple[float, float]]
    learning_rate_found: float | None
    n_divergences: int
    metrics_frozen: dict[str, Metrics]
    log_loss_frozen_calibrated: dict[str, float]
    comparison: Comparison
    verdict: str
    next_step: str
    n_parts: int = 1
    advice: list[dict[str, Any]] = field(default_factory=list)
    search: SearchPart | None = None


@dataclass(frozen=True)
class Manifest:
    """What a run says of itself.

    Args:
        kind: name of the head in the registry, or `finetuned`.
        created: ISO 8601, UTC.
        class_names: in the order of the columns of probabilities.
        recipe: of the features.
        recipe_id: of the recipe, when the run was made.
        weights_source: `imagenet`, `random`, or the file that the backbone's weights came from.
        data_root: the folder of the images.
        data_name: of the data set, after its folder or list; empty in runs of 0.1.0.
        splits: how the images were divided.
        parameters: all options by name.
        chosen: what was chosen, in words such as `C = 1`.
        chosen_by: the split that chose (`val`), the `user`, or `nothing` where there was no choice.
        history: what `history.csv` runs over.
        metrics: scores by split; at least one of train, val, test and folds.
        seconds: by stage.
        notes: sentences for people.
        software: versions of the packages that decide numbers.
        git_commit: of the folder that the program ran in; None where there is no git.
        engine: what computed the features of the probes; unknown in version 1.
        features: of a run with a head on features.
        finetuning: of a fine-tuned run.
        names_and_head_sha256: binds the names of the classes to the head, see `binding.py`; None in
            runs from before there was one.
        scored_images: by split, sha256 of its images and their labels; empty in runs of 0.1.0.
        folds: of a run with cross-validation, how its folds did.
        temperature: that the scores of the head in its files are divided by, 1 = they are left.
        promise: of the answers; None where every image gets one.
        question: what was asked, where it is not what the feature file's labels ask.
        selection: of the best of a sweep, by how much being chosen flatters it.
        views: that the head was fitted on; None where it was on images as they are alone.
        tta: views of an image whose probabilities are averaged; None where view 0 alone is asked.
        further_backbones: those whose features stand behind the first one's, in their order;
            empty where the head takes the features of one.
        version: of the format.
    """

    kind: str
    created: str
    class_names: list[str]
    recipe: Recipe
    recipe_id: str
    weights_source: str
    data_root: str
    splits: SplitFacts
    parameters: dict[str, str | int | float | bool | None]
    chosen: str
    chosen_by: str
    history: HistoryAxis
    metrics: dict[str, Metrics]
    seconds: dict[str, float]
    notes: list[str]
    software: dict[str, str]
    git_commit: str | None
    engine: EngineRecord = field(default_factory=EngineRecord)
    features: FeaturesPart | None = None
    finetuning: FinetuningPart | None = None
    names_and_head_sha256: str | None = None
    scored_images: dict[str, str] = field(default_factory=dict)
    data_name: str = ""
    folds: FoldScores | None = None
    temperature: float = 1.0
    promise: PromisePart | None = None
    question: Question | None = None
    selection: SelectionBias | None = None
    views: Views | None = None
    tta: Views | None = None
    further_backbones: list[UsedBackbone] = field(default_factory=list)
    version: int = VERSION

    def __post_init__(self) -> None:
        if len(self.class_names) < 2 or len(set(self.class_names)) < len(self.class_names):
            raise ValueError("Expected two or more different `class_names`")
        if not set(SCORED_SPLITS) & set(self.metrics):
            raise ValueError(f"Expected `metrics` of one of {', '.join(SCORED_SPLITS)}")
        if not self.temperature > 0:
            raise ValueError("Expected a `temperature` above 0")
        if self.further_backbones and self.is_finetuned:
            raise ValueError("Expected no `further_backbones` in a fine-tuned run")
        for used in self.further_backbones:
            if used.features is None or used.n_features is None or used.n_features < 1:
                raise ValueError("Expected `features` and `n_features` of `further_backbones`")

    @property
    def is_finetuned(self) -> bool:
        return self.kind == FINETUNED

    @property
    def backbones(self) -> list[UsedBackbone]:
        """All whose features the head takes, in the order of its features."""
        first = UsedBackbone(
            self.recipe,
            self.weights_source,
            self.engine,
            self.features,
            recipe_id=self.recipe_id,
        )
        return [first, *self.further_backbones]

    @property
    def scored_split(self) -> str:
        """The split whose scores are the fairest there are: test, folds, val or train."""
        return next(name for name in SCORED_SPLITS if name in self.metrics)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes `manifest.json`, and `classes.json` beside it for other programs.

    Confusion matrices are left out; see `confusion_matrices.py`.
    """
    values = msgspec.to_builtins(_without_matrices(manifest), enc_hook=_number_of_numpy)
    for scores in _list_score_values(values):
        del scores["confusion_matrix"]
    parts = [values.pop(name) or {} for name in _PARTS]
    flat = {"format": FORMAT, "version": values.pop("version"), **values}
    for part in parts:
        flat |= part
    write_text(folder / "classes.json", to_json(manifest.class_names) + "\n")
    write_text(folder / "manifest.json", to_json(flat) + "\n")


def _without_matrices(manifest: Manifest) -> Manifest:
    def strip(scores: dict[str, Metrics]) -> dict[str, Metrics]:
        return {name: replace(one, confusion_matrix=_NO_MATRIX) for name, one in scores.items()}

    tuned = manifest.finetuning
    if tuned is not None:
        tuned = replace(tuned, metrics_frozen=strip(tuned.metrics_frozen))
    return replace(manifest, metrics=strip(manifest.metrics), finetuning=tuned)


def _list_score_values(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The scores in a manifest's plain values, of each split."""
    frozen = (values["finetuning"] or {}).get("metrics_frozen", {})
    return [*values["metrics"].values(), *frozen.values()]


def _number_of_numpy(value: Any) -> Any:
    """numpy's numbers, which callers hand over as options, as Python's; and no matrix."""
    if value is _NO_MATRIX:
        return []
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"A manifest holds no {type(value).__name__}")


def read_manifest(folder: Path) -> Manifest:
    """Reads a run's manifest; of version 1, too.

    Raises:
        RunError: there is none, it is of a newer version, or not what it should be; the message
            names the file and the field.
    """
    path = folder / "manifest.json"
    if not is_file(path):
        raise RunError(
            "This is not a run: it has no manifest.json. Expected a folder that "
            "`frostline.fit_head()` or `frostline.finetune()` wrote. "
            f"Received: {folder}{denial(path)}\n`frostline.list_runs()` lists the runs."
        )
    values = _read_values(path)
    number = values.get("version")
    is_known = type(number) is int and 1 <= number <= VERSION
    if values.get("format") != FORMAT or not is_known:
        raise RunError(
            f"Expected format {FORMAT!r}, version {VERSION} or older. Received: {path} with "
            f"format {shorten(repr(values.get('format')))}, "
            f"version {shorten(str(values.get('version')))}"
        )
    try:
        return _convert(values)
    except (ValueError, TypeError, RecursionError) as error:
        raise RunError(
            f"The manifest of this run is not complete, or not what it should be: {error}. "
            f"Received: {path}\nMake the run again."
        ) from error


def _read_values(path: Path) -> dict[str, Any]:
    """The JSON object of a file."""
    try:
        n_bytes = path.stat().st_size
        if n_bytes > MAX_BYTES:
            raise ValueError(f"it has {n_bytes:,} bytes, more than {MAX_BYTES:,}")
        values = json.loads(path.read_text("utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"it holds a {type(values).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise RunError(
            f"The manifest of this run cannot be read ({reason}). Expected a JSON object, as "
            f"`frostline.fit_head()` or `frostline.finetune()` wrote it. Received: {path}"
        ) from error
    return values


def _convert(values: dict[str, Any]) -> Manifest:
    """Checks types, and that every number and name is one; unknown keys are passed over."""
    for expected, place in find_wild_values(values, "$"):
        raise ValueError(f"Expected {expected} - at `{place}`")
    types = {"features": FeaturesPart, "finetuning": FinetuningPart}
    name = "finetuning" if values.get("kind") == FINETUNED else "features"
    flat = {key: value for key, value in values.items() if key not in _PARTS}
    if flat["version"] < VERSION:
        flat.pop("engine", None)
    part = _pick(flat, types[name])
    return msgspec.convert({**flat, name: part}, Manifest, dec_hook=_to_matrix)


def _to_matrix(wanted: type, value: Any) -> np.ndarray:
    """A confusion matrix, which stands among the scores in manifests of 0.1.0."""
    if wanted is not np.ndarray:
        raise TypeError(f"A manifest holds no {wanted.__name__}")
    try:
        return np.array(msgspec.convert(value, list[list[int]]), np.int64)
    except ValueError as error:  # msgspec adds where only to one that is not its own
        raise ValueError("Expected rows of whole numbers, all as long") from error


def _pick(values: dict[str, Any], part: type) -> dict[str, Any]:
    """Those that are fields of a part."""
    names = {entry.name for entry in fields(part)}
    return {name: value for name, value in values.items() if name in names}
