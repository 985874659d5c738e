"""What measuring a candidate will take: by what was measured of it, or of others."""

from collections.abc import Sequence
from statistics import median

from pipeline.heads.probe.measured import Measured

# Before anything was measured: TensorFlow is loaded and a network converted.
_OPEN_SECONDS = 8.0
_RATE = 40.0  # images a second
_REOPEN_SHARE = 0.6  # of the seconds of the first time: the converted network was kept


class Costs:
    """Seconds of what comes next.

    Args:
        contenders: all of them; what is measured of one tells of the others.
    """

    def __init__(self, contenders: Sequence[Measured]):
        self._contenders = contenders

    def cost(self, one: Measured, n_images: int) -> float:
        """Seconds until the first `n_images` images have rows of this candidate."""
        n_more = n_images - one.n_tried
        return 0.0 if n_more <= 0 else self.open_seconds(one) + n_more / self.rate(one)

    def open_seconds(self, one: Measured) -> float:
        """That making the network ready will take."""
        if one.open_seconds is not None:
            return _REOPEN_SHARE * one.open_seconds
        return median(
            [o.open_seconds for o in self._like(one) if o.open_seconds is not None]
            or [o.open_seconds for o in self._contenders if o.open_seconds is not None]
            or [_OPEN_SECONDS]
        )

    def rate(self, one: Measured) -> float:
        """Images a second: a network's work grows with the square of the side."""
        if one.rate is not None:
            return one.rate
        size = one.candidate.image_size
        alike = [
            o.rate * (o.candidate.image_size / size) ** 2
            for o in self._like(one)
            if o.rate is not None
        ]
        work = one.candidate.multiply_adds
        others = [
            o.rate * o.candidate.multiply_adds / work
            for o in self._contenders
            if work and o.rate is not None and o.candidate.multiply_adds
        ]
        return median(alike or others or [_RATE])

    def count_images(self, some: Sequence[Measured], seconds: float, most: int) -> int:
        """So many images, `most` at most, that all of some candidates have rows of in this time; 0
        where there is time for none.
        """
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            if sum(self.cost(one, middle) for one in some) <= seconds:
                low = middle
            else:
                high = middle - 1
        return low

    def _like(self, one: Measured) -> list[Measured]:
        """Those of the same backbone."""
        name = one.candidate.backbone
        return [o for o in self._contenders if o is not one and o.candidate.backbone == name]
