"""Logs a run to MLflow: settings, scores, history, pictures, and its model with a signature.

Everything goes explicitly to the address that was given, through a client of its own: what MLflow
takes for its own address, experiment or active run in this process is neither read nor changed,
and nothing is logged that is not named here. The run lies in its folder before any of that begins.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

from pipeline.errors import FrostlineError, MissingExtraError, ParameterError, TrackingError
from pipeline.runs.run_folder import Run, open_run
from pipeline.runs.tracking.facts import find_times, list_scores, list_settings, list_tags
from pipeline.runs.tracking.model_folder import MODEL, list_files_to_read, write_model
from pipeline.system.paths import as_path
from pipeline.system.progress import OnProgress

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

_SECONDS_TO_ANSWER = 10.0
_MOST_SETTINGS, _MOST_SCORES = 100, 1000  # in a request to MLflow's server


class Written(Protocol):
    """What a function gives that wrote a run: a dataclass with its folder, and a field `mlflow`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def folder(self) -> Path: ...


Result = TypeVar("Result", bound=Written)


@dataclass(frozen=True)
class MlflowRun:
    """Where a run was logged.

    Args:
        uri: of the tracking server or store, without a password.
        experiment: its name.
        run_id: of MLflow.
        model_id: likewise; `mlflow.pyfunc.load_model(f"models:/{model_id}")` loads the model.
    """

    uri: str
    experiment: str
    run_id: str
    model_id: str

    def describe(self) -> str:
        """In a line of words."""
        return (
            f"Logged to MLflow at {self.uri}, experiment {self.experiment}: run {self.run_id}, "
            f"model models:/{self.model_id}"
        )


def require_tracking(uri: str) -> None:
    """For whoever is about to work for hours and log the outcome.

    Raises:
        ParameterError: this is no address.
        MissingExtraError: MLflow is not installed.
        TrackingError: nobody answers there, or what answers is no MLflow.
    """
    with _named_errors(uri, "Nothing was done."):
        client = _open_client(uri)
        client.search_experiments(max_results=1)


def log_to_mlflow(
    run: Run | str | os.PathLike[str],
    uri: str,
    *,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> MlflowRun:
    """Logs a run that was written to MLflow, as a run of its own there.

    The experiment is what the environment variables MLFLOW_EXPERIMENT_ID or MLFLOW_EXPERIMENT_NAME
    say, as everywhere with MLflow, else one that is called like the data set.

    Args:
        run: a run or its folder.
        uri: of the tracking server, such as `http://localhost:5000`, or of a store.
        on_progress: called with a stage, the number done and the number to do.

    Returns:
        Where it was logged.

    Raises:
        ParameterError: this is no address.
        MissingExtraError: MLflow is not installed.
        RunError: there is no such run.
        TrackingError: it could not be logged; the run itself is as it was.
    """
    opened = run if isinstance(run, Run) else open_run(as_path(run, "run"))
    kept = (
        f"The run is whole, in {opened.folder}. To log it once that takes runs, in Python: "
        f"import frostline; frostline.log_to_mlflow({str(opened.folder)!r}, {hide_password(uri)!r})"
    )
    with _named_errors(uri, kept):
        client = _open_client(uri)
        experiment = _find_experiment(client, opened)
        return _log(client, uri, experiment, opened, on_progress)


def log_result(result: Result, uri: str, on_progress: OnProgress) -> Result:
    """`log_to_mlflow` of a run that was just written; gives the same result with `mlflow`.

    Raises:
        TrackingError: with `result`, since that is not lost.
    """
    try:
        logged = log_to_mlflow(result.folder, uri, on_progress=on_progress)
    except TrackingError as error:
        error.result = result
        raise
    return replace(result, mlflow=logged)


def _open_client(uri: str) -> "MlflowClient":
    """A client of the address, where somebody answers."""
    if not isinstance(uri, str) or not uri.strip():
        raise ParameterError(
            "Expected `mlflow` to be the address of a tracking server, such as "
            f"http://localhost:5000, or of a store. Received: {uri!r}",
            "mlflow",
        )
    try:
        from mlflow import MlflowClient
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Logging to MLflow needs its package. Expected: an installation with it. Received: "
            f"`mlflow={hide_password(uri)}`, and no {error.name}\nRun: pip install '.[mlflow]' in "
            "Frostline's folder, or leave `mlflow` out."
        ) from error
    _require_answer(uri)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _require_answer(uri: str) -> None:
    """Asks a server once: MLflow itself would ask one that is not there for some minutes.

    Any answer will do, a refusal or a certificate that is not trusted, too; what to make of it
    MLflow knows better.
    """
    import requests

    if urlsplit(uri).scheme not in ("http", "https"):
        return
    try:
        requests.head(uri, timeout=_SECONDS_TO_ANSWER, allow_redirects=False)
    except requests.exceptions.SSLError:
        return
    except requests.RequestException as error:
        raise TrackingError(f"nobody answers ({type(error).__name__})") from error


