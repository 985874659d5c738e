"""What a worker of a cluster does for an extraction: says what it is, and embeds batches.

Runs in the workers of `dask.distributed`, a task at a time in each of their threads. The network
stays in the worker from task to task, also when the extraction was killed and is started again.
"""

import hashlib
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pipeline.backbones.weights.resolve import resolve_recorded_weights
from pipeline.errors import FrostlineError
from pipeline.features.embed import Embed, Embedded, MakeEmbedder, embed_files, make_embedder
from pipeline.images.decoding.isolated_worker import Read
from pipeline.images.decoding.read_batches import BatchReader, ReaderSettings
from pipeline.recipe import EngineRecord, Recipe
from pipeline.system.versions import list_versions


@dataclass(frozen=True)
class ClusterJob:
    """What is the same for all batches of an extraction.

    Args:
        make: a pickled `MakeEmbedder`.
        batch_size: images per call of the network, None = choose.
        settings: how to read images; the folder for notes is the worker's own.
        probes: images that each worker embeds first, to be compared with the others.
    """

    make: bytes
    batch_size: int | None
    settings: ReaderSettings
    probes: tuple[Path, ...] = ()

    @property
    def network(self) -> str:
        """Identity of the network alone."""
        return hashlib.sha256(self.make + repr(self.batch_size).encode()).hexdigest()


@dataclass(frozen=True)
class Passport:
    """What a worker is, by which it is accepted or refused.

    Args:
        address: of the worker.
        frostline: version and source, as `describe_frostline` says.
        record: its engine and device.
        numbers: of features, images per call, and images per task.
        notes: what its engine says.
        outcomes: digest and reason (None where there is none) of each probe.
        features: of the probes that have no reason, float32 (n_usable, n_features).
    """

    address: str
    frostline: str
    record: EngineRecord
    numbers: tuple[int, int, int]
    notes: list[str]
    outcomes: list[tuple[np.ndarray, str | None]]
    features: np.ndarray

    @property
    def seal(self) -> str:
        """Equal for workers that give the same rows; hex digits."""
        record = replace(self.record, n_threads=0).to_json()  # which decides no bit
        hasher = hashlib.sha256(f"{self.frostline}{record}{self.numbers}".encode())
        for digest, _ in self.outcomes:
            hasher.update(digest.tobytes())
        hasher.update(np.ascontiguousarray(self.features).data)
        return hasher.hexdigest()


@dataclass(frozen=True)
class Answer:
    """What became of a batch.

    Args:
        address: of the worker that computed it.
        embedded: digests, reasons and rows.
        passport: the worker's, where it is another than was expected.
    """

    address: str
    embedded: Embedded
    passport: Passport | None


@cache
def describe_frostline() -> str:
    """Frostline's version and the start of a sha256 over its source, such as `0.1.0 (1a2b3c4d)`.

    Once in a process, when it is first asked: what is installed later does not run in it.
    """
    folder, hasher = Path(__file__).resolve().parents[2], hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        hasher.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    version = list_versions(["frostline"]).get("frostline", "of no known version")
    return f"{version} ({hasher.hexdigest()[:8]})"


def make_on_worker(
    recipe: Recipe,
    weights: str,
    device: str,
    engine: str | None,
    batch_size: int | None = None,
    *,
    network_store: bool = True,
    is_fast: bool = False,
) -> Embed:
    """Makes the recipe's network ready, with the weights as this machine has them and a stream for
    each of the worker's threads.

    Args:
        weights: `imagenet`, `random`, or the path of a file; they must be those of the recipe.
        device, engine, batch_size, network_store, is_fast: as for `make_embedder`.
    """
    return make_embedder(
        recipe,
        resolve_recorded_weights(recipe, weights),
        device,
        engine,
        batch_size,
        n_streams=_this_worker().state.nthreads,
        network_store=network_store,
        is_alone=True,
        is_fast=is_fast,
    )


def introduce(job: ClusterJob) -> Passport:
    """What this worker is, and what it makes of the probes."""
    address = _this_worker().address
    with _named(address):
        return _Held.find_passport(job, address)


def embed_on_worker(job: ClusterJob, paths: list[Path], expected: str) -> Answer:
    """Reads, decodes and embeds one batch.

    Args:
        expected: seal of the passport that this worker should have.
    """
    address = _this_worker().address
    with _named(address):
        passport = _Held.find_passport(job, address)
        embedded = _embed(job, paths, _Held.find_embedder(job))
    return Answer(address, embedded, None if passport.seal == expected else passport)


def embed_pixels_on_worker(job: ClusterJob, pixels: np.ndarray) -> np.ndarray:
    """Rows of decoded images."""
    with _named(_this_worker().address):
        return _Held.find_embedder(job)(pixels)


class _Held:
    """The network and the passport of the extraction at hand; another's are let go."""

    _lock = threading.RLock()
    _embedders: ClassVar[dict[str, Embed]] = {}
    # By network, probes, and what reads these: other views have other rows.
    _passports: ClassVar[dict[tuple[str, tuple[Path, ...], Read], Passport]] = {}

    @classmethod
    def find_embedder(cls, job: ClusterJob) -> Embed:
        with cls._lock:
            if job.network not in cls._embedders:
                cls._embedders.clear()
                cls._passports.clear()
                make: MakeEmbedder = pickle.loads(job.make)
                cls._embedders[job.network] = make(job.batch_size)
            return cls._embedders[job.network]

    @classmethod
    def find_passport(cls, job: ClusterJob, address: str) -> Passport:
        with cls._lock:
            embed = cls.find_embedder(job)
            key = job.network, job.probes, job.settings.read
            if key not in cls._passports:
                outcomes, features = _embed(job, list(job.probes), embed)
                cls._passports[key] = Passport(
                    address=address,
                    frostline=describe_frostline(),
                    record=embed.record,
                    numbers=(embed.n_features, embed.batch_size, embed.images_per_task),
                    notes=embed.notes,
                    outcomes=outcomes,
                    features=features,
                )
            return cls._passports[key]


def _embed(job: ClusterJob, paths: list[Path], embed: Embed) -> Embedded:
    """With a reader of its own: its notes of what is being decoded lie in the worker's folder."""
    if not paths:
        return [], np.zeros((0, embed.n_features), np.float32)
    notes = Path(_this_worker().local_directory) / f"frostline-{threading.get_ident()}"
    with BatchReader(replace(job.settings, notes_folder=notes), 1) as read:
        return embed_files(paths, read, embed)


def _this_worker() -> Any:
    from distributed import get_worker

    return get_worker()


@contextmanager
def _named(address: str) -> Iterator[None]:
    """Errors of Frostline's name the worker."""
    try:
        yield
    except FrostlineError as error:
        message, *rest = error.args
        error.args = (f"On the worker {address}: {message}", *rest)
        raise
