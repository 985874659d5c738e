"""The boosting head: scikit-learn's histogram gradient boosting, trees on raw features.

It is kept by skops, which writes no pickle, and is loaded with nothing but the types that
scikit-learn's boosting is made of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import HeadError, RunError
from pipeline.heads.estimators.train_rows import RowsInMemory, read_rows
from pipeline.heads.head import ChosenHead, FeatureArray, TrainingRows, require_width
from pipeline.heads.options import BoostingOptions
from pipeline.system.progress import OnProgress

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

    from pipeline.system.keras_on_tensorflow import keras

FILE = "head.skops"
MOST_ITERATIONS = 100
_PATIENCE = 10
_LEAVES_AT_LEAST = 20  # so many a tree may have, however few images there are
# What a saved head consists of besides what skops trusts by itself.
TRUSTED_TYPES = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]


@dataclass(frozen=True)
class BoostingHead:
    """Trees.

    Args:
        model: fitted on labels from 0 without a gap.
    """

    model: "HistGradientBoostingClassifier"

    def predict_proba(self, features: FeatureArray) -> np.ndarray:
        """Float32 probabilities `(n_samples, n_classes)`.

        Raises:
            ParameterError: the features are not as wide as the head's.
        """
        n_features = self.model.n_features_in_
        require_width(features, n_features)
        found: np.ndarray = self.model.predict_proba(np.asarray(features[:], np.float32))
        return found.astype(np.float32)

    def save(self, folder: Path) -> None:
        """Writes `head.skops`."""
        from skops.io import dump

        dump(self.model, folder / FILE)

    def to_keras(self) -> "keras.Layer":
        raise HeadError(
            "trees have no weights that training could improve and pass no gradient on to the "
            "backbone. Fit a linear head, such as `head='ridge'`, and fine-tune that."
        )


def fit_boosting(
    rows: TrainingRows, options: BoostingOptions, *, seed: int, on_progress: OnProgress
) -> ChosenHead:
    """Fits the boosting head of the registry; see `FitHead`."""
    is_open = options.iterations is None
    known = read_rows(rows, options.class_weight, needs_val=is_open, on_progress=on_progress)
    on_progress("Fitting", 0, 1)
    model = _fit(known, options, seed)
    on_progress("Fitting", 1, 1)
    n_iterations = options.iterations
    history: list[dict[str, Any]] = []
    if n_iterations is None:
        losses = -model.validation_score_[1:]
        n_iterations = int(losses.argmin()) + 1
        history = _describe(model)
        model = _fit(known, BoostingOptions(**{**vars(options), "iterations": n_iterations}), seed)
    return ChosenHead(
        head=BoostingHead(model),
        chosen=f"{n_iterations:,} iterations",
        chosen_by="val" if is_open else "user",
        history=history,
        x="iterations",
        best=n_iterations,
        settled={"iterations": n_iterations},
    )


def _fit(
    known: RowsInMemory, options: BoostingOptions, seed: int
) -> "HistGradientBoostingClassifier":
    """With validation rows it stops where they find it no better; else after so many iterations."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    is_open = options.iterations is None
    model = HistGradientBoostingClassifier(
        learning_rate=options.learning_rate,
        max_iter=MOST_ITERATIONS if options.iterations is None else options.iterations,
        # scikit-learn's 20 leave no room for a split where images are few.
        min_samples_leaf=known.n_views * max(1, min(20, known.n_images // _LEAVES_AT_LEAST)),
        class_weight=known.weight_of_class,
        early_stopping=is_open,
        n_iter_no_change=_PATIENCE,
        scoring="loss",
        tol=0,
        random_state=seed,
    )
    val = {"X_val": known.val, "y_val": known.val_labels} if is_open else {}
    return model.fit(known.train, known.labels, **val)


def _describe(model: "HistGradientBoostingClassifier") -> list[dict[str, Any]]:
    """A record for each iteration; its losses weigh the classes as training did."""
    return [
        {
            "iterations": number,
            **{"train_loss": -train, "train_accuracy": None},
            **{"val_loss": -val, "val_accuracy": None},
        }
        for number, (train, val) in enumerate(
            zip(model.train_score_[1:].tolist(), model.validation_score_[1:].tolist(), strict=True),
            start=1,
        )
    ]


def load_boosting(folder: Path, class_names: Sequence[str]) -> BoostingHead:
    """Reads the boosting head of a run.

    Raises:
        RunError: the file is missing, damaged, holds something else than such a head, or is of
            another number of classes.
    """
    from skops.io import load

    path = folder / FILE
    try:
        model = load(path, trusted=TRUSTED_TYPES)
        _require_boosting(model, len(class_names))
    except Exception as error:
        # A damaged file fails in any way that reading zip, JSON and arrays can.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise RunError(
            f"{path} is damaged or no boosting head. Expected: scikit-learn's histogram gradient "
            f"boosting of {len(class_names)} classes, made of no other types. Received: "
            f"{reason[0][:200]}. Fit the head again"
        ) from error
    return BoostingHead(model)


def _require_boosting(model: Any, n_classes: int) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    if not isinstance(model, HistGradientBoostingClassifier):
        raise TypeError(f"a {type(model).__name__}")
    if list(model.classes_) != list(range(n_classes)):
        raise ValueError(f"a head of {len(model.classes_)} classes")
