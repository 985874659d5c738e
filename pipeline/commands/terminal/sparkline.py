"""A curve in a line of text."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 24
_SERIES = {
    "val_loss": "Loss of validation",
    "left_out_error": "Error of rows left out",
    "train_loss": "Loss of training",
}


def draw_sparkline(values: Sequence[float]) -> str:
    """Bars from the lowest value, the lowest bar, to the highest; of many values some are one."""
    parts = np.array_split(np.array(values, np.float64), min(_MOST_BARS, len(values)))
    means = np.array([part.mean() for part in parts])
    low, high = means.min(), means.max()
    heights = (means - low) / (high - low) if high > low else np.zeros(len(means))
    return "".join(_BARS[round(height * (len(_BARS) - 1))] for height in heights.tolist())


def describe_curve(history: Sequence[Mapping[str, float]], x: str) -> list[str]:
    """A line with the curve of training; none where there are not three points.

    Args:
        history: a record for each point.
        x: name of the column that it runs over.
    """
    for name, words in _SERIES.items():
        points = [(one[x], one[name]) for one in history if math.isfinite(one.get(name, math.nan))]
        if len(points) >= 3:
            values = [value for _, value in points]
            best, least = min(points, key=lambda point: point[1])
            return [
                f"{words}, {x} {points[0][0]:g} to {points[-1][0]:g}: {draw_sparkline(values)} "
                f"least {least:.4f} at {best:g}"
            ]
    return []
