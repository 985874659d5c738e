"""A run in sentences and tables: what it is, how good it is, what it was made of."""

import numpy as np

from pipeline.images.splits import TRAIN
from pipeline.report.contents import Fact, Score, Section
from pipeline.report.gathering.scored_run import ScoredRun
from pipeline.report.gathering.search_section import list_search
from pipeline.runs.manifest import Manifest
from pipeline.runs.scores import FOLDS, Metrics, describe_absent_classes
from pipeline.system.printable import count, printable

_IMAGES = {"test": "test", "val": "validation", "train": "training", FOLDS: "left-out"}


def list_scores(scored: ScoredRun) -> list[Score]:
    """The run's accuracy, that of its head before fine-tuning, that of the majority class."""
    scores = [_to_score(f"this {_name_kind(scored.manifest)}", scored.metrics, is_own=True)]
    tuned = scored.manifest.finetuning
    if tuned is not None and scored.split in tuned.metrics_frozen:
        frozen = tuned.metrics_frozen[scored.split]
        scores.append(_to_score("the head before fine-tuning", frozen))
    return [*scores, Score("the most common class each time", find_majority_share(scored))]


def find_majority_share(scored: ScoredRun) -> float:
    """How much of what was scored is of the most common class of the training images, 0..1."""
    n_classes = len(scored.run.class_names)
    is_train = (scored.splits == TRAIN) & (scored.labels >= 0)
    of_train = scored.labels[is_train] if is_train.any() else scored.labels[scored.rows]
    majority = int(np.bincount(of_train, minlength=n_classes).argmax())
    return float((scored.labels[scored.rows] == majority).mean())


def summarise(scored: ScoredRun) -> list[str]:
    """What the run is, how good it is, and what that is to be compared with."""
    manifest = scored.manifest
    sentences = [_describe_kind(scored), *_describe_accuracy(scored)]
    same = f"would be right for {_percent(find_majority_share(scored))}."
    sentences.append(f"To say the most common class each time {same}")
    if manifest.finetuning is not None:
        sentences += [manifest.finetuning.verdict]
        if manifest.finetuning.search is not None:
            sentences.append(manifest.finetuning.search.luck)
    if manifest.selection is not None:
        sentences.append(manifest.selection.describe())
    sentences += describe_absent_classes({scored.split: scored.metrics})
    if manifest.promise is not None:
        sentences.append(manifest.promise.describe())
    return [_one_line(sentence) for sentence in sentences if sentence]


def list_sections(scored: ScoredRun) -> list[Section]:
    """What the run was made of, for whoever wants to make it again."""
    manifest = scored.manifest
    settings = [Fact(name, _plain(value)) for name, value in manifest.parameters.items()]
    sections = [
        *_list_recipes(manifest),
        Section("Data", _list_data(manifest)),
        Section("Settings", [*settings, Fact("chosen", _plain(manifest.chosen))]),
        *list_search(manifest.finetuning),
        Section("Time", [Fact(name, f"{s:,.1f} s") for name, s in manifest.seconds.items()]),
        Section("Versions", _list_versions(manifest)),
    ]
    notes = [Fact(f"note {n}", _one_line(note)) for n, note in enumerate(manifest.notes, 1)]
    return [*sections, *([Section("What was noted", notes)] if notes else [])]


def _describe_kind(scored: ScoredRun) -> str:
    manifest = scored.manifest
    backbones = " and ".join(
        f"{printable(used.recipe.backbone)} at {used.recipe.image_size} pixels"
        for used in manifest.backbones
    )
    n_train = int(((scored.splits == TRAIN) & (scored.labels >= 0)).sum())
    images = f"{count(n_train, 'image')} of {count(len(manifest.class_names), 'class')}"
    if manifest.is_finetuned:
        return f"{backbones}, fine-tuned on {images}: {printable(manifest.chosen)}."
    views = f", on {manifest.views}" if manifest.views is not None else ""
    return (
        f"A {printable(manifest.kind)} head on features of {backbones}{views}, fitted on {images}: "
        f"{printable(manifest.chosen)}."
    )


def _describe_accuracy(scored: ScoredRun) -> list[str]:
    metrics, manifest = scored.metrics, scored.manifest
    low, high = metrics.accuracy_interval
    n_right = round(metrics.accuracy * metrics.n_samples)
    images = count(metrics.n_samples, f"{_IMAGES[scored.split]} image")
    interval = f"95% interval {100 * low:.1f} to {_percent(high)}"
    said = f"It is right for {n_right:,} of {images}: {_percent(metrics.accuracy)} ({interval})."
    if scored.split == FOLDS and manifest.folds is not None:
        times = f", {manifest.folds.n_repeats} times" if manifest.folds.n_repeats > 1 else ""
        how = (
            f"Each was judged by a head that was fitted without it: {manifest.folds.n_folds} "
            f"folds{times}."
        )
        return [said, how]
    if scored.split == "train":
        return [said, "These images trained it, so this says nothing of others."]
    if scored.split == "val":
        chose = f" They chose {printable(manifest.chosen)}" if manifest.chosen_by == "val" else ""
        return [said, f"{chose}, which flatters.".strip()] if chose else [said]
    return [said]


def _list_recipes(manifest: Manifest) -> list[Section]:
    sections = []
    for place, used in enumerate(manifest.backbones):
        recipe = used.recipe
        facts = {
            "backbone": recipe.backbone,
            "weights": f"{used.weights_source} ({recipe.weights[:19]})",
            "image size": f"{recipe.image_size} pixels",
            "resize": recipe.resize,
            "layer": recipe.layer,
            "pooling": recipe.pooling,
            "precision": recipe.precision,
            "computed by": str(used.engine),
            "recipe": (used.recipe_id or recipe.id)[:16],
        }
        if used.features is not None:
            facts["feature file"] = used.features.features_file
        heading = "Recipe" if len(manifest.backbones) == 1 else f"Recipe {place + 1}"
        sections.append(Section(heading, [Fact(k, printable(v)) for k, v in facts.items()]))
    return sections


def _list_data(manifest: Manifest) -> list[Fact]:
    splits = manifest.splits
    facts = {
        "images": manifest.data_root,
        **{f"{name} images": f"{n:,}" for name, n in splits.n_images.items()},
        "splits given by the data": ", ".join(splits.given) or "none",
        "seed of the splits": str(splits.seed),
    }
    if splits.group_by is not None:
        facts["groups"] = f"{splits.n_groups:,} by {splits.group_by}"
    return [Fact(name, printable(value)) for name, value in facts.items()]


def _list_versions(manifest: Manifest) -> list[Fact]:
    facts = {**manifest.software, "created": manifest.created}
    if manifest.git_commit is not None:
        facts["git commit"] = manifest.git_commit
    return [Fact(printable(name), printable(value)) for name, value in facts.items()]


def _name_kind(manifest: Manifest) -> str:
    return "fine-tuned network" if manifest.is_finetuned else f"{printable(manifest.kind)} head"


def _to_score(name: str, metrics: Metrics, *, is_own: bool = False) -> Score:
    return Score(name, metrics.accuracy, *metrics.accuracy_interval, is_own=is_own)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _plain(value: object) -> str:
    words = {None: "none", True: "yes", False: "no"}
    if value is None or isinstance(value, bool):
        return words[value]
    return printable(str(value))


def _one_line(text: str) -> str:
    return printable(" ".join(text.split("\n")))
