"""Serves a run over HTTP until told to end: what is begun is finished then, and nothing new taken.

The model is loaded while the packages for HTTP are imported, and uvicorn runs in a thread of its
own, so that this one hears of signals as any command does.
"""

import importlib.util
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.backbones.engines.device import require_device_name
from pipeline.classifier.load import load_run, open_either
from pipeline.classifier.serving.current_model import CurrentModel
from pipeline.classifier.serving.listening import describe_reach, listen, make_url
from pipeline.classifier.serving.options import ServeOptions
from pipeline.errors import MissingExtraError
from pipeline.images.decoding.read_images import make_limits
from pipeline.runs.run_folder import Run

if TYPE_CHECKING:
    import uvicorn

    from pipeline.classifier.serving.service import Service

_PACKAGES = ("fastapi", "uvicorn", "httptools", "python_multipart", "prometheus_client")
_LOOK_SECONDS = 0.01

OnNote = Callable[[str], None]


@dataclass(frozen=True)
class RunningService:
    """A service that answers.

    Args:
        url: where, such as `http://127.0.0.1:8000`.
        service: what classifies.
        server: what listens; it runs in `thread`.
    """

    url: str
    service: "Service"
    server: "uvicorn.Server"
    thread: threading.Thread

    def wait(self) -> None:
        """Until it ends, or until this thread is told to."""
        self.thread.join()


def serve(
    run: Run | str | os.PathLike[str],
    *,
    host: str = ServeOptions.host,
    port: int = ServeOptions.port,
    queue: int = ServeOptions.queue,
    request_bytes: int = ServeOptions.request_bytes,
    request_seconds: float = ServeOptions.request_seconds,
    max_pixels: int | None = None,
    max_bytes: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    engine: str | None = None,
    network_store: bool = True,
    is_alone: bool = False,
    on_note: OnNote = lambda note: None,
    on_request: OnNote = lambda line: None,
) -> None:
    """Answers over HTTP what a run's model says of images, until Ctrl-C or SIGTERM.

    `POST /predict` takes images, `GET /` is a page for people; docs/serving.md has the rest.
    Another run that takes this one's place on the disk is taken up without a lost request.

    Args:
        run: a run or its folder.
        host, port, queue, request_bytes, request_seconds: as in `ServeOptions`.
        max_pixels, max_bytes: what an image may be at most, None for the defaults.
        weights, device, engine, network_store, is_alone: as for `frostline.load`.
        on_note: called with what people should know, from several threads.
        on_request: called with a line for each request that is over, likewise.

    Raises:
        ParameterError: an option makes no sense.
        MissingExtraError: FastAPI and what it needs are not installed.
        ServiceError: it cannot listen there.
        RunError, ParityError, WeightsError, DeviceError, EngineError: there is no model to use.
    """
    options = ServeOptions(host, port, queue, request_bytes, request_seconds)
    how = {
        "weights": weights,
        "device": device,
        "engine": engine,
        "network_store": network_store,
        "is_alone": is_alone,
    }
    image = {"max_pixels": max_pixels, "max_bytes": max_bytes}
    with (
        suppress(KeyboardInterrupt),
        run_service(run, options, how, image, on_note, on_request) as running,
    ):
        try:
            running.wait()
        finally:
            on_note("Ending: what has begun is finished, and nothing new is taken.")


@contextmanager
def run_service(
    run: Run | str | os.PathLike[str],
    options: ServeOptions,
    how: dict[str, Any],
    image: dict[str, int | None],
    on_note: OnNote = lambda note: None,
    on_request: OnNote = lambda line: None,
) -> Iterator[RunningService]:
    """A service for as long as the context is; see `serve`.

    Args:
        how: to load the run, as for `load_run`.
        image: its limits, as for `make_limits`.
    """
    options.check()
    limits = make_limits(**image)
    require_device_name(how.get("device", "auto"))
    _require_packages()
    opened, _ = open_either(run)
    folder = opened.folder.absolute()  # not resolved: a link may be made to lead to another run
    with listen(options.host, options.port) as listener:
        from pipeline.classifier.serving.service import Service

        current = CurrentModel(folder, partial(load_run, folder, **how), on_note)
        service = Service(current, limits, options.queue)
        loading = _begin(service)
        server = _make_server(service, options, on_note, on_request)
        thread = threading.Thread(
            target=server.run, args=([listener],), daemon=True, name="frostline-serve"
        )
        thread.start()
        try:
            while not loading.done() and thread.is_alive():
                time.sleep(_LOOK_SECONDS)
            model = loading.result()
            for note in model.notes:
                on_note(note)
            url = make_url(listener)
            on_note(f"Serving {opened.name} at {url}")
            on_note(describe_reach(listener))
            yield RunningService(url, service, server, thread)
        finally:
            server.should_exit = True
            thread.join()
            if loading.done():  # else nobody waits for it, and nothing was begun
                service.end()


def _begin(service: "Service") -> "Future[Any]":
    """Begins in a thread."""
    loading: Future[Any] = Future()

    def begin() -> None:
        try:
            loading.set_result(service.begin())
        except BaseException as error:
            loading.set_exception(error)

    threading.Thread(target=begin, daemon=True, name="frostline-load").start()
    return loading


def _make_server(
    service: "Service", options: ServeOptions, on_note: OnNote, on_request: OnNote
) -> "uvicorn.Server":
    from pipeline.classifier.serving.app import Door, make_app
    from pipeline.classifier.serving.connections import Connections, make_server

    app = make_app(service, options.request_bytes, options.request_seconds)
    door = Door(app, service, Connections(), on_note, on_request)
    return make_server(door, grace_seconds=math.ceil(options.request_seconds) + 1)


def _require_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            "To serve a run takes packages of its own. Expected: FastAPI, uvicorn, httptools, "
            f"python-multipart and prometheus-client. Received: no {', '.join(missing)}\n"
            "Run: pip install '.[serve]' in Frostline's folder."
        )
