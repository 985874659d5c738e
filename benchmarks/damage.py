"""Flips bytes of a small feature file and cuts it, and looks whether that is noticed.

Every byte of the features is flipped once, 2,000 random bytes elsewhere, and the file is cut at 500
places. Each must be found by `features --verify` (the sha256 in the first 512 bytes); what readers
do without it is counted too: refused by name, or no effect on any value that is read.

    python benchmarks/damage.py
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.crash import fork, make_images, wait_for
from benchmarks.stand_in import extract
from pipeline.errors import FeatureFileError
from pipeline.features.entries import Entries
from pipeline.features.feature_file import FeatureFile
from pipeline.system import sealed_hdf5 as sealed
from pipeline.system.hdf5_damage import find_damage
from pipeline.system.sealed_hdf5 import SEAL_BYTES, verify_seal

DIAGNOSIS_SECONDS = 5  # HDF5 may run for ever on damaged bytes


def read_everything(path: Path) -> tuple:
    """Every value that Frostline ever reads from a feature file."""
    with FeatureFile(path) as file:
        contents = file.contents
        return (
            file.read_all().tobytes(),
            contents.images.paths,
            contents.images.digests.tobytes(),
            contents.images.sizes.tobytes(),
            contents.images.mtimes.tobytes(),
            contents.labels.tobytes(),
            contents.splits.tobytes(),
            contents.class_names,
            contents.skipped.paths,
            contents.reasons,
            contents.retired.tobytes(),
            contents.arrivals.tobytes(),
            contents.retired_arrivals.tobytes(),
            contents.split_rule,
            _read_entries(contents.entries),
            contents.probe_rows.tobytes(),
            contents.probe_pixels.tobytes(),
            contents.recipe,
            contents.data_root,
            contents.batch_size,
            contents.engines,
            contents.created,
            contents.software,
        )


def _read_entries(entries: Entries | None) -> tuple:
    if entries is None:
        return ()
    gone = entries.gone
    arrays = (entries.classes, entries.arrivals, gone.digests, gone.classes, gone.arrivals)
    return entries.class_names, gone.paths, *(array.tobytes() for array in arrays)


def judge(path: Path, data: bytes, expected: tuple) -> tuple[str, str]:
    """What `--verify` and what a reader say of a file with these bytes."""
    path.write_bytes(data)
    try:
        verify_seal(path)
        verdict = "MISSED"
    except FeatureFileError:
        verdict = "found"
    try:
        is_same = read_everything(path) == expected
        reader = "read, no effect" if is_same else "WRONG VALUES READ"
    except FeatureFileError:
        reader = "refused by name"
    return verdict, reader


def diagnose_in_fork(path: Path) -> str:
    """As `hdf5_damage.diagnose`, in a fork of this warm process instead of a new one."""
    reader, writer = os.pipe()

    def work() -> None:
        signal.alarm(DIAGNOSIS_SECONDS)
        os.write(writer, find_damage(path).encode())

    child = fork(work)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = answer.read().decode()
    return said if wait_for(child) == 0 else "its structure"


def feature_offsets(path: Path) -> np.ndarray:
    """Offsets in the file of all bytes of the features' chunks."""
    with h5py.File(path) as file:
        dataset = file["features"].id
        chunks = [dataset.get_chunk_info(i) for i in range(dataset.get_num_chunks())]
    return np.concatenate(
        [SEAL_BYTES + chunk.byte_offset + np.arange(chunk.size) for chunk in chunks]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--elsewhere", type=int, default=2000, help="random bytes")
    parser.add_argument("--cuts", type=int, default=500)
    parser.add_argument("--every", type=int, default=1, help="flip each Nth byte of the features")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    sealed.diagnose = diagnose_in_fork
    with tempfile.TemporaryDirectory(prefix="frostline-damage-") as name:
        folder = Path(name)
        make_images(folder / "images")
        extract(folder / "images", folder / "whole.h5")
        data = (folder / "whole.h5").read_bytes()
        expected = read_everything(folder / "whole.h5")
        features = feature_offsets(folder / "whole.h5")
        elsewhere = np.setdiff1d(np.arange(len(data)), features)
        trials = {
            "flips in the features": features[:: arguments.every],
            "flips elsewhere": random.choice(elsewhere, arguments.elsewhere, replace=False),
            "cuts": random.choice(len(data), arguments.cuts, replace=False),
        }
        counts = {}
        for kind, offsets in trials.items():
            tally: Counter = Counter()
            for offset in offsets.tolist():
                if kind == "cuts":
                    changed = data[:offset]
                else:
                    changed = bytearray(data)
                    changed[offset] ^= 1 << int(random.integers(8))
                tally.update(judge(folder / "damaged.h5", bytes(changed), expected))
            counts[kind] = {"trials": len(offsets), **tally}
    print(f"a feature file of {len(data):,} bytes, {len(features):,} of them features")
    for kind, tally in counts.items():
        print(f"{kind}: " + ", ".join(f"{what} {n:,}" for what, n in tally.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(counts, indent=2))
    bad = {"MISSED", "WRONG VALUES READ"}
    sys.exit(any(bad & set(tally) for tally in counts.values()))


if __name__ == "__main__":
    main()
