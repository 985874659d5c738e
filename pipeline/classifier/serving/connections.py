"""Connections that may be neither many nor idle: uvicorn waits for ever for a request's head, and
takes one of any length.

A connection that sends nothing for a while is closed; one that sends a head too slowly gets status
408; a head that is too long gets 431; one connection too many gets 503.
"""

import asyncio
import json
from typing import Any, Protocol, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pipeline.classifier.serving.listening import BACKLOG

HEAD_SECONDS = 10.0
IDLE_SECONDS = 60  # between requests
MOST_CONNECTIONS = 500
MOST_HEAD_BYTES = 2**16

Address = tuple[str, int]


class Connections:
    """The connections that there are, by the address of the other side.

    Args:
        head_seconds: that one may take until the head of a request is there.
        most: at once.
    """

    def __init__(self, head_seconds: float = HEAD_SECONDS, most: int = MOST_CONNECTIONS) -> None:
        self.head_seconds = head_seconds
        self.most = most
        self.open: dict[Address, TimedConnection] = {}

    def begin_request(self, client: Address | None) -> None:
        """The head of a request is there."""
        if client in self.open:
            self.open[client].stop_clock()

    def end_request(self, client: Address | None) -> None:
        """The request has its answer; another may come."""
        if client in self.open:
            self.open[client].start_clock(IDLE_SECONDS)


class HasConnections(Protocol):
    """An ASGI application that knows its connections."""

    connections: Connections


class CountingProtocol(HttpToolsProtocol):
    """Uvicorn's own, which keeps all that it was sent of a head until the head is whole.

    Attributes:
        n_head_bytes: that came since a head was whole, or a piece of a body was handed on: of the
            head that is coming, or of what may come behind a body in pieces.
    """

    def __init__(self, *how: Any, **more: Any) -> None:
        super().__init__(*how, **more)
        self.n_head_bytes = 0

    def data_received(self, data: bytes) -> None:
        self.n_head_bytes += len(data)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self.n_head_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.n_head_bytes = 0
        super().on_body(body)


class TimedConnection(asyncio.Protocol):
    """Passes all that happens on to uvicorn's own protocol, and closes what takes too long.

    Args:
        config: of uvicorn; its application knows the connections.
        how: what uvicorn's own protocol takes besides.
    """

    def __init__(self, config: Any, **how: Any) -> None:
        self._connections = cast(HasConnections, config.app).connections
        self._inner = CountingProtocol(config=config, **how)
        self._transport: asyncio.Transport | None = None
        self._client: Address | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._n_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._inner.connection_made(self._transport)
        name = transport.get_extra_info("peername")
        if name is not None:  # else it is closed already
            self._client = (str(name[0]), int(name[1]))
            self._connections.open[self._client] = self
        if len(self._connections.open) > self._connections.most:
            self._refuse(503, "Too many connections. Try again.", "retry-after: 1\r\n")
        else:
            self.start_clock(self._connections.head_seconds)

    def start_clock(self, seconds: float) -> None:
        """From now on the head of a request is waited for, so long."""
        self.stop_clock()
        self._n_bytes = 0
        self._clock = asyncio.get_running_loop().call_later(seconds, self._give_up)

    def stop_clock(self) -> None:
        """Nothing is waited for."""
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _give_up(self) -> None:
        if self._n_bytes:
            self._refuse(408, "The head of the request comes too slowly.")
        elif self._transport is not None:
            self._transport.close()

    def _refuse(self, status: int, message: str, more: str = "") -> None:
        if self._transport is None or self._transport.is_closing():
            return
        body = json.dumps({"detail": message}).encode()
        head = (
            f"HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\n{more}"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self._transport.write(head.encode() + body)
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._clock is not None and not self._n_bytes:  # a head begins
            self.start_clock(self._connections.head_seconds)
        self._n_bytes += len(data)
        if self._transport is None or not self._transport.is_closing():
            self._inner.data_received(data)
        if self._inner.n_head_bytes > MOST_HEAD_BYTES:
            self._refuse(
                431,
                f"The head of the request is too long. Expected at most {MOST_HEAD_BYTES:,} bytes.",
            )

    def eof_received(self) -> None:
        self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_clock()
        if self._client is not None:
            self._connections.open.pop(self._client, None)
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


def make_server(app: HasConnections, grace_seconds: int) -> uvicorn.Server:
    """Uvicorn with such connections.

    Args:
        app: an ASGI application; what there is to say it says itself.
        grace_seconds: that requests may take which have begun when it is told to end.
    """
    config = uvicorn.Config(
        cast(Any, app),
        loop="auto",
        http=TimedConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=grace_seconds,
    )
    return uvicorn.Server(config)
