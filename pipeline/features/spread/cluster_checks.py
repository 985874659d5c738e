"""Whether a worker may stand beside the others; one that differs is refused by its name."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ClusterError, EngineError
from pipeline.features.spread.cluster_worker import Passport, describe_frostline
from pipeline.images.decoding.read_images import Limits, hash_image_file
from pipeline.system.printable import printable

_N_NAMED = 3


def require_equal(found: Passport, first: Passport | None, probes: tuple[Path, ...]) -> None:
    """Compares a worker with the first one; the first itself only with this process.

    On a CPU the rows of the probes must be equal bit for bit, on a GPU to its tolerance.

    Args:
        found: what the worker says of itself.
        first: what the first one said; None where it is the first.
        probes: the images that both embedded.

    Raises:
        ClusterError: another Frostline, or other bytes in an image.
        EngineError: another engine or device, or other rows.
    """
    if found.frostline != describe_frostline():
        raise ClusterError(describe_other_frostline({found.address: found.frostline}))
    if first is None:
        return
    if found.record != first.record or found.numbers != first.numbers:
        raise EngineError(
            f"The worker {found.address} computes with something else than the others. Expected "
            f"{_describe(first)}, as on {first.address}. Received: {_describe(found)}\n{_WAYS_OUT}"
        )
    pairs = zip(probes, found.outcomes, first.outcomes, strict=True)
    for path, (digest, _), (other, _) in pairs:
        if not np.array_equal(digest, other):
            raise ClusterError(
                f"The worker {found.address} sees other bytes than {first.address} in "
                f"{printable(str(path))}. Expected the same images under the same path on all "
                "machines.\nShare one folder, or copy it anew."
            )
    difference = _measure(found.features, first.features)
    tolerance = first.record.tolerance if first.record.is_gpu else 0.0
    if not difference <= tolerance:
        raise EngineError(
            f"The worker {found.address} gives other rows than {first.address}, though both say "
            f"{first.record}. Expected a difference of at most {tolerance:g} of the greatest "
            f"feature. Received: {difference:.2g}, measured on {len(first.features):,} images\n"
            f"{_WAYS_OUT}"
        )


def require_visible(
    address: str,
    paths: Iterable[Path],
    outcomes: Iterable[tuple[np.ndarray, str | None]],
    limits: Limits,
) -> None:
    """Raises a ClusterError for the first image that this process can read and a worker cannot.

    Args:
        address: of the worker.
        outcomes: digest and reason (None where there is none) of each path.
    """
    for path, (digest, reason) in zip(paths, outcomes, strict=True):
        if reason is None or digest.any():
            continue
        _, reason_here = hash_image_file(path, limits)
        if reason_here is None:
            raise ClusterError(
                f"The worker {address} cannot read an image that is there: {reason}. Expected the "
                "images under the same path on all machines. Received: "
                f"{printable(str(path))}\nShare the folder, mounted at the same place, or leave "
                "that worker out."
            )


def describe_other_frostline(others: dict[str, Any]) -> str:
    """Names workers of another Frostline.

    Args:
        others: address -> what it says of its Frostline, or the exception that it raised.
    """
    shown = [f"{address} with {_name(found)}" for address, found in sorted(others.items())]
    more = len(others) - _N_NAMED
    rest = f" and {more:,} more" if more > 0 else ""
    return (
        "Workers have another Frostline than this process, or none. Expected version and source "
        f"{describe_frostline()}. Received: {', '.join(shown[:_N_NAMED])}{rest}\n"
        "Install the same Frostline for all of them, and start them again."
    )


def _name(found: Any) -> str:
    return f"none that answers ({found})" if isinstance(found, Exception) else str(found)


def _describe(passport: Passport) -> str:
    n_features, batch_size, _ = passport.numbers
    record = passport.record
    return (
        f"{record} ({record.precision or 'unknown precision'}, {n_features:,} features, "
        f"{batch_size:,} images per call)"
    )


def _measure(rows: np.ndarray, others: np.ndarray) -> float:
    """The greatest difference, relative to the greatest feature."""
    if rows.shape != others.shape:
        return float("inf")
    if not rows.size:
        return 0.0
    return float(np.abs(rows - others).max()) / max(float(np.abs(others).max()), 1e-30)


_WAYS_OUT = (
    "Leave that worker out, or start all on machines of one kind (`engine`, `device` and "
    "`batch_size` say what they compute with)."
)
