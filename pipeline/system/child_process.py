"""Child processes: for what may crash or hang, and for what needs a process of its own.

A child begins with an empty interpreter and never runs the program that started it, so a script
or notebook needs no `if __name__ == "__main__"`. It leaves Ctrl-C to its parent, and it ends when
its parent ends, however that ends.
"""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline.errors import FrostlineError

_FOLDER_OF_THE_PACKAGE = str(Path(__file__).resolve().parents[2])
_START = """
import sys
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[1]))
try:
    sys.path[:] = connection.recv()
except (EOFError, OSError):
    sys.exit(1)  # the parent is gone
from pipeline.system.child_process import live
live(connection)
"""
_SECONDS_TO_END = 10.0


class ChildLostError(Exception):
    """A child ended early, or did not answer in time; the message says how, in words."""


class ChildFailedError(Exception):
    """Something unexpected happened in a child; the message is the child's traceback."""


class ChildProcess:
    """A process that runs `task(connection, *arguments)` and ends with it.

    Both sides talk through `connection`, a `multiprocessing.connection.Connection`. What a child
    prints goes nowhere.

    Args:
        task: a function that the child can import by name.
        arguments: anything that can be pickled.
        is_quiet: what the child writes to stderr goes nowhere, too.
        descriptors: of open files that the child gets, too, under the same numbers.
    """

    def __init__(
        self,
        task: Callable[..., None],
        *arguments: object,
        is_quiet: bool = False,
        descriptors: Collection[int] = (),
    ) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        with theirs, _ctrl_c_held_back():
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(theirs.fileno())],
                pass_fds=[theirs.fileno(), *descriptors],
                stdin=subprocess.PIPE,  # never written to: it ends when this process does
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL if is_quiet else None,
            )
        try:
            # A child that is gone already is noticed by whoever asks it next.
            with suppress(OSError):
                self.connection.send([*sys.path, _FOLDER_OF_THE_PACKAGE])
                self.connection.send((task, arguments))
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> "ChildProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def process_id(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def describe_end(self) -> str:
        """How the child ended, which was seen to end: `its process died of SIGKILL`."""
        try:
            code = self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            return "its process answers no more"
        if code >= 0:
            return f"its process ended with exit code {code}"
        try:
            return f"its process died of {signal.Signals(-code).name}"
        except ValueError:
            return f"its process died of signal {-code}"

    def stop(self) -> None:
        """Ends the child at once, whatever it does."""
        self._process.kill()
        self._process.wait()
        self.connection.close()
        if self._process.stdin is not None:
            self._process.stdin.close()


class HelperProcess(ChildProcess):
    """A child that calls functions for its parent, one at a time.

    Example:
        with HelperProcess() as helper:
            damage = helper.call(find_damage, path, seconds=60)
    """

    def __init__(self, *, is_quiet: bool = False) -> None:
        super().__init__(_answer_calls, is_quiet=is_quiet)

    def __enter__(self) -> "HelperProcess":
        return self

    def call(
        self,
        function: Callable[..., Any],
        *arguments: object,
        on_progress: Callable[..., None] | None = None,
        seconds: float | None = None,
    ) -> Any:
        """What `function(*arguments)` returns in the child.

        Args:
            function: the child imports it by name.
            on_progress: where there is one, the function gets a last argument: whatever it calls
                that with comes here.
            seconds: to wait for each sign of life; None = for ever.

        Raises:
            FrostlineError: that the function raised, of the same class.
            ChildFailedError: the function raised something else.
            ChildLostError: the child ended, or gave no sign of life in time.
        """
        self._send(pickle.dumps((function, arguments, on_progress is not None)))
        while True:
            kind, value = pickle.loads(self._receive(seconds))
            if kind == "progress" and on_progress is not None:
                on_progress(*value)
            elif kind == "error":
                raise value
            elif kind == "failure":
                raise ChildFailedError(value)
            else:
                return value

    def _send(self, question: bytes) -> None:
        try:
            self.connection.send_bytes(question)
        except OSError as error:
            raise ChildLostError(self.describe_end()) from error

    def _receive(self, seconds: float | None) -> bytes:
        try:
            if self.connection.poll(seconds):
                return self.connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise ChildLostError(self.describe_end()) from error
        raise ChildLostError(f"its process gave no sign of life for {seconds:g} seconds")


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """What is started meanwhile never sees SIGINT, not even in its first moments."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def live(connection: Connection) -> None:
    """The life of a child, from its first words on."""
    _end_with_parent()
    with suppress(EOFError, BrokenPipeError):  # the parent is gone, and so is the task
        task, arguments = connection.recv()
        task(connection, *arguments)


def _end_with_parent() -> None:
    """Ends this process as soon as its standard input does, which its parent holds.

    A thread waits for that. On Linux the kernel ends the process itself, which holds even where a
    library hangs and never gives Python's lock back.
    """
    if sys.platform == "linux":
        import fcntl

        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)

    def wait() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _answer_calls(connection: Connection) -> None:
    while True:
        connection.send_bytes(_answer(connection, connection.recv_bytes()))


def _answer(connection: Connection, question: bytes) -> bytes:
    def report(*values: object) -> None:
        connection.send_bytes(pickle.dumps(("progress", values)))

    try:
        function, arguments, wants_progress = pickle.loads(question)
        extra = (report,) if wants_progress else ()
        return pickle.dumps(("result", function(*arguments, *extra)))
    except FrostlineError as error:
        return pickle.dumps(("error", error))
    except Exception:
        return pickle.dumps(("failure", traceback.format_exc()))
