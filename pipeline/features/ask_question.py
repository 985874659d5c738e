"""Other questions on the same features: other labels, fewer classes, classes taken as one.

The images keep the splits that they have for the question that the folders ask; with labels from a
file they are divided by those.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.errors import ParameterError
from pipeline.features.feature_file import Contents
from pipeline.features.question import Question, QuestionOptions
from pipeline.images.sources.fixes import read_excluded, read_labels, refuse_strangers
from pipeline.images.splits import UNLABELLED
from pipeline.system.paths import sha256_of_file
from pipeline.system.printable import name_some


def ask(
    contents: Contents, options: QuestionOptions
) -> tuple[Contents, Question | None, list[str]]:
    """The contents of a feature file as another question has them.

    Returns:
        The contents with other labels and class names, the question, None where it is the folders'
        own, and what is to be said.

    Raises:
        DatasetError: the file of labels cannot be used.
        ParameterError: a class is not there, or fewer than two are left.
    """
    question, notes = Question(), []
    if options.labels is not None:
        path = Path(options.labels)
        contents, note = _label_by_file(contents, path)
        question = replace(
            question, labels_file=str(path.resolve()), labels_sha256=sha256_of_file(path)
        )
        notes.append(note)
    if options.exclude is not None:
        path = Path(options.exclude)
        contents, n_excluded, note = _exclude(contents, path)
        question = replace(
            question,
            exclude_file=str(path.resolve()),
            exclude_sha256=sha256_of_file(path),
            n_excluded=n_excluded,
        )
        notes.append(note)
    if options.merge is not None:
        merged = parse_merge(options.merge, contents.class_names)
        contents = _rename(contents, merged)
        question = replace(question, merged=merged)
        for name in dict.fromkeys(merged.values()):
            sources = [one for one, target in merged.items() if target == name]
            notes.append(f"Taken as one class {name!r}: {name_some(sources)}.")
    if options.classes is not None:
        contents, left_out = _keep(contents, parse_classes(options.classes, contents.class_names))
        question = replace(question, left_out=left_out)
        notes.append(f"Left out: {len(left_out):,} classes ({name_some(left_out)}).")
    return contents, None if question == Question() else question, notes


def parse_merge(text: str, class_names: list[str]) -> dict[str, str]:
    """`cats+dogs=pets` -> {"cats": "pets", "dogs": "pets"}.

    Raises:
        ParameterError: it is none, names a class that is not there, or one twice.
    """
    merged: dict[str, str] = {}
    for part in text.split(","):
        sources, equals, target = part.partition("=")
        names, target = [name.strip() for name in sources.split("+")], target.strip()
        if not equals or not target or "" in names:
            raise ParameterError(
                "Expected `merge` to be such as cats+dogs=pets, several with commas between them. "
                f"Received: {text!r}",
                "merge",
            )
        _require_there(names, class_names, "merge", text)
        twice = [name for name in names if name in merged or names.count(name) > 1]
        if twice:
            raise ParameterError(
                f"Expected `merge` to name each class once. Received: {text!r}, with {twice[0]!r} "
                "twice",
                "merge",
            )
        merged |= dict.fromkeys(names, target)
    kept = set(class_names) - set(merged)
    clash = sorted(kept & set(merged.values()))
    if clash:
        raise ParameterError(
            f"There is a class {clash[0]!r} already. Expected `merge` to give a new name, or to "
            f"name that class among those that are taken as one. Received: {text!r}",
            "merge",
        )
    return merged


def parse_classes(text: str, class_names: list[str]) -> list[str]:
    """`a,b,c` -> the names.

    Raises:
        ParameterError: fewer than two, or one is not there.
    """
    names = list(dict.fromkeys(filter(None, (name.strip() for name in text.split(",")))))
    _require_there(names, class_names, "classes", text)
    if len(names) < 2:
        raise ParameterError(
            f"Expected `classes` to be two or more, with commas between them. Received: {text!r}",
            "classes",
        )
    return names


def _require_there(
    names: Collection[str], class_names: list[str], parameter: str, text: str
) -> None:
    unknown = [name for name in names if name not in set(class_names)]
    if unknown:
        raise ParameterError(
            f"There is no class {unknown[0]!r}. Expected `{parameter}` to name some of "
            f"{name_some(class_names, 20)}. Received: {text!r}",
            parameter,
        )


def _rename(contents: Contents, merged: dict[str, str]) -> Contents:
    renamed = [merged.get(name, name) for name in contents.class_names]
    names = sorted(set(renamed))
    numbers = np.array([*(names.index(name) for name in renamed), UNLABELLED], np.int32)
    return replace(contents, labels=numbers[contents.labels], class_names=names)


def _keep(contents: Contents, names: list[str]) -> tuple[Contents, list[str]]:
    """The contents with these classes alone, and the names of the others."""
    kept = [name for name in contents.class_names if name in set(names)]
    number_of = {name: number for number, name in enumerate(kept)}
    numbers = [number_of.get(name, UNLABELLED) for name in contents.class_names]
    labels = np.array([*numbers, UNLABELLED], np.int32)[contents.labels]
    left_out = [name for name in contents.class_names if name not in number_of]
    return replace(contents, labels=labels, class_names=kept), left_out


def _exclude(contents: Contents, path: Path) -> tuple[Contents, int, str]:
    """The contents without the labels of images that a CSV leaves out, how many, and a note.

    The others keep the splits that they have: those that are left out were there to be divided.
    """
    left_out, named = read_excluded(path)
    paths = contents.images.paths
    if paths and named.isdisjoint(paths):
        raise refuse_strangers(path, paths[0], "of the feature file is")
    is_out = np.array([one in left_out for one in paths], bool)
    labels = np.where(is_out, UNLABELLED, contents.labels).astype(np.int32)
    note = f"{int(is_out.sum()):,} of {len(paths):,} images are left out by {path}."
    if n_strangers := len(named - set(paths)):
        note += f" {n_strangers:,} of its lines name no image of the feature file."
    return replace(contents, labels=labels), int(is_out.sum()), note


def _label_by_file(contents: Contents, path: Path) -> tuple[Contents, str]:
    """Labels from a CSV; images that it does not name have none.

    Images are divided by these labels, so what the feature file knows of former classes is left.
    """
    label_of = read_labels(path)
    found = [label_of.pop(image, "") for image in contents.images.paths]
    names = sorted(set(found) - {""})
    if not names:
        raise refuse_strangers(path, contents.images.paths[0], "of the feature file has a label")
    number_of = {"": UNLABELLED} | {name: number for number, name in enumerate(names)}
    labels = np.array([number_of[name] for name in found], np.int32)
    n_labelled = int((labels != UNLABELLED).sum())
    note = f"{n_labelled:,} of {len(labels):,} images have a label in {path}."
    if label_of:
        note += f" {len(label_of):,} of its lines name no image of the feature file."
    return replace(contents, labels=labels, class_names=names, entries=None), note
