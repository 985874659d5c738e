"""Keeps images of one patient, video or product together: the keys by which splits are made."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from pipeline.errors import ParameterError, SplitError


def find_groups(paths: list[str], pattern: str, *, gone: Sequence[str] = ()) -> list[str | None]:
    """The group of each path: what the pattern's brackets hold, or all that it matches.

    Args:
        pattern: a regular expression that is searched for in the path.
        gone: paths of images that are no longer there, which need not match.

    Returns:
        A name per path, then one per path that is gone; None where the pattern matches nothing.

    Raises:
        ParameterError: the pattern is none.
        SplitError: it matches no path.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ParameterError(
            f"This is no regular expression: {error}. Expected one that finds the group in a "
            f"path, such as '(patient[0-9]+)_'. Received: `group_by={pattern!r}`",
            "group_by",
        ) from error
    matches = [compiled.search(path) for path in [*paths, *gone]]
    if not any(matches[: len(paths)]):
        raise SplitError(
            f"The pattern matches none of the {len(paths):,} paths. Expected one that finds the "
            f"group in a path such as {paths[0]!r}. Received: `group_by={pattern!r}`"
        )
    return [match and _name(match) for match in matches]


def _name(match: re.Match) -> str:
    return "\0".join(part or "" for part in match.groups()) if match.re.groups else match.group()


def make_group_keys(digests: np.ndarray, groups: list[str | None]) -> np.ndarray:
    """A key per image: equal for images of one group and for equal images, so that they share.

    Groups that have an equal image count as one, under the name of the first of them. An image
    without a group is its own, and keeps the split that its digest gives it.

    Args:
        digests: uint8 (n_samples, 32).
        groups: n_samples names or None.

    Returns:
        uint8 (n_samples, 32).
    """
    above: dict[bytes, bytes] = {}

    def find(node: bytes) -> bytes:
        while (parent := above.get(node, node)) != node:
            above[node] = above.get(parent, parent)
            node = above[node]
        return node

    nodes = []
    for digest, group in zip(digests, groups, strict=True):
        image = b"image " + digest.tobytes()
        node = image if group is None else b"group " + group.encode("utf-8", "surrogateescape")
        nodes.append(node)
        # "group" sorts before "image", so a name always wins over a digest.
        first, second = sorted((find(node), find(image)))
        above[second] = first
    keys = []
    for node in nodes:
        root = find(node)
        is_image = root.startswith(b"image ")
        keys.append(root[6:] if is_image else hashlib.sha256(root[6:]).digest())
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32)
