"""A run as MLflow loads it: a table of image files in, a table of probabilities out."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.classifier.load import load_run
from pipeline.classifier.model import Classifier
from pipeline.classifier.prediction import Prediction
from pipeline.errors import ImageError
from pipeline.runs.tracking.model_folder import INPUT, name_columns
from pipeline.system.printable import count

if TYPE_CHECKING:
    import pandas as pd


class RunAsPyfunc:
    """What `mlflow.pyfunc.load_model` wraps."""

    def __init__(self, classifier: Classifier):
        self._classifier = classifier

    def predict(self, images: "pd.DataFrame", params: dict[str, Any] | None = None) -> Any:
        """Classifies images.

        Args:
            images: a row for each, in the column `image` the bytes of its file (in a request to a
                server of MLflow's as base64).
            params: of MLflow; there are none.

        Returns:
            A row for each, with the same index: in a column for each class its probability,
            float32; of a run that makes a promise `answer`, too, a class or the reason for none.

        Raises:
            ImageError: an image cannot be used. Leave it out and ask again.
        """
        import pandas as pd

        predictions = self._classifier.predict([bytes(data) for data in images[INPUT]])
        _require_all_usable(predictions)
        names, run = name_columns(self._classifier.run), self._classifier.run
        n_classes = len(run.class_names)
        rows = [one.probabilities for one in predictions]
        table = pd.DataFrame(
            np.array(rows, np.float32).reshape(-1, n_classes),
            index=images.index,
            columns=names[:n_classes],
        )
        for name in names[n_classes:]:
            table[name] = [one.answer or one.no_answer for one in predictions]
        return table


def load_pyfunc(folder: str) -> RunAsPyfunc:
    """What MLflow calls for a model whose `loader_module` is `frostline`."""
    return RunAsPyfunc(load_run(folder))


def _require_all_usable(predictions: list[Prediction]) -> None:
    bad = [place for place, one in enumerate(predictions) if one.reason is not None]
    if bad:
        raise ImageError(
            f"{len(bad):,} of {count(len(predictions), 'image')} cannot be used. The first, in row "
            f"{bad[0]} (from 0): {predictions[bad[0]].reason}. Leave them out."
        )