def _find_experiment(client: "MlflowClient", run: Run) -> "Experiment":
    """The one that the environment names, else the data set's; made where there is none."""
    from mlflow.environment_variables import MLFLOW_EXPERIMENT_ID, MLFLOW_EXPERIMENT_NAME

    if number := MLFLOW_EXPERIMENT_ID.get():
        return client.get_experiment(number)
    manifest = run.manifest
    data_name = manifest.data_name or Path(manifest.data_root).name
    name = MLFLOW_EXPERIMENT_NAME.get() or data_name
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.get_experiment(client.create_experiment(name))
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"its experiment {name} was deleted: restore it, or name another one in the "
            "environment variable MLFLOW_EXPERIMENT_NAME"
        )
    return found


def _log(
    client: "MlflowClient",
    uri: str,
    experiment: "Experiment",
    run: Run,
    on_progress: OnProgress,
) -> MlflowRun:
    started, _ = find_times(run.manifest)
    run_id = client.create_run(
        experiment.experiment_id, start_time=started, tags=list_tags(run), run_name=run.name
    ).info.run_id
    steps = (_log_numbers, _log_files, _log_model)
    results: list[Any] = []
    try:
        for done, step in enumerate(steps):
            on_progress("Logging to MLflow", done, len(steps))
            results.append(step(client, run_id, run))
    except BaseException:
        _mark_failed(client, uri, run_id)
        raise
    _end(client, run_id, "FINISHED")
    on_progress("Logging to MLflow", len(steps), len(steps))
    return MlflowRun(hide_password(uri), experiment.name, run_id, results[-1])


def _mark_failed(client: "MlflowClient", uri: str, run_id: str) -> None:
    """Where the server is still there."""
    from mlflow.exceptions import MlflowException

    try:
        _require_answer(uri)
        _end(client, run_id, "FAILED")
    except (TrackingError, MlflowException):
        return  # what made it fail is told


def _end(client: "MlflowClient", run_id: str, status: str) -> None:
    """Ends MLflow's run, of which MLflow would print links to stdout, where results go."""
    from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT as WITHOUT_LINKS

    before = os.environ.get(WITHOUT_LINKS.name)
    os.environ[WITHOUT_LINKS.name] = "true"
    try:
        client.set_terminated(run_id, status)
    finally:
        del os.environ[WITHOUT_LINKS.name]
        if before is not None:
            os.environ[WITHOUT_LINKS.name] = before


def _log_numbers(client: "MlflowClient", run_id: str, run: Run) -> None:
    from mlflow.entities import Metric, Param

    _, when = find_times(run.manifest)
    settings = [Param(name, value) for name, value in list_settings(run).items()]
    for start in range(0, len(settings), _MOST_SETTINGS):
        client.log_batch(run_id, params=settings[start : start + _MOST_SETTINGS])
    scores = [Metric(name, value, when, step) for name, value, step in list_scores(run)]
    for start in range(0, len(scores), _MOST_SCORES):
        client.log_batch(run_id, metrics=scores[start : start + _MOST_SCORES])


def _log_files(client: "MlflowClient", run_id: str, run: Run) -> None:
    for path in list_files_to_read(run.folder):
        if path.is_dir():
            client.log_artifacts(run_id, str(path), path.name)
        else:
            client.log_artifact(run_id, str(path))


def _log_model(client: "MlflowClient", run_id: str, run: Run) -> str:
    """Uploads the model; gives its id."""
    from mlflow.entities import LoggedModelOutput

    experiment_id = client.get_run(run_id).info.experiment_id
    model_id: str = client.create_logged_model(
        experiment_id, name=MODEL, source_run_id=run_id, model_type="image classifier"
    ).model_id
    with TemporaryDirectory(prefix="frostline-") as temporary:
        folder = Path(temporary) / MODEL
        write_model(folder, run, run_id=run_id, model_id=model_id)
        client.log_model_artifacts(model_id, str(folder))
    client.finalize_logged_model(model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    return model_id


def hide_password(uri: str) -> str:
    """An address as it may be shown."""
    parts = urlsplit(uri)
    place = parts.netloc.rpartition("@")[2]
    return uri if place == parts.netloc else urlunsplit(parts._replace(netloc=place))


@contextmanager
def _named_errors(uri: str, kept: str) -> Iterator[None]:
    """For all that goes to MLflow.

    Args:
        kept: what has become of the work.
    """
    try:
        yield
    except TrackingError as error:
        raise TrackingError(_describe(uri, str(error), kept)) from error
    except FrostlineError:
        raise
    except (OSError, ImportError) as error:
        raise TrackingError(_describe(uri, _say(error), kept)) from error
    except Exception as error:
        from mlflow.exceptions import MlflowException

        if not isinstance(error, MlflowException):
            raise
        raise TrackingError(_describe(uri, _say(error), kept)) from error


def _describe(uri: str, why: str, kept: str) -> str:
    return (
        f"This cannot be logged to MLflow: {why}. Expected a tracking server or store that takes "
        f"runs. Received: `mlflow={hide_password(uri)}`\n{kept}"
    )


def _say(error: Exception) -> str:
    """In one line that is not too long, without where on the web there is more."""
    words = (str(error).strip() or type(error).__name__).split("\n")[0]
    return words.partition(" See http")[0][:300].rstrip(". ")
