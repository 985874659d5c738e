"""The model that answers now: loaded while the service starts, and renewed when its run is.

The new model is loaded beside the old one, which answers meanwhile; what it has begun it finishes.
Where the new one cannot be loaded the old one stays, and people are told.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.classifier.model import Classifier
from pipeline.errors import FrostlineError

LOOK_SECONDS = 1.0  # between looks at the run
RETRY_SECONDS = 10.0  # between attempts to load one that cannot be loaded

Stamp = tuple[int, ...]


class CurrentModel:
    """Loads a run's model, and loads it again whenever another run has its place.

    Args:
        folder: the run's.
        load: reads the run in the folder and loads its model.
        on_note: called with what people should know.
        look_seconds, retry_seconds: between looks, and between attempts.
    """

    def __init__(
        self,
        folder: Path,
        load: Callable[[], Classifier],
        on_note: Callable[[str], None],
        *,
        look_seconds: float = LOOK_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self.problem: str | None = None
        self.n_renewed = 0
        self._manifest = folder / "manifest.json"
        self._load = load
        self._on_note = on_note
        self._look_seconds = look_seconds
        self._retry_seconds = retry_seconds
        self._model: Classifier | None = None
        self._stamp: Stamp | None = None
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="frostline-watch")

    def get(self) -> Classifier | None:
        """The model that answers; None as long as the first one is being loaded."""
        return self._model

    def begin(self) -> Classifier:
        """Loads the first model, and watches the run from then on.

        Raises:
            FrostlineError: it cannot be loaded.
        """
        self._stamp = self._look()
        self._model = model = self._load()
        self._watcher.start()
        return model

    def end(self) -> None:
        """Watches no more."""
        self._ended.set()
        if self._watcher.ident is not None:
            self._watcher.join()

    def _watch(self) -> None:
        tried, next_attempt = self._stamp, 0.0
        while not self._ended.wait(self._look_seconds):
            stamp = self._look()
            if stamp == self._stamp:
                self._tell(None)
            elif stamp is None:
                self._tell("The run is gone")
            elif stamp != tried or time.monotonic() >= next_attempt:
                self._renew(stamp)
                tried, next_attempt = stamp, time.monotonic() + self._retry_seconds

    def _renew(self, stamp: Stamp) -> None:
        try:
            model = self._load()
        except Exception as error:
            kind = "" if isinstance(error, FrostlineError) else f"{type(error).__name__}: "
            self._tell(f"The run was replaced by one that cannot be loaded: {kind}{error}")
            return
        if self._look() == stamp:  # else it was replaced again while it was read
            self._model, self._stamp = model, stamp
            self.n_renewed += 1
            self.problem = None
            self._on_note(f"The run was replaced; the new one, of {_date(model)}, answers now.")

    def _tell(self, problem: str | None) -> None:
        """Says once what is wrong with the run."""
        if problem is not None and problem != self.problem:
            self._on_note(f"{problem}. The one before still answers.")
        self.problem = problem

    def _look(self) -> Stamp | None:
        """What tells that the manifest is another one; None where there is none."""
        try:
            found = self._manifest.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size


def _date(model: Classifier) -> str:
    return model.run.manifest.created
