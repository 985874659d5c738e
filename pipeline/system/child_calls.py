"""Questions to a child process that answers several at once, in whatever order it has them."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from pipeline.system.child_process import ChildProcess


class ChildCalls:
    """What a child was asked; a thread gives each caller its answer.

    The child gets `(ticket, *question)` and sends `(ticket, kind, value)`.

    Args:
        child: that is ready.
        describe_loss: the error for a child that ended.
    """

    def __init__(self, child: ChildProcess, describe_loss: Callable[[ChildProcess], Exception]):
        self._child = child
        self._describe_loss = describe_loss
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[tuple[str, Any]]] = {}
        self._n_asked = 0
        self._is_over = False
        self._reader = threading.Thread(target=self._read_answers, daemon=True)
        self._reader.start()

    def ask(self, *question: object) -> tuple[str, Any]:
        """Kind and value of the answer; raises the error of `describe_loss` where none comes."""
        answer: Future[tuple[str, Any]] = Future()
        with self._lock:
            if self._is_over:
                raise self._describe_loss(self._child)
            self._n_asked += 1
            self._waiting[self._n_asked] = answer
            with suppress(OSError):  # the child is gone, which the reader notices
                self._child.connection.send((self._n_asked, *question))
        return answer.result()

    def stop(self, seconds_to_end: float = 0.0) -> None:
        """Ends the child; where it is given time it is told first, by None."""
        if seconds_to_end:
            with suppress(OSError):
                self._child.connection.send(None)
            if threading.current_thread() is not self._reader:
                self._reader.join(seconds_to_end)
        self._child.stop()

    def _read_answers(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                ticket, kind, value = self._child.connection.recv()
                with self._lock:
                    answer = self._waiting.pop(ticket)
                answer.set_result((kind, value))
        with self._lock:
            self._is_over = True
        for answer in self._waiting.values():
            answer.set_exception(self._describe_loss(self._child))
