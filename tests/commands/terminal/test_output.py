"""Streams that are closed, full, or speak another alphabet; names on a screen and in a pipe."""

import io
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from manifests import make_manifest

from pipeline.commands.terminal.output import Output
from pipeline.commands.terminal.tables import make_table

REPOSITORY = Path(__file__).resolve().parents[3]
NASTY = "runs/G\udce4nse\x1b[31m\u202e[red]\r"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a run, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("output")
    for name, text in (("good", json.dumps(make_manifest())), ("bad", "{")):
        (folder / "runs" / name).mkdir(parents=True)
        (folder / "runs" / name / "manifest.json").write_text(text)
    return folder


def shell(folder: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a command of the shell leaves; `frostline` in it is the program.

    A function, since a folder of the repository may be called so, too.
    """
    program = f"frostline() {{ '{sys.executable}' '{REPOSITORY / 'cli.py'}' \"$@\"; }}; "
    return subprocess.run(
        ["bash", "-c", program + command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_results_that_nobody_reads_any_more_end_the_command_without_a_word(folder):
    outcome = shell(folder, "frostline runs --json --quiet 2>err | true; grep -v 'Left out' err")
    assert outcome.stdout == ""


def test_results_for_which_there_is_no_room_are_one_error(folder):
    outcome = shell(folder, "frostline runs >/dev/full")
    assert outcome.returncode == 1
    assert outcome.stderr.count("Error: The results cannot be written to stdout: No space") == 1
    assert "Traceback" not in outcome.stderr
    assert "Exception ignored" not in outcome.stderr


@pytest.mark.parametrize("how", ["print_table", "print_whole_table"])
def test_a_table_that_is_the_first_result_and_has_no_room_is_the_same_error(tmp_path, how):
    (tmp_path / "show.py").write_text(
        "from pipeline.commands.terminal.output import Output\n"
        "from pipeline.commands.terminal.tables import make_table\n"
        f"Output().{how}(make_table('a', 'b'))\n"
    )
    command = f"PYTHONPATH='{REPOSITORY}' '{sys.executable}' show.py >/dev/full"
    last = shell(tmp_path, command).stderr.splitlines()[-1]
    assert last.startswith("pipeline.errors.StorageError: The results cannot be written to stdout")


@pytest.mark.parametrize("closed", ["2>/dev/full", "2> >(exit)"])
def test_talk_that_cannot_be_written_keeps_no_result_back(folder, closed):
    outcome = shell(folder, f"frostline runs {closed}")
    assert outcome.returncode == 0
    assert "runs/good" in outcome.stdout


def test_without_any_standard_stream_the_command_does_its_work(folder):
    outcome = shell(folder, "frostline runs >&- 2>&- <&-; echo $?")
    assert outcome.stdout == "0\n"


def test_a_file_that_is_opened_never_becomes_stderr(folder):
    code = (
        "import os, cli; file = open('data', 'w'); os.write(2, b'talk'); print(file.fileno() > 2);"
        "import subprocess; subprocess.run(['sh', '-c', 'echo talk >&2'], check=True)"
    )
    path = f"PYTHONPATH='{REPOSITORY}' '{sys.executable}'"
    outcome = shell(folder, f'{path} -c "{code}" 2>&- <&-')
    assert (outcome.returncode, outcome.stdout) == (0, "True\n")
    assert (folder / "data").read_text() == ""


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"TERM": "dumb", "COLUMNS": "20"},
    ],
    ids=["ascii", "dumb"],
)
def test_any_alphabet_and_width_shows_the_runs(folder, environment):
    outcome = shell(folder, "frostline runs <&-", **environment)
    assert outcome.returncode == 0
    assert "runs/good" in outcome.stdout
    assert "Traceback" not in outcome.stderr


def test_a_name_on_a_screen_does_nothing_to_it_and_in_a_pipe_it_is_whole(monkeypatch):
    pipe = io.TextIOWrapper(io.BytesIO(), "utf-8", newline="")
    monkeypatch.setattr(sys, "stdout", pipe)
    Output().result(NASTY)
    assert pipe.buffer.getvalue() == os.fsencode(NASTY) + b"\n"
    mine, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as screen:
        monkeypatch.setattr(sys, "stdout", screen)
        Output().result(NASTY)
        shown = os.read(mine, 1000).decode()
    os.close(mine)
    assert shown == "runs/G\\udce4nse\\x1b[31m\\u202e[red]\\r\r\n"


class Screen(io.StringIO):
    """Stands for a terminal."""

    def isatty(self) -> bool:
        return True


def be_narrow(monkeypatch) -> Screen:
    """Puts a terminal of 20 columns in the place of stdout and stderr."""
    for name, value in {"COLUMNS": "20", "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_numbers_that_have_no_room_are_broken_by_the_terminal_and_not_cut_off(monkeypatch):
    screen = be_narrow(monkeypatch)
    table = make_table("split", ">images", ">accuracy", ">log-loss")
    table.add_row("val", "1,234", "0.9876", "0.1234")
    Output().print_table(table)
    assert screen.getvalue().split()[-4:] == ["val", "1,234", "0.9876", "0.1234"]


def test_a_terminal_that_can_do_nothing_gets_lines_and_no_bar(monkeypatch):
    screen = be_narrow(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("pipeline.commands.terminal.progress._PLAIN_LINE_SECONDS", 0.0)
    with Output().progress() as update:
        update("Embedding", 0, 2)
        time.sleep(0.01)
        update("Embedding", 1, 2)
    lines = screen.getvalue().splitlines()
    assert lines
    assert all(line.startswith("Embedding: ") and line.isprintable() for line in lines)


@pytest.mark.parametrize(
    "text", ["of C:\\", "of :dog: and [red]cat[/red]", "of [link=x]y[/link]\\"]
)
def test_talk_is_said_as_it_is_whatever_it_means_elsewhere(text, capsys):
    Output().say(text)
    assert capsys.readouterr().err == f"{text}\n"
