"""A run as a model of MLflow's `pyfunc` flavour: what is in it, what goes in and what comes out.

The model's files are those of the run that its answers need. `loader_module` is `frostline`, whose
`_load_pyfunc` loads them as `frostline.load` loads a run; so nothing in it is a pickle, and the
environment that loads it has Frostline. Weights of a frozen backbone stay where they came from, as
for any run.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipeline.runs.records import read_probes
from pipeline.runs.run_folder import Run

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

MODEL = "model"
LOADER = "frostline"
INPUT, ANSWER = "image", "answer"

# Beside plots these are for people; and for programs that ask what a run said of its own images.
_SUFFIXES_TO_READ = (".csv", ".joblib", ".html")
_ALWAYS_READ = ("manifest.json", "classes.json", "plots")
_OF_THE_RUN_ALONE = ("predictions.npz", "out-of-fold.npz", "digests.npy", "parity.json")


def list_files_to_read(folder: Path) -> list[Path]:
    """What people look at beside the scores: tables, plots, the manifest."""
    return sorted(
        path for path in folder.iterdir() if path.name in _ALWAYS_READ or path.suffix == ".csv"
    )


def write_model(folder: Path, run: Run, *, run_id: str, model_id: str) -> None:
    """Writes the model's folder, as `mlflow.pyfunc.load_model` takes it.

    Args:
        folder: a new one.
        run_id, model_id: of MLflow.
    """
    from mlflow import pyfunc
    from mlflow.models import Model

    with TemporaryDirectory(prefix="frostline-") as temporary, _without_talk():
        data = Path(temporary) / "run"
        data.mkdir()
        for path in _list_files_of_model(run.folder):
            (data / path.name).symlink_to(path.resolve())
        pyfunc.save_model(
            folder,
            loader_module=LOADER,
            data_path=str(data),
            mlflow_model=Model(artifact_path=MODEL, run_id=run_id, model_id=model_id),
            signature=_describe_signature(run),
            input_example=_make_example(run),
            pip_requirements=[f"{name}=={version(name)}" for name in ("frostline", "pandas")],
            metadata={"frostline_kind": run.kind, "weights_source": run.manifest.weights_source},
        )


def name_columns(run: Run) -> list[str]:
    """Of the answers: the probability of each class, and for a run that makes a promise what it
    answers, a class or the reason why it answers none.
    """
    answer = ANSWER
    while answer in run.class_names:
        answer += "_"
    return [*run.class_names, *([] if run.manifest.promise is None else [answer])]


def _list_files_of_model(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.iterdir()
        if path.is_file()
        and path.suffix not in _SUFFIXES_TO_READ
        and path.name not in _OF_THE_RUN_ALONE
    ]


@contextmanager
def _without_talk() -> Iterator[None]:
    """MLflow says on stderr that it looks at the example."""
    logger = logging.getLogger("mlflow.pyfunc")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def _make_example(run: Run) -> "pd.DataFrame":
    """One of the run's probe images, as a file."""
    import pandas as pd
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(read_probes(run).pixels[0]).save(buffer, format="PNG")
    return pd.DataFrame({INPUT: [buffer.getvalue()]})


def _describe_signature(run: Run) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    n_classes = len(run.class_names)
    outputs = [
        ColSpec(DataType.float if place < n_classes else DataType.string, name)
        for place, name in enumerate(name_columns(run))
    ]
    return ModelSignature(Schema([ColSpec(DataType.binary, INPUT)]), Schema(outputs))
