"""The service as an ASGI application: its addresses, and what is said and counted of each request.

No page of it fetches anything from elsewhere, so FastAPI's own pages of docs, which would, are left
out: `/docs` draws `/openapi.json` by itself.
"""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from typing import Any, cast

from fastapi import FastAPI, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.classifier.prediction import Prediction, prediction_to_json
from pipeline.classifier.serving.api_words import (
    ABOUT,
    HEALTH_ANSWERS,
    METRICS_ANSWERS,
    PREDICT_ANSWERS,
    PREDICT_BODY,
    SUMMARIES,
    WHOLE_EXAMPLES,
)
from pipeline.classifier.serving.connections import Connections
from pipeline.classifier.serving.jobs import RefusedError, Upload
from pipeline.classifier.serving.service import Service
from pipeline.classifier.serving.uploads import SILENT_SECONDS, Receiver
from pipeline.errors import FrostlineError
from pipeline.runs.run_folder import describe_software
from pipeline.system.printable import count, printable, to_json, without_nan

_PAGES = {  # what the browser gets: the package, the file in it, and its kind
    "/": ("pipeline.classifier.serving", "page/index.html", "text/html"),
    "/docs": ("pipeline.classifier.serving", "page/docs.html", "text/html"),
    "/base.css": ("pipeline.report", "templates/styles/base.css", "text/css"),
    "/page.css": ("pipeline.classifier.serving", "page/page.css", "text/css"),
    "/page.js": ("pipeline.classifier.serving", "page/page.js", "text/javascript"),
    "/docs.js": ("pipeline.classifier.serving", "page/docs.js", "text/javascript"),
}
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}
_GONE = 499  # as nginx calls it: whoever asked waits no more
_COUNTED = frozenset({*_PAGES, "/predict", "/health", "/metrics", "/openapi.json"})


class Door:
    """What all requests go through: each is timed, counted and said.

    Args:
        app: that answers them.
        service: that counts them.
        connections: they come by.
        on_note: called with what went wrong unexpectedly.
        on_request: called with a line for each.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: Service,
        connections: Connections,
        on_note: Callable[[str], None],
        on_request: Callable[[str], None],
    ) -> None:
        self.connections = connections
        self._app = app
        self._service = service
        self._on_note = on_note
        self._on_request = on_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500
        scope["state"] = {"said": ""}

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.connections.begin_request(scope["client"])
        try:
            await self._app(scope, receive, note_status)
        except Exception as error:  # it was answered already, with status 500
            self._on_note("".join(traceback.format_exception(error)))
        finally:
            self.connections.end_request(scope["client"])
            self._note(scope, status, time.perf_counter() - start)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"]
        self._service.metrics.count_request(path if path in _COUNTED else "other", status, seconds)
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        client = scope["client"][0] if scope["client"] else "-"
        said = scope["state"]["said"]
        self._on_request(
            printable(
                f"{moment} {client} {scope['method']} {path} {status} {1000 * seconds:.1f} ms"
                f"{said and ', '}{said}"
            )
        )


def make_app(
    service: Service,
    request_bytes: int,
    request_seconds: float,
    silent_seconds: float = SILENT_SECONDS,
) -> FastAPI:
    """The application.

    Args:
        service: that classifies.
        request_bytes, request_seconds: what a request may take at most.
        silent_seconds: that whoever sends one may be silent.
    """
    app = FastAPI(**ABOUT, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(RefusedError, _answer_refused)
    app.add_exception_handler(FrostlineError, _answer_failed)
    app.add_exception_handler(Exception, _answer_surprised)
    receiver = Receiver(service, request_bytes, silent_seconds)

    @app.post("/predict", openapi_extra=PREDICT_BODY, responses=PREDICT_ANSWERS, **SUMMARIES[0])
    async def predict(
        request: Request, top: int = Query(1, ge=1, description="So many classes per image.")
    ) -> Response:
        async with receiver.receive(request) as uploads:
            answers, class_names, promises = await _classify(
                service, uploads, request, request_seconds
            )
        _say_images(request, answers)
        return _json(
            [prediction_to_json(one, class_names, top, promises=promises) for one in answers]
        )

    @app.get("/health", responses=HEALTH_ANSWERS, **SUMMARIES[1])
    async def health() -> Response:
        found = describe_health(service)
        return _json(found, 200 if found["ready"] else 503)

    @app.get("/metrics", responses=METRICS_ANSWERS, **SUMMARIES[2])
    async def metrics() -> Response:
        return Response(service.metrics.write(), headers={"content-type": CONTENT_TYPE_LATEST})

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return _json(describe_api(app))

    for path in _PAGES:
        app.add_api_route(path, _make_page(path), include_in_schema=False)
    return app


def describe_api(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description, with the whole examples: FastAPI leaves what is null out of them."""
    found = app.openapi()
    for path, method, answers in WHOLE_EXAMPLES:
        responses = found["paths"][path][method]["responses"]
        for status, answer in answers.items():
            responses[str(status)].update(answer)
    return found


