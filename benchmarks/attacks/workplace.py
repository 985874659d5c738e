"""Where the attacks take place: a small data set, what is made of it, and commands on copies.

A command runs in a fork of this warm process, or in a new Python where that is what is tried, with
a folder, a TMPDIR and standard streams of its own, and never longer than it may.
"""

import contextlib
import os
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.stand_in import extract as extract_by_stand_in

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120.0  # no command on these few images takes longer, whatever is done to it
LITE0 = ("--backbone", "efficientnet-lite0", "--image-size", "32")
_MARK = "FROSTLINE_ATTACK"
_COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 70), "red": (210, 50, 40)}


@dataclass(frozen=True)
class End:
    """What became of a command: exit code, or minus the signal that ended it; what it said."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    peak_mb: float
    left_alive: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """The line that matters: the error, or the last that was said."""
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("Error")]
        return (errors or lines or [""])[0 if errors else -1]


@dataclass
class Tally:
    """A line of the table."""

    attack: str
    commands: str
    tries: int = 0
    wrong: list[str] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    note: str = ""

    def add(self, outcome: str, wrong: list[str]) -> None:
        """One more try, and what was wrong with it."""
        self.tries += 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if wrong:
            self.wrong.append("; ".join(wrong))

    @property
    def right(self) -> int:
        """Tries of which nothing was wrong."""
        return self.tries - len(self.wrong)

    @property
    def came_out(self) -> str:
        """Outcomes in words, the most frequent first."""
        ranked = sorted(self.outcomes.items(), key=lambda item: -item[1])
        words = [f"{name} ({n})" if n > 1 else name for name, n in ranked]
        return ", ".join(words) + (f"; {self.note}" if self.note else "")


class Workplace:
    """A folder with `photos/`, `f.h5`, `run/` and, once asked for, `tuned/`.

    Args:
        folder: where copies are made, too.
        prepared: a folder that has photos/, features.h5 and logreg/ already, as those of the tests.
    """

    def __init__(self, folder: Path, prepared: Path | None = None):
        self.folder = folder
        self._base = folder / "base"
        self.store = Path(os.environ.get("FROSTLINE_NETWORKS", folder / "networks"))
        if prepared is None:
            self._base.mkdir(parents=True)
            make_photos(self._base / "photos", 12)
            self._make("extract", "photos", *LITE0, "--output", "f.h5")
            self._make("fit-head", "f.h5", "--output", "run")
        else:
            self._base.mkdir(parents=True)
            shutil.copytree(prepared / "photos", self._base / "photos")
            shutil.copytree(prepared / "logreg", self._base / "run")
            shutil.copy(prepared / "features.h5", self._base / "f.h5")

    def _make(self, *arguments: str) -> None:
        end = self.run(arguments, self._base)
        if end.code != 0:
            raise RuntimeError(f"{arguments}: {end.stderr}")
        for lock in self._base.glob(".*.lock"):
            lock.unlink()

    def _find(self, name: str) -> Path:
        """What is there, or is made when it is first asked for."""
        path = self._base / name
        if path.exists():
            return path
        if name == "tuned":
            how = ("--unfreeze", "block7a", "--epochs", "1", "--output", name)
            self._make("finetune", "run", *how)
        elif name == "strange.h5":
            extract_by_stand_in(make_photos(self.folder / "few", 8, size=8), path)
        elif name == "photos.tar.gz":
            with tarfile.open(path, "w:gz") as archive:
                archive.add(self._base / "photos", "photos")
        return path

    @contextlib.contextmanager
    def copy(self, *names: str) -> Iterator[Path]:
        """A folder with copies of these, which goes again."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        for name in names:
            source = self._find(name)
            if source.is_dir():
                shutil.copytree(source, folder / name)
            else:
                shutil.copy2(source, folder / name)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def environment(self, temporary: Path) -> dict[str, str]:
        """For a command: nothing that it keeps lands in the user's own folders."""
        return {
            **os.environ,
            "FROSTLINE_NETWORKS": str(self.store),
            "XDG_DATA_HOME": os.environ.get("XDG_DATA_HOME", str(self.folder / "data-home")),
            "TMPDIR": str(temporary),
            "COLUMNS": "100",
        }

    def run(
        self,
        arguments: tuple[str, ...],
        folder: Path,
        *,
        before: Callable[[], None] = lambda: None,
        environment: Mapping[str, str | None] | None = None,
        seconds: float = SECONDS,
        meanwhile: Callable[[int], None] | None = None,
        is_warm: bool = True,
        streams: Mapping[int, int] | None = None,
    ) -> End:
        """Runs one command to its end.

        Args:
            before: called in the new process: limits, users.
            environment: further variables; None takes one away.
            meanwhile: called with the process's id while it runs.
            is_warm: in a fork of this process; else in a new Python.
            streams: descriptors in place of files for the standard streams.
        """
        temporary = self.folder / f"tmp-{uuid.uuid4().hex[:8]}"
        temporary.mkdir(mode=0o777)
        temporary.chmod(0o777)
        mark = uuid.uuid4().hex
        variables = {**self.environment(temporary), _MARK: mark, **(environment or {})}
        variables = {name: value for name, value in variables.items() if value is not None}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            into = {1: out.fileno(), 2: err.fileno(), **(streams or {})}
            started = time.perf_counter()
            child = _start(arguments, folder, variables, into, before, is_warm)
            if meanwhile is not None:
                meanwhile(child)
            code, peak = _wait(child, seconds)
            took = time.perf_counter() - started
            texts = [file.seek(0) or file.read() for file in (out, err)]
        left = find_marked(mark)
        end = End(code, *(text.decode(errors="replace") for text in texts), took, peak, left)
        shutil.rmtree(temporary, ignore_errors=True)
        return end


