"""The features that a run's images have in the feature files that it was made from."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import FeatureFileError, RunError
from pipeline.features.feature_file import FeatureFile
from pipeline.report.gathering.scored_run import ScoredRun
from pipeline.runs.manifest import UsedBackbone
from pipeline.runs.run_folder import Run, open_run
from pipeline.system.printable import count, printable

_ROWS_PER_BLOCK = 4096


@dataclass(frozen=True)
class RunFeatures:
    """Feature files open for reading, and where in them the images of a run are.

    Args:
        files: whose features stand side by side.
        rows: int64 `(n_files, n_images)`, -1 for an image that a file does not have.
        means: of each file, float32 `(n_features,)`, of the images of the run.
    """

    files: list[FeatureFile]
    rows: np.ndarray
    means: list[np.ndarray]

    @property
    def known(self) -> np.ndarray:
        """The images of the run that have features, int64, in order."""
        found: np.ndarray = np.flatnonzero((self.rows >= 0).all(axis=0))
        return found

    def read(self, images: np.ndarray) -> np.ndarray:
        """Features of images that have some, float32 `(n, n_features)`, each row of length 1.

        They are centred first: what all images have in common would else make every two of them
        alike. Of several files each one's rows have the same length, so that none outweighs
        another.
        """
        parts = [
            _to_length_1(file.read_rows(rows[images]) - mean)
            for file, rows, mean in zip(self.files, self.rows, self.means, strict=True)
        ]
        return np.concatenate(parts, axis=1) / np.float32(np.sqrt(len(parts)))


@contextmanager
def open_run_features(scored: ScoredRun) -> Iterator[tuple[RunFeatures | None, list[str]]]:
    """Gives the features of a run's images, and what is to be said of them.

    The features of a fine-tuned run are those of the frozen backbone that it was made from.
    None where they are gone; then the sentences say why.
    """
    with ExitStack() as opened:
        try:
            found, notes = _open(scored, opened)
        except (FeatureFileError, RunError) as error:
            reason = str(error).split("\n", 1)[0]
            found, notes = None, [f"{_lack(scored.run)} {reason}"]
        yield found, notes


def find_feature_parts(run: Run) -> tuple[Run, list[UsedBackbone]]:
    """The run with the head on features, and the backbones of its feature files.

    Raises:
        RunError: it is the parent of a fine-tuned run, and cannot be read.
    """
    tuned = run.manifest.finetuning
    if tuned is None:
        return run, run.manifest.backbones
    return find_feature_parts(open_run(tuned.parent))


def _open(scored: ScoredRun, opened: ExitStack) -> tuple[RunFeatures | None, list[str]]:
    _, backbones = find_feature_parts(scored.run)
    files = []
    for used in backbones:
        if used.features is None:
            return None, [f"{_lack(scored.run)} It does not say of which file they were."]
        path = Path(used.features.features_file)
        file = opened.enter_context(FeatureFile(path))
        if file.contents.recipe.id != (used.recipe_id or used.recipe.id):
            return None, [
                f"{_lack(scored.run)} {printable(str(path))} holds features of another recipe now."
            ]
        files.append(file)
    rows = np.stack([_find_rows(file, scored) for file in files])
    known = np.flatnonzero((rows >= 0).all(axis=0))
    n_gone = len(scored.paths) - len(known)
    if not len(known):
        return None, [f"{_lack(scored.run)} Its images are not in the feature file any more."]
    notes = []
    if n_gone:
        notes.append(
            f"{printable(scored.run.name)}: {count(n_gone, 'image')} not in the feature file any "
            "more, so not on the map and no neighbour of others."
        )
    means = [_find_mean(file, own[known]) for file, own in zip(files, rows, strict=True)]
    return RunFeatures(files, rows, means), notes


def _lack(run: Run) -> str:
    return f"{printable(run.name)}: the features are gone, so there are no neighbours and no map."


def _find_rows(file: FeatureFile, scored: ScoredRun) -> np.ndarray:
    """By digest and path, or of an image under another name by the digest alone."""
    images = file.contents.images
    if scored.digests is None:
        row_of_path = {path: row for row, path in enumerate(images.paths)}
        return np.array([row_of_path.get(path, -1) for path in scored.paths], np.int64)
    digests = [digest.tobytes() for digest in images.digests]
    row_of = {digest: row for row, digest in reversed(list(enumerate(digests)))}
    exact = {both: row for row, both in enumerate(zip(digests, images.paths, strict=True))}
    wanted = zip((digest.tobytes() for digest in scored.digests), scored.paths, strict=True)
    return np.array([exact.get(one, row_of.get(one[0], -1)) for one in wanted], np.int64)


def _find_mean(file: FeatureFile, rows: np.ndarray) -> np.ndarray:
    total = np.zeros(file.n_features)
    for start in range(0, len(rows), _ROWS_PER_BLOCK):
        total += file.read_rows(rows[start : start + _ROWS_PER_BLOCK]).sum(axis=0, dtype=np.float64)
    return (total / len(rows)).astype(np.float32)


def _to_length_1(features: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    shortened: np.ndarray = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    return shortened
