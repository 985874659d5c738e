"""Where a service listens."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

from pipeline.errors import ServiceError

BACKLOG = 512


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens at an address of this machine.

    Args:
        port: 0 = a free one.

    Raises:
        ServiceError: it cannot be.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address, family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (")[0]
        raise ServiceError(
            "The service cannot listen there. Expected an address of this machine and a port that "
            f"is free. Received: `host={host}` and `port={port}` ({reason})\n"
            "Choose another `port`; `port=0` takes a free one."
        ) from error
    with listener:
        yield listener


def make_url(listener: socket.socket) -> str:
    """Where it listens, such as `http://127.0.0.1:8000`."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def describe_reach(listener: socket.socket) -> str:
    """Who can reach it, in words."""
    address = ip_address(listener.getsockname()[0].partition("%")[0])
    if address.is_loopback:
        return "Only this machine can reach it. Ctrl-C ends it."
    return "Whoever can reach this machine can use it: there is no password. Ctrl-C ends it."
