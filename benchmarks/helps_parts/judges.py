"""Networks of any weights before the images of validation and test, and their scores there."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

import frostline
from benchmarks.helps_parts.weights import Weights
from pipeline.backbones.build import build_untrained
from pipeline.backbones.frost_lines import split_at
from pipeline.backbones.registry import get_backbone
from pipeline.finetuning.judge_epochs import beats, score
from pipeline.finetuning.pixels import PixelStore
from pipeline.images.splits import TEST, VAL
from pipeline.runs.calibration import apply_temperature
from pipeline.runs.images_of_run import locate_images
from pipeline.runs.predictions import read_predictions
from pipeline.runs.scores import mean_log_loss
from pipeline.system.keras_on_tensorflow import keras

_BATCH = 50
ROLES = ((VAL, TEST), (TEST, VAL))  # (chooses, scores)

# (side in pixels, whether mirrored)
View = tuple[int, bool]


@dataclass(frozen=True)
class Score:
    """Means over both halves, each scored by what the other one chose.

    Args:
        val_acc: of what was chosen, where it was chosen.
        chosen: place among the candidates, for each half.
    """

    val_acc: float
    test_acc: float
    test_logloss: float
    chosen: list[int]


class Judges:
    """The validation and test images of a run, and its network, whatever its weights are.

    What lies below a frost line is computed once for each view of the images.
    """

    def __init__(self, folder: Path):
        run = frostline.open_run(folder)
        before = read_predictions(run)
        rows = np.flatnonzero(before.splits != 0)
        self.labels, self.splits = before.labels[rows], before.splits[rows]
        self.size = run.recipe.image_size
        self._recipe = run.recipe
        paths = locate_images(Path(run.manifest.data_root), before.paths)
        self._paths = [paths[row] for row in rows]
        self._models = {self.size: frostline.load(folder).keras_model()}
        self._frozen = dict(enumerate(self._models[self.size].get_weights()))
        self._below: dict[tuple[str, View], np.ndarray] = {}
        self._tops: dict[tuple[str, int], Callable[[tf.Tensor], tf.Tensor]] = {}

    def ask(self, line: str, weights: Weights, view: View | None = None) -> np.ndarray:
        """Probabilities (n_images, n_classes) of the network with these weights above a line."""
        side, is_mirrored = view or (self.size, False)
        if (line, side) not in self._tops:
            self._split(line, side)
        self._model(side).set_weights(list({**self._frozen, **weights}.values()))
        top, below = self._tops[line, side], self._below[line, (side, is_mirrored)]
        batches = np.array_split(below, -(-len(below) // _BATCH))
        return np.concatenate([top(tf.constant(batch)).numpy() for batch in batches])

    def _model(self, side: int) -> keras.Model:
        """From pixels to probabilities; those of another size share the head."""
        if side not in self._models:
            own = self._models[self.size]
            backbone = build_untrained(get_backbone(self._recipe.backbone), side)
            backbone.set_weights(own.get_layer("backbone").get_weights())
            image = keras.Input((side, side, 3))
            pixels = own.get_layer("preprocessing")(image)
            self._models[side] = keras.Model(image, own.get_layer("head")(backbone(pixels)))
        return self._models[side]

    def _split(self, line: str, side: int) -> None:
        model = self._model(side)
        model.set_weights(list(self._frozen.values()))
        trunk, top = split_at(model.get_layer("backbone"), line)
        head, before = model.get_layer("head"), model.get_layer("preprocessing")
        self._tops[line, side] = tf.function(lambda rows: head(top(rows, training=False)))
        below = tf.function(lambda pixels: trunk(before(pixels), training=False))
        recipe = replace(self._recipe, image_size=side)
        pixels = PixelStore(self._paths, recipe).read(np.arange(len(self._paths)))
        for is_mirrored in (False, True):
            seen = pixels[:, :, ::-1] if is_mirrored else pixels
            batches = np.array_split(seen.astype(np.float32), -(-len(seen) // _BATCH))
            self._below[line, (side, is_mirrored)] = np.concatenate(
                [below(tf.constant(batch)).numpy() for batch in batches]
            )

    def fill(self, weights: Weights, places: set[int]) -> Weights:
        """Weights for more places, the frozen ones where there are no others."""
        return {place: weights.get(place, self._frozen[place]) for place in sorted(places)}

    def loss(self, probabilities: np.ndarray, rows: np.ndarray) -> float:
        """Calibrated log-loss on some of the images."""
        return score(self.labels[rows], probabilities[rows]).calibrated_loss

    def score(self, candidates_for: Callable[[int], list[np.ndarray]]) -> Score:
        """Chooses and scores, twice.

        Args:
            candidates_for: probabilities of all candidates, the frozen head's first, of which the
                given split chooses; where there is one alone, nothing is chosen.
        """
        found = []
        for chooser, scorer in ROLES:
            candidates = candidates_for(chooser)
            chosen = choose(candidates, self.labels, self.splits == chooser)
            rows, others = self.splits == chooser, self.splits == scorer
            here = score(self.labels[rows], candidates[chosen][rows])
            there = apply_temperature(candidates[chosen][others], here.temperature)
            is_right = there.argmax(axis=1) == self.labels[others]
            loss = mean_log_loss(self.labels[others], there)
            found.append((here.accuracy, float(is_right.mean()), loss, chosen))
        val_acc, test_acc, test_logloss, _ = np.mean(found, axis=0)
        return Score(val_acc, test_acc, test_logloss, [int(one[-1]) for one in found])


def choose(candidates: list[np.ndarray], labels: np.ndarray, rows: np.ndarray) -> int:
    """The place of the candidate that `finetune` would keep; 0 is the frozen head."""
    scores = [score(labels[rows], candidate[rows]) for candidate in candidates]
    best = 0
    for place, one in enumerate(scores[1:], 1):
        is_better = beats(one.accuracy, one.calibrated_loss, scores[0])
        if is_better and one.calibrated_loss < scores[best].calibrated_loss:
            best = place
    return best
