"""Commands that are told to end, by Ctrl-C, SIGTERM or SIGHUP: they end alike, in one line."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import call

ROOT = Path(__file__).resolve().parents[2]
# What a shell starts in the background ignores Ctrl-C, and so do its children, these tests.
HEAR = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores
"""
PROGRAM = """
import sys, time, click
from pipeline.commands.shared import Command, Program
from pipeline.errors import RunError

@click.group(cls=Program)
def main(): pass

def wait(seconds):  # in steps: Python hears a signal late that comes just before a sleep begins
    for _ in range(round(20 * seconds)):
        time.sleep(0.05)

@main.command(cls=Command)
def work():
    try:
        print("ready", flush=True)
        wait(60 if how != "deaf" else 0.5)
    except KeyboardInterrupt:
        if how == "slow": wait(60)
        if how == "fails": raise RunError("a child ended")
        if how == "breaks": raise ValueError("a library in pieces")
        raise
    finally:
        print("tidied", flush=True)

how = sys.argv.pop()
if how == "deaf":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
main()
"""


def start(how=""):
    process = subprocess.Popen(
        [sys.executable, "-c", HEAR + PROGRAM, "work", how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGINT, ""),
        (signal.SIGTERM, ""),
        (signal.SIGHUP, ""),
        (signal.SIGTERM, "fails"),  # whatever goes wrong on the way out is no error of its own
        (signal.SIGTERM, "breaks"),
    ],
)
def test_each_signal_lets_a_command_tidy_up_and_say_one_line(number, how):
    process = start(how)
    process.send_signal(number)
    said, complained = process.communicate(timeout=20)
    assert said == "tidied\n"
    assert complained == "Stopped. Run the same command again to begin anew.\n"
    assert process.returncode == 128 + number


def test_the_second_signal_ends_at_once_and_without_a_word():
    process = start("slow")
    process.send_signal(signal.SIGTERM)
    # Until the first was heard, which nothing shows. Of two that come in the same moment Python
    # hears the lower number first, and complains about the other.
    for _ in range(40):
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
            break
        process.send_signal(signal.SIGINT)
    assert process.communicate() == ("", "")
    assert process.returncode in (-signal.SIGINT, -signal.SIGTERM)


def test_a_signal_that_nohup_ignores_stays_ignored():
    process = start("deaf")
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=20) == ("tidied\n", "")
    assert process.returncode == 0


def test_ctrl_c_while_the_command_line_loads_shows_no_traceback(tmp_path):
    slow = "import time; print('loading', flush=True); time.sleep(60)"
    (tmp_path / "click.py").write_text(slow)
    script = HEAR + "import sys; sys.path[:0] = sys.argv[1:]; import cli"
    process = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path, ROOT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == -signal.SIGINT


def test_who_calls_a_command_keeps_the_handlers_that_it_had():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    assert call("runs").exit_code == 0
    assert [signal.getsignal(number) for number in numbers] == before
