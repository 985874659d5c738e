"""What a service counts, in the format of Prometheus; in a registry of its own."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
_BATCHES = (1, 2, 4, 8, 16, 32)  # images


class Metrics:
    """Counts requests, images and batches.

    Args:
        count_waiting: gives the number of images that wait or are being classified.
        count_renewed: gives how often the run was replaced.
    """

    def __init__(self, count_waiting: Callable[[], int], count_renewed: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "frostline_requests", "Requests by path and status.", ["path", "status"],
            registry=registry,
        )  # fmt: skip
        self._images = Counter(
            "frostline_images", "Images by what became of them.", ["outcome"], registry=registry
        )
        self._seconds = Histogram(
            "frostline_request_seconds", "From a request's first byte to its answer's last.",
            ["path"], buckets=_LATENCIES, registry=registry,
        )  # fmt: skip
        self._batches = Histogram(
            "frostline_batch_images", "Images that were classified at once.",
            buckets=_BATCHES, registry=registry,
        )  # fmt: skip
        waiting = Gauge(
            "frostline_waiting_images", "Images that wait or are being classified.",
            registry=registry,
        )  # fmt: skip
        waiting.set_function(count_waiting)
        renewed = Gauge(
            "frostline_renewed_models", "How often another run took the run's place.",
            registry=registry,
        )  # fmt: skip
        renewed.set_function(count_renewed)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """A request that is over.

        Args:
            path: of a route that there is; `other` for all else, or anybody could add series.
            status: of HTTP; 499 where whoever sent it is gone.
        """
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_image(self, *, is_used: bool) -> None:
        """An image that has an answer, or a reason why it has none."""
        self._images.labels("classified" if is_used else "skipped").inc()

    def count_batch(self, n_images: int) -> None:
        """Images that were classified at once."""
        self._batches.observe(n_images)

    def write(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