def _start(arguments, folder, variables, streams, before, is_warm) -> int:
    """The command line in a fork, in which all that it imports is there; or in a new Python."""
    warm_up()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number in (0, 1, 2):
            os.dup2(streams.get(number, nothing), number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)  # a shell's background ignores Ctrl-C
        if not is_warm:
            before()
            os.execv(sys.executable, [sys.executable, str(ROOT / "cli.py"), *arguments])
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        tempfile.tempdir = None
        sys.argv = ["frostline", *arguments]
        before()
        from cli import main

        try:
            main(prog_name="frostline")
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 1
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    finally:
        os._exit(code)


def warm_up() -> None:
    """Imports what commands import and what starts no thread."""
    import h5py  # noqa: F401
    import scipy.optimize  # noqa: F401
    import sklearn.linear_model  # noqa: F401

    import cli  # noqa: F401


def _wait(child: int, seconds: float) -> tuple[int, float]:
    """Exit code and peak memory in MB; ends what takes too long."""
    end = time.monotonic() + seconds
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code, usage.ru_maxrss / 1024
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
            return -999, usage.ru_maxrss / 1024
        time.sleep(0.005)


def find_marked(mark: str, patience: float = 5.0) -> tuple[str, ...]:
    """Processes that a command started and that are still there a moment after its end."""
    end = time.monotonic() + patience
    while True:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark.encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        if not found or time.monotonic() > end:
            return tuple(found)
        time.sleep(0.1)


def judge(end: End, *, may: tuple[int, ...] = (1,), most_mb: float = 1500) -> list[str]:
    """What is wrong with the way in which a command ended; nothing if all is well."""
    wrong = []
    if end.code == -999:
        wrong.append(f"still there after {end.seconds:.0f} s")
    elif end.code not in may:
        wrong.append(f"exit code {end.code}: {end.said[:200]}")
    if "Traceback" in end.stderr or "Exception ignored" in end.stderr:
        wrong.append("traceback: " + end.stderr.strip().splitlines()[-1][:200])
    if end.code == 1 and sum(line.startswith("Error") for line in end.stderr.splitlines()) != 1:
        wrong.append(f"not one message: {end.stderr[-300:]!r}")
    if end.peak_mb > most_mb:
        wrong.append(f"{end.peak_mb:,.0f} MB")
    if end.left_alive:
        wrong.append(f"lives on: {end.left_alive}")
    return wrong


def find_leftovers(folder: Path) -> list[str]:
    """Temporary names and unfinished parts below a folder."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.name.startswith((".frostline-tmp-", ".frostline-old-"))
        or path.name.endswith((".parts", ".tmp"))
    ]


def list_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Sizes and times of all files below a folder, less its locks."""
    found = {}
    for path in folder.rglob("*"):
        if not path.name.endswith(".lock") and not path.is_dir():
            stat = path.lstat()
            found[str(path.relative_to(folder))] = (stat.st_size, stat.st_mtime_ns)
    return found


def limit_memory(n_bytes: int) -> Callable[[], None]:
    """As `ulimit -v`."""
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))


def limit_files(n_files: int) -> Callable[[], None]:
    """As `ulimit -n`."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n_files, n_files))


def make_photos(root: Path, n_per_class: int, size: int = 24) -> Path:
    """Noisy squares of one colour a class."""
    for label, (name, colour) in enumerate(_COLOURS.items()):
        (root / name).mkdir(parents=True)
        for number in range(n_per_class):
            noise = np.random.default_rng(1000 * label + number).normal(0, 40, (size, size, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:03d}.png")
    return root


def name_outcome(end: End) -> str:
    """In a word or two, for the table."""
    if end.code == 0:
        return "done"
    if end.code in (1, 2):
        return "refused" if end.code == 1 else "wrong usage"
    return f"exit {end.code}"
