"""How a command speaks: results on stdout, talk and progress on stderr.

Talk that nobody can read any more ends nothing. A result that cannot be written is an error, except
where its reader has seen enough (`| head -1`): then the command ends without a word.
"""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stderr,
    suppress,
)
from pathlib import Path
from typing import Any, TextIO, cast

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.commands.terminal.links import can_link, make_link
from pipeline.commands.terminal.progress import progress_bar, progress_lines
from pipeline.commands.terminal.words import say_in_commands
from pipeline.errors import StorageError
from pipeline.system.printable import (
    AS_THEY_CAME,
    printable,
    printable_lines,
    to_json,
    without_nan,
)

_UNLIMITED = 100_000  # characters in a line of a pipe or file, where nothing must be broken
_LEAST_TEXT = 8  # characters of a column of text


class Output:
    """Prints for people and scripts; with `quiet`, only results."""

    def __init__(self, *, quiet: bool = False):
        self.is_quiet = quiet
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors=AS_THEY_CAME)
        self._is_screen = sys.stdout.isatty()
        self.columns = Console().width  # what is piped is read in a terminal, too, or in a log
        width = None if self._is_screen else _UNLIMITED
        self._out = Console(highlight=False, width=width, soft_wrap=not self._is_screen)
        # With a height, or rich would take a terminal that can do nothing for one of 80 columns.
        self._wide = Console(highlight=False, width=_UNLIMITED, height=_UNLIMITED)
        self._talk = Console(
            file=cast(TextIO, _Talk()), highlight=False, quiet=quiet, soft_wrap=True
        )

    @property
    def width(self) -> int:
        """Characters in a line of stdout."""
        return self._out.width

    def say(self, text: str) -> None:
        """Talk on stderr, in lines that do nothing to a terminal whatever names are in them."""
        self.show_talk(Text(printable_lines(say_in_commands(text))))

    def log(self, line: str) -> None:
        """Talk as `say`, of a line that comes often and from any thread."""
        if not self.is_quiet:
            talk = _Talk()
            talk.write(f"{printable(line)}\n")
            talk.flush()

    def show_talk(self, shown: RenderableType) -> None:
        """Talk that is more than text."""
        self._talk.print(shown)

    def complain(self, text: str) -> None:
        """What went wrong, on stderr, even with `quiet`; for errors that end nothing."""
        complain(text)

    def result(self, text: str) -> None:
        """A result, a line or more, on stdout: for a screen as `say`, else to the last byte."""
        self._write((printable_lines(text) if self._is_screen else text) + "\n")

    def result_with_link(self, text: str, shown: str, file: Path | None) -> None:
        """A result of which a part opens a file, on a screen that can.

        Args:
            shown: the part, printable; the first of the kind in the text is meant.
            file: absolute; None = there is none.
        """
        if file is None or not self.links_files:
            self.result(text)
            return
        before, _, after = text.partition(shown)
        link = make_link(shown, file)
        self._write(f"{printable_lines(before)}{link}{printable_lines(after)}\n")

    @property
    def links_files(self) -> bool:
        """Whether a click on a name in stdout can open its file."""
        return self._is_screen and can_link(os.environ)

    @property
    def draws_bars(self) -> bool:
        """Whether stdout can hold characters that are no letters."""
        return (sys.stdout.encoding or "").lower().startswith("utf")

    def tell(self, text: str) -> None:
        """A result in words of the library, for people."""
        self.result(say_in_commands(text))

    def result_json(self, value: object) -> None:
        """A result for scripts: any reader of JSON takes it, and a number that is none is null."""
        self.result(to_json(without_nan(value)))

    def print_table(self, table: Table) -> None:
        """In the width that there is, or as it is where its numbers have no room in that."""
        if self._measure_least(table) > self.width:
            self.print_whole_table(table)
            return
        self._print_by(self._out, table)

    def _measure_least(self, table: Table) -> int:
        """How narrow a table can be: its texts are broken, its numbers are not."""
        texts = [column for column in table.columns if not column.no_wrap]
        widest = [column.max_width for column in texts]
        for column in texts:
            column.max_width = _LEAST_TEXT
        least = self._wide.measure(table).minimum
        for column, width in zip(texts, widest, strict=True):
            column.max_width = width
        return least

    def print_whole_table(self, table: Table) -> None:
        """As wide as it is: the terminal breaks a line that is too long, and cuts nothing off."""
        self._print_by(self._wide, table)

    def _print_by(self, console: Console, table: Table) -> None:
        # At its end a capture flushes what it caught before, which may fail as writing does.
        with _named_errors(), console.capture() as captured:
            console.print(table)
        self._write_lines(captured.get())

    def progress(self) -> AbstractContextManager[Callable[[str, int, int], None]]:
        """Gives a function of (stage, done, total) that draws a bar, or a line now and then."""
        if self.is_quiet:
            return nullcontext(lambda stage, done, total: None)
        if self._talk.is_terminal and not self._talk.is_dumb_terminal:
            return progress_bar(self._talk)
        return nullcontext(progress_lines(self.say))

    def hush(self) -> AbstractContextManager[Any]:
        """With `quiet`, keeps off stderr what libraries write there: Keras's progress bar."""
        return redirect_stderr(io.StringIO()) if self.is_quiet else nullcontext()

    def _write_lines(self, text: str) -> None:
        """Without the spaces that fill a table's lines up: they would break in a terminal."""
        self._write("\n".join(line.rstrip(" ") for line in text.split("\n")))

    def _write(self, text: str) -> None:
        with _named_errors():
            sys.stdout.write(text)
            sys.stdout.flush()


def complain(text: str) -> None:
    """Says on stderr, in words for the command line, what went wrong."""
    talk = _Talk()
    talk.write(printable_lines(say_in_commands(text)) + "\n")
    talk.flush()


class _Talk:
    """stderr as it is when this is made; what cannot be written to it is dropped."""

    def __init__(self) -> None:
        self._stream = sys.stderr

    @property
    def encoding(self) -> str:
        return self._stream.encoding

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            _silence(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            _silence(self._stream)


@contextmanager
def _named_errors() -> Iterator[None]:
    """For writing to stdout."""
    try:
        yield
    except BrokenPipeError:
        _silence(sys.stdout)
        raise  # click ends the command without a word
    except OSError as error:
        _silence(sys.stdout)
        raise StorageError(
            f"The results cannot be written to stdout: {error.strerror}. Whatever the command "
            "has made before is kept."
        ) from error


def _silence(stream: TextIO) -> None:
    """Sends what is left for a stream nowhere, or Python would fail on it again at its end."""
    with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
