"""Converted networks, kept so that the next command starts without TensorFlow.

A network is a file of its own, named by a digest of what decides it: the network's identity, this
graph's version, the engine and its version. It carries a seal (HMAC-SHA256 with a secret of this
user) over all its bytes. A file that is cut, changed or planted by somebody else does not match,
and is as good as absent: the network is converted anew.
"""

import errno
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from pipeline.errors import StorageError
from pipeline.system.atomic_files import atomic_output
from pipeline.system.paths import is_file, open_regular_file

GRAPH_VERSION = 1  # of what `convert_...` makes of an identity
FOLDER_VARIABLE = "FROSTLINE_NETWORKS"
SUFFIX = ".network"
_MAGIC = b"frostline network 1\n"
_SECRET_BYTES = 32
_MAX_BYTES = 4_000_000_000  # of all networks together; the oldest go first
_MAX_AGE = 180 * 24 * 3600.0  # seconds since one was last used


@dataclass(frozen=True)
class ConvertedNetwork:
    """A frozen network in an engine's own form.

    Args:
        graph: what is computed.
        weights: with what.
        n_features: columns of a row.
    """

    graph: bytes
    weights: bytes
    n_features: int


@dataclass(frozen=True)
class StoredNetwork:
    """A file of the store.

    Args:
        path: of the file.
        identity: of the network, as text; None where the file is not to be trusted.
        n_bytes: its size.
        last_used: seconds since 1970.
    """

    path: Path
    identity: str | None
    n_bytes: int
    last_used: float

    @property
    def title(self) -> str:
        """What network it is, in words."""
        if self.identity is None:
            return "not to be trusted, so never used"
        if not self.identity.startswith("{"):
            return re.sub(r"(sha256:[0-9a-f]{12})[0-9a-f]+", r"\1", self.identity)
        facts, end = json.JSONDecoder().raw_decode(self.identity)
        name = f"{facts['backbone']}, {facts['image_size']} pixels, {facts['layer']}"
        return name + self.identity[end:]


