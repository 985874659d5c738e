"""What may be said of a service: each option once. Imports nothing heavy."""

from dataclasses import dataclass

from pipeline.system.options import check_options, option

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ServeOptions:
    """Where a service listens, and what it takes on at most.

    Args:
        host: the address to listen at: a name or an IP address of this machine. 127.0.0.1 serves
            this machine alone; 0.0.0.0 whoever can reach it.
        port: to listen at; 0 = a free one.
        queue: images that may be waiting at once, those being classified included; requests with
            more on top of them are refused. A request of its own may not have more either.
        request_bytes: the most bytes of one request.
        request_seconds: after that long without an answer a request is given up.
    """

    host: str = option(
        LOOPBACK,
        help="Where to listen: 127.0.0.1 is for this machine alone, 0.0.0.0 for whoever can reach "
        "it, without a password.",
    )
    port: int = option(8000, help="To listen at; 0: a free one.", least=0, most=65535)
    queue: int = option(
        256, help="Images that may wait at once; more are refused with status 503.", least=1
    )
    request_bytes: int = option(
        64 * 2**20, help="Refuse larger requests, with status 413.", least=1
    )
    request_seconds: float = option(
        30.0, help="Give a request up that has no answer by then, with status 504.", above=0
    )

    def check(self) -> None:
        """Raises a ParameterError for the first option that makes no sense."""
        check_options(self, "serve a run")
