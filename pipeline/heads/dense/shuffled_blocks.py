"""Rows in new order each epoch, block by block, for training on more than memory holds.

Rows that lie together in a file are often of one class, so a block is put together from small
pieces of all over the file; pieces are drawn in random order, and so are the rows of a block.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipeline.heads.head import FeatureArray
from pipeline.heads.rows.training_rows import split_rows

# As large as the chunks of a feature file, so that none is read in vain.
PIECE_BYTES = 128 * 1024
BLOCK_BYTES = 96 * 2**20


def draw_blocks(
    features: FeatureArray, chosen: np.ndarray, random: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Gives each chosen row once; while one block is used, the next is being read.

    What is drawn depends on the random generator and the sizes alone, not on how rows are kept.

    Args:
        features: float32 `(n_samples, n_features)`, or anything sliced like it.
        chosen: bool `(n_samples,)`.
        random: decides the order.

    Yields:
        Rows, float32 `(n_rows, n_features)`, and their numbers, int64 `(n_rows,)`.
    """
    n_features = features.shape[1]
    pieces = split_rows(features, max(1, PIECE_BYTES // (4 * n_features)))
    n_blocks = -(-int(chosen.sum()) * 4 * n_features // BLOCK_BYTES)
    drawn = np.array_split(random.permutation(len(pieces)), max(1, n_blocks))
    blocks = (
        _read_block(features, chosen, [pieces[i] for i in np.sort(numbers)], random)
        for numbers in drawn
    )
    with ThreadPoolExecutor(1) as reader:
        pending = reader.submit(next, blocks, None)
        while (block := pending.result()) is not None:
            pending = reader.submit(next, blocks, None)
            if len(block[1]):
                yield block


def _read_block(
    features: FeatureArray, chosen: np.ndarray, pieces: list[slice], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    numbers = [piece.start + np.flatnonzero(chosen[piece]) for piece in pieces]
    order = random.permutation(sum(map(len, numbers)))
    rows = np.empty((len(order), features.shape[1]), np.float32)
    start = 0
    for piece, wanted in zip(pieces, numbers, strict=True):
        if len(wanted):
            stop = start + len(wanted)
            rows[order[start:stop]] = features[piece][wanted - piece.start]
            start = stop
    shuffled = np.empty(len(order), np.int64)
    shuffled[order] = np.concatenate(numbers)
    return rows, shuffled
