"""Rows to audit that are made of arrays, without any file."""

import hashlib
from dataclasses import replace

import numpy as np

from benchmarks.stand_in import RECIPE
from pipeline.features.feature_file import Contents, ImageTable
from pipeline.features.file_stamps import no_stamps
from pipeline.heads.audit.audited_rows import AuditedRows


def make_rows(features, labels, *, splits=None, contents_of=None, root=None, paths=None, **facts):
    """Rows whose images are all different, unless `contents_of` gives equal numbers to some."""
    labels = np.asarray(labels, np.int32)
    n = len(labels)
    known = range(n) if contents_of is None else contents_of
    digests = b"".join(hashlib.sha256(str(one).encode()).digest() for one in known)
    digests = np.frombuffer(digests, np.uint8).reshape(-1, 32).copy()
    zeros, nothing = np.zeros(n, np.int64), np.zeros(0, int)
    nobody = ImageTable([], np.zeros((0, 32), np.uint8), nothing, nothing, no_stamps(0))
    given = np.full(n, -1, np.int8) if splits is None else np.asarray(splits, np.int8)
    names = [f"class {number}" for number in range(int(labels.max(initial=0)) + 1)]
    contents = Contents(
        recipe=RECIPE,
        images=ImageTable(
            paths or [f"{row:05d}.png" for row in range(n)], digests, zeros, zeros, no_stamps(n)
        ),
        labels=labels,
        splits=given,
        arrivals=np.zeros(n, np.int32),
        class_names=names,
        skipped=nobody,
        reasons=[],
        retired=np.zeros((0, 32), np.uint8),
        data_root="nowhere",
        weights_source="random",
        batch_size=8,
        created="",
        software={},
    )
    units = np.unique(digests, axis=0, return_inverse=True)[1].ravel()
    return AuditedRows(
        np.asarray(features, np.float32), replace(contents, **facts), given, units, root
    )