async def _classify(
    service: Service, uploads: list[Upload], request: Request, seconds: float
) -> tuple[list[Prediction], list[str], bool]:
    """Answers, the classes that they are of, and whether the run promises something."""
    model, futures = service.submit(uploads)
    answers = asyncio.gather(*map(asyncio.wrap_future, futures))
    answers.add_done_callback(_look_at)
    gone = asyncio.ensure_future(_wait_until_gone(request))
    awaited: set[asyncio.Future[Any]] = {answers, gone}
    try:
        done, _ = await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if answers in done:
            return answers.result(), model.class_names, model.run.manifest.promise is not None
        if gone in done:
            raise RefusedError(_GONE, "Whoever sent it is gone")
        raise RefusedError(
            504, f"No answer within {seconds:g} seconds: too much is asked of this service.", 5
        )
    finally:
        gone.cancel()
        answers.cancel()


def _look_at(done: "asyncio.Future[Any]") -> None:
    """Errors of answers for which nobody waits any more are none of asyncio's business."""
    if not done.cancelled():
        done.exception()


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _say_images(request: Request, answers: list[Prediction]) -> None:
    n_skipped = sum(answer.reason is not None for answer in answers)
    skipped = f", {n_skipped:,} skipped" if n_skipped else ""
    request.state.said = f"{count(len(answers), 'image')}{skipped}"


async def _answer_refused(request: Request, error: Exception) -> Response:
    """An answer in place of what was asked for; whatever else comes on the connection is lost."""
    refused = cast(RefusedError, error)
    request.state.said = str(refused)
    headers = {"connection": "close"}
    if refused.retry_seconds is not None:
        headers["retry-after"] = str(refused.retry_seconds)
    return _json({"detail": str(refused)}, refused.status, headers)


async def _answer_failed(request: Request, error: Exception) -> Response:
    request.state.said = str(error)
    return _json({"detail": str(error)}, 500)


async def _answer_surprised(request: Request, error: Exception) -> Response:
    request.state.said = f"{type(error).__name__}: {error}"
    return _json({"detail": "Something unexpected happened; the service's log says what."}, 500)


def describe_health(service: Service) -> dict[str, Any]:
    """Whether there is a model, which one, and what is wrong with the run."""
    model = service.current.get()
    found: dict[str, Any] = {
        "ready": model is not None,
        "problem": service.current.problem,
        "waiting": service.n_waiting,
        "most_waiting": service.queue,
        "versions": _list_versions(),
    }
    if model is None:
        return found
    manifest = model.run.manifest
    records = [engine.record for engine in model.open_engines(n_images=1)]
    return {
        **found,
        "run": model.run.name,
        "created": manifest.created,
        "renewed": service.current.n_renewed,
        "classes": model.class_names,
        "promises": manifest.promise is not None,
        "backbones": [used.recipe.backbone for used in manifest.backbones],
        "image_sizes": [used.recipe.image_size for used in manifest.backbones],
        "computed_by": list(dict.fromkeys(map(str, records))),
    }


@cache
def _list_versions() -> dict[str, str]:
    return describe_software()


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(without_nan(value)), status, headers, "application/json")


def _make_page(path: str) -> Callable[[], Awaitable[Response]]:
    package, name, kind = _PAGES[path]

    async def show() -> Response:
        return Response(_read_page(package, name), headers=_HEADERS, media_type=kind)

    return show


@cache
def _read_page(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text("utf-8")