class NetworkStore:
    """A folder of converted networks.

    Args:
        folder: where; None for this user's cache, or where FROSTLINE_NETWORKS says.
        secret_file: of the seal's secret; None for this user's own.
    """

    def __init__(self, folder: Path | None = None, secret_file: Path | None = None):
        self.folder = folder or _default_folder()
        self._secret_file = secret_file or (
            platformdirs.user_data_path("frostline", appauthor=False) / "networks.secret"
        )

    def read(self, identity: str, engine: str, version: str) -> ConvertedNetwork | None:
        """A network that this user put there; None where there is none to be trusted."""
        path = self._path(identity, engine, version)
        secret = self._read_secret()
        if secret is None:
            return None
        try:
            data = _read_file(path)
        except OSError:
            return None
        body = _check_seal(data, secret)
        if body is None:
            return None
        header, graph, weights = _split_body(body)
        if header["key"] != _key(identity, engine, version):
            return None  # the file of another network under this one's name
        self.mark_used(identity, engine, version)
        return ConvertedNetwork(graph, weights, header["n_features"])

    def mark_used(self, identity: str, engine: str, version: str) -> None:
        """When a network was used last decides which go first."""
        with suppress(OSError):
            os.utime(self._path(identity, engine, version))

    def explain(self, identity: str, engine: str, version: str) -> list[str]:
        """What there is to say of a network that `read` did not give: nothing where none is."""
        if not self.holds(identity, engine, version):
            return []
        return [
            "A network that was kept for this is damaged, or not this user's own. It was not used, "
            f"but made anew ({self._path(identity, engine, version)})."
        ]

    def holds(self, identity: str, engine: str, version: str) -> bool:
        """Whether there is a file of that name; only `read` tells whether it is to be trusted."""
        return is_file(self._path(identity, engine, version))

    def write(
        self, identity: str, engine: str, version: str, converted: ConvertedNetwork
    ) -> list[str]:
        """Keeps a network; what it has to say where that cannot be done."""
        header = {
            "key": _key(identity, engine, version),
            "identity": identity,
            "n_features": converted.n_features,
            "graph_bytes": len(converted.graph),
        }
        head = json.dumps(header, sort_keys=True).encode()
        parts = len(head).to_bytes(8, "big"), head, converted.graph, converted.weights
        try:
            secret = self._read_secret() or self._make_secret()
            with atomic_output(self._path(identity, engine, version)) as output:
                output.write(_MAGIC)
                output.write(_make_seal(parts, secret))
                for part in parts:
                    output.write(part)
            self.prune()
        except (StorageError, OSError) as error:
            # A StorageError's own advice is about `output`, which is not where networks go.
            reason = getattr(error.__cause__ or error, "strerror", None) or error
            return [
                "The converted network is not kept, so the next command converts it again "
                f"({reason}: {self.folder}). Another place for it can be named with "
                f"{FOLDER_VARIABLE}=FOLDER in the environment; `network_store=False` keeps none."
            ]
        return []

    def list(self) -> list[StoredNetwork]:
        """The networks, the one used last first."""
        secret, found = self._read_secret(), []
        for path in self.folder.glob(f"*{SUFFIX}"):
            with suppress(OSError):
                facts, data = path.stat(), _read_file(path)
                body = None if secret is None else _check_seal(data, secret)
                identity = None if body is None else str(_split_body(body)[0]["identity"])
                found.append(StoredNetwork(path, identity, facts.st_size, facts.st_mtime))
        return sorted(found, key=lambda stored: -stored.last_used)

    def clear(self) -> int:
        """Deletes all networks; returns how many."""
        networks = list(self.folder.glob(f"*{SUFFIX}"))
        for path in networks:
            path.unlink(missing_ok=True)
        return len(networks)

    def prune(self, max_bytes: int = _MAX_BYTES, max_age: float = _MAX_AGE) -> None:
        """Deletes what was not used for long, and the oldest until the rest is small enough."""
        facts = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            with suppress(OSError):
                facts.append((path.stat().st_mtime, path.stat().st_size, path))
        total = 0
        for used, n_bytes, path in sorted(facts, reverse=True):
            total += n_bytes
            if total > max_bytes or time.time() - used > max_age:
                path.unlink(missing_ok=True)

    def _path(self, identity: str, engine: str, version: str) -> Path:
        return self.folder / f"{_key(identity, engine, version)}{SUFFIX}"

    def _read_secret(self) -> bytes | None:
        """None where there is none, or others could have written it."""
        try:
            with open_regular_file(self._secret_file) as file:
                facts = os.fstat(file.fileno())
                if hasattr(os, "getuid") and (facts.st_uid != os.getuid() or facts.st_mode & 0o022):
                    return None
                secret = file.read(_SECRET_BYTES + 1)
        except OSError:
            return None
        return secret if len(secret) == _SECRET_BYTES else None

    def _make_secret(self) -> bytes:
        """The first of two processes that make one at once wins."""
        self._secret_file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._secret_file.with_name(f".{os.getpid()}-{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_SECRET_BYTES))
            if self._secret_file.exists() and self._read_secret() is None:
                self._secret_file.unlink()  # damaged, so nothing that it sealed can be read
            with suppress(FileExistsError):
                os.link(temporary, self._secret_file)
        finally:
            temporary.unlink(missing_ok=True)
        secret = self._read_secret()
        if secret is None:
            raise StorageError(f"{self._secret_file} cannot be read back.")
        return secret


def list_networks() -> list[StoredNetwork]:
    """The converted networks that this user keeps, the one used last first."""
    return NetworkStore().list()


def clear_networks() -> int:
    """Deletes the converted networks that this user keeps; the next commands convert them again.

    Returns:
        How many there were.
    """
    return NetworkStore().clear()


def _read_file(path: Path) -> bytes:
    """A network's file; nobody's pipe or endless file is waited for.

    Raises:
        OSError: it cannot be read, is no file, or is larger than all networks may be.
    """
    with open_regular_file(path) as file:
        if os.fstat(file.fileno()).st_size > _MAX_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        return file.read()


def _default_folder() -> Path:
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    return platformdirs.user_cache_path("frostline", appauthor=False) / "networks"


def _key(identity: str, engine: str, version: str) -> str:
    decided = json.dumps([identity, GRAPH_VERSION, engine, version])
    return hashlib.sha256(decided.encode()).hexdigest()


def _make_seal(parts: Iterable[bytes | memoryview], secret: bytes) -> bytes:
    seal = hmac.new(secret, digestmod="sha256")
    for part in parts:
        seal.update(part)
    return seal.digest()


def _check_seal(data: bytes, secret: bytes) -> memoryview | None:
    """What the seal covers; None where it does not match."""
    view = memoryview(data)
    start = len(_MAGIC) + 32
    if len(data) < start or bytes(view[: len(_MAGIC)]) != _MAGIC:
        return None
    body = view[start:]
    seal = bytes(view[len(_MAGIC) : start])
    return body if hmac.compare_digest(_make_seal([body], secret), seal) else None


def _split_body(body: memoryview) -> tuple[dict, bytes, bytes]:
    """Header, graph and weights; called once the seal says that they are whole."""
    end = 8 + int.from_bytes(body[:8], "big")
    header = json.loads(bytes(body[8:end]))
    middle = end + header["graph_bytes"]
    return header, bytes(body[end:middle]), bytes(body[middle:])
