"""Several feature files as one: the images that all of them have, their features side by side.

Rows are joined by the digest of the image. Everything else that heads ask of a feature file is
the first file's, so that an image has the split that it has where the first file is fitted alone.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.errors import FeatureFileError, ParameterError
from pipeline.features.entries import NEVER, Entries, GoneImages
from pipeline.features.feature_file import Contents, FeatureFile
from pipeline.images.splits import NO_SPLIT, SPLITS, UNLABELLED
from pipeline.system.paths import as_path
from pipeline.system.printable import count

_BLOCK_BYTES = 8 * 2**20


def open_features_to_fit(
    features: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, join: bool = False
) -> "FeatureFile | JoinedFeatures":
    """Opens what a head is to be fitted on.

    Args:
        features: a feature file, or several.
        join: put the features of several side by side.

    Raises:
        ParameterError: several files and no `join`, or one and `join`.
        FeatureFileError: there is no such file, it is damaged, or several do not fit each other.
    """
    given = [features] if isinstance(features, str | os.PathLike) else list(features)
    paths = [as_path(path, "features") for path in given]
    if join and len(paths) < 2:
        raise ParameterError(
            "`join` puts the features of several files side by side. Expected two feature files or "
            f"more with it. Received: {len(paths)}",
            "join",
        )
    if not join and len(paths) != 1:
        raise ParameterError(
            "A head is fitted on the rows of one feature file. Expected one, or `join=True`, which "
            f"puts the features of several side by side. Received: {len(paths)} files"
            + "".join(f"\n  {path}" for path in paths),
            "features",
        )
    return JoinedFeatures(paths) if join else FeatureFile(paths[0])


@dataclass(frozen=True)
class JoinedFile:
    """One of the files that are joined.

    Args:
        file: open for reading.
        rows: int64 (n_samples,), which row of it each joined row is.
        probe_rows: int64 (n_probes,), joined rows of those of its probes that are joined.
        probe_pixels: uint8 (n_probes, height, width, 3), of them, as its recipe wants them.
    """

    file: FeatureFile
    rows: np.ndarray
    probe_rows: np.ndarray
    probe_pixels: np.ndarray


class JoinedFeatures:
    """Feature files that are open for reading as if they were one.

    Args:
        paths: of two files or more, of different recipes.

    Attributes:
        path: of the first file.
        shape: (n_samples, sum of the files' n_features).
        contents: of the first file, of the joined images; those that are left out count as gone,
            so that they still have their say in how the others are divided.
        files: each of them, in the order given.
        recipes: of the files.
        notes: what people should know, in sentences.

    Raises:
        FeatureFileError: one is damaged, two have one recipe, no image is in all of them, or they
            differ in the label or the split of an image.
    """

    def __init__(self, paths: Sequence[Path]):
        with ExitStack() as opened:
            files = [opened.enter_context(FeatureFile(path)) for path in paths]
            _require_different_recipes(files)
            numbers = _number_images(files)
            rows = _match_images(files, numbers)
            _require_agreement(files, rows)
            joined = numbers[0][rows[0]]
            self.files = [
                _join_probes(file, own_rows, own_numbers, joined)
                for file, own_rows, own_numbers in zip(files, rows, numbers, strict=True)
            ]
            self._opened = opened.pop_all()
        self.path = files[0].path
        self.recipes = [file.contents.recipe for file in files]
        self.shape = len(rows[0]), sum(file.n_features for file in files)
        self.contents = _take_images(self.files[0])
        self.notes = _describe_join(files, numbers, joined)

    def __enter__(self) -> "JoinedFeatures":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def read_blocks(self) -> Iterator[np.ndarray]:
        """All rows in order, block by block, each checked by fletcher32.

        Raises:
            FeatureFileError: features are damaged.
        """
        n_samples, n_features = self.shape
        step = max(1, _BLOCK_BYTES // (4 * n_features))
        for start in range(0, n_samples, step):
            yield self.read_span(start, min(n_samples, start + step))

    def read_span(self, start: int, stop: int) -> np.ndarray:
        """The rows from `start` to below `stop`."""
        return self._read(slice(start, stop))

    def read_rows(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, in the order asked for."""
        return self._read(rows)

    def _read(self, rows: slice | np.ndarray) -> np.ndarray:
        return np.concatenate(
            [joined.file.read_rows(joined.rows[rows]) for joined in self.files], axis=1
        )


def _require_different_recipes(files: list[FeatureFile]) -> None:
    path_of: dict[str, Path] = {}
    for file in files:
        recipe_id = file.contents.recipe.id
        if recipe_id in path_of:
            raise FeatureFileError(
                "Two of these files have the same recipe, so their features of an image are the "
                "same and add nothing. Expected files of different recipes: another backbone, "
                f"image size or layer. Received:\n  {path_of[recipe_id]}\n  {file.path}"
            )
        path_of[recipe_id] = file.path


def _number_images(files: list[FeatureFile]) -> list[np.ndarray]:
    """Of each file a number for each of its images; equal images have one, in whichever file."""
    digests = [file.contents.images.digests for file in files]
    found = np.unique(np.concatenate(digests).view("V32").ravel(), return_inverse=True)[1]
    return np.split(found.ravel(), np.cumsum([len(own) for own in digests])[:-1])


def _match_images(files: list[FeatureFile], numbers: list[np.ndarray]) -> list[np.ndarray]:
    """Of each file the rows of the images that all have, int64, in the order of the first.

    An image that a file has under several paths is taken under the path of the first file, where
    it has that.
    """
    is_common = np.ones(len(numbers[0]), bool)
    for own in numbers[1:]:
        is_common &= np.isin(numbers[0], own)
    if not is_common.any():
        listed = "".join(f"\n  {file.path}, made from {file.contents.data_root}" for file in files)
        raise FeatureFileError(
            "Not one image is in all of these files. Expected features of the same images. "
            f"Received:{listed}"
        )
    kept = np.flatnonzero(is_common)
    paths = [files[0].contents.images.paths[row] for row in kept.tolist()]
    return [
        kept,
        *(
            _find_rows(own, file.contents.images.paths, numbers[0][kept], paths)
            for file, own in zip(files[1:], numbers[1:], strict=True)
        ),
    ]


def _find_rows(
    numbers: np.ndarray, paths: list[str], wanted: np.ndarray, wanted_paths: list[str]
) -> np.ndarray:
    """The rows of a file with the numbers that are wanted, and with the paths where it has them."""
    known, firsts, n_copies = np.unique(numbers, return_index=True, return_counts=True)
    places = np.searchsorted(known, wanted)
    rows: np.ndarray = firsts[places]
    copied = np.flatnonzero(np.isin(numbers, known[n_copies > 1])).tolist()
    row_of = {(int(numbers[row]), paths[row]): row for row in copied}
    for place in np.flatnonzero(n_copies[places] > 1).tolist():
        rows[place] = row_of.get((int(wanted[place]), wanted_paths[place]), rows[place])
    return rows


def _require_agreement(files: list[FeatureFile], rows: list[np.ndarray]) -> None:
    """Raises a FeatureFileError with the first image of which two files say different things."""
    first = files[0]
    number_of = {name: number for number, name in enumerate(first.contents.class_names)}
    labels, splits = first.contents.labels[rows[0]], first.contents.splits[rows[0]]
    for file, own in zip(files[1:], rows[1:], strict=True):
        names = file.contents.class_names
        unknown = len(number_of)  # a class that the first file does not have
        numbers = np.array([*(number_of.get(name, unknown) for name in names), UNLABELLED])
        differ = numbers[file.contents.labels[own]] != labels
        differ |= file.contents.splits[own] != splits
        if differ.any():
            place = int(differ.argmax())
            raise FeatureFileError(
                "These feature files do not agree on all images. Expected each with one label and "
                "one split. Received: "
                f"{_describe_image(first, int(rows[0][place]))}, and "
                f"{_describe_image(file, int(own[place]))}; it is the first of "
                f"{count(int(differ.sum()), 'such image')}.\nIf the data set was changed, bring "
                "both up to date, which embeds nothing that is there: `frostline.extract(DATA)` "
                "with the backbone and the image size of each."
            )


def _describe_image(file: FeatureFile, row: int) -> str:
    contents = file.contents
    label, split = int(contents.labels[row]), int(contents.splits[row])
    said = "without a label" if label == UNLABELLED else f"of class {contents.class_names[label]!r}"
    given = "" if split == NO_SPLIT else f", in {SPLITS[split]}"
    return f"{contents.images.paths[row]} is {said}{given} in {file.path}"


def _join_probes(
    file: FeatureFile, rows: np.ndarray, numbers: np.ndarray, joined: np.ndarray
) -> JoinedFile:
    """Finds the joined rows of a file's probe images.

    Args:
        rows: of the file that are joined.
        numbers: of the file's images.
        joined: numbers of the joined images.
    """
    contents = file.contents
    wanted = numbers[contents.probe_rows]
    is_joined = np.isin(wanted, joined)
    if not is_joined.any():
        raise FeatureFileError(
            "Not one of this file's probe images, by which a run is checked before it is used, is "
            "in the other files. Expected files of the same images. Received: "
            f"{file.path}\nExtract all of them from the same data set."
        )
    known, firsts = np.unique(joined, return_index=True)
    places = firsts[np.searchsorted(known, wanted[is_joined])]
    return JoinedFile(file, rows, places, contents.probe_pixels[is_joined])


def _take_images(joined: JoinedFile) -> Contents:
    """The contents of the first file, of the joined images."""
    contents, rows = joined.file.contents, joined.rows
    return replace(
        contents,
        images=contents.images.at(rows),
        labels=contents.labels[rows],
        splits=contents.splits[rows],
        arrivals=contents.arrivals[rows],
        entries=_let_go(contents, rows),
        probe_rows=joined.probe_rows,
        probe_pixels=joined.probe_pixels,
    )


def _let_go(contents: Contents, rows: np.ndarray) -> Entries:
    """The entries where these rows alone are left; the others are gone."""
    entries, gone = contents.known_entries, contents.known_entries.gone
    is_left_out = np.ones(len(contents.images), bool)
    is_left_out[rows] = False
    others = np.flatnonzero(is_left_out & (entries.classes != NEVER))
    return Entries(
        entries.class_names,
        entries.classes[rows],
        entries.arrivals[rows],
        GoneImages(
            [*gone.paths, *(contents.images.paths[row] for row in others.tolist())],
            np.concatenate([gone.digests, contents.images.digests[others]]),
            np.concatenate([gone.classes, entries.classes[others]]),
            np.concatenate([gone.arrivals, entries.arrivals[others]]),
        ),
    )


def _describe_join(
    files: list[FeatureFile], numbers: list[np.ndarray], joined: np.ndarray
) -> list[str]:
    """How wide the rows are, and how many images of which file are left out."""
    widths = " + ".join(f"{file.n_features:,}" for file in files)
    n_features = sum(file.n_features for file in files)
    notes = [f"Joined: {count(len(joined), 'image')}, {widths} = {n_features:,} features."]
    for file, own in zip(files, numbers, strict=True):
        n_left_out = int(np.sum(~np.isin(own, joined)))
        if n_left_out:
            notes.append(
                f"Left out: {count(n_left_out, 'image')} of {file.path} that not all of the other "
                "files have."
            )
    return notes
