"""Children answer, fail and die in words, and none outlives its parent."""

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from killed_parent import ENDS, ROOT, survivors_of_a_kill

from pipeline import errors
from pipeline.errors import DeviceError, FrostlineError, ParameterError
from pipeline.system.child_process import (
    ChildFailedError,
    ChildLostError,
    ChildProcess,
    HelperProcess,
)


@pytest.fixture(scope="module")
def helper():
    with HelperProcess() as helper:
        yield helper


def double(rows):
    return os.getpid(), rows * 2


def raise_for_device():
    raise DeviceError("TensorFlow sees 0 GPU(s).")


def raise_for_parameter():
    raise ParameterError("Expected at least 1. Received: 0", "batch_size")


def stumble():
    return {}["missing"]


def return_what_cannot_travel():
    return lambda: None


def count_to(n, report):
    for number in range(n):
        report("counting", number)
    return n


def print_and_answer():
    print("not for the parent's stdout")
    return 7


def send_twice(connection, word):
    connection.send(word)
    connection.send(word)


def test_function_runs_in_another_process_and_its_result_comes_back(helper):
    rows = np.arange(300_000, dtype=np.float32).reshape(-1, 3)
    process, doubled = helper.call(double, rows)
    assert process == helper.process_id != os.getpid()
    np.testing.assert_array_equal(doubled, 2 * rows)


def test_error_keeps_its_class_its_words_and_its_parameter(helper):
    with pytest.raises(DeviceError, match="sees 0 GPU"):
        helper.call(raise_for_device)
    with pytest.raises(ParameterError, match=r"^Expected at least 1\. Received: 0$") as raised:
        helper.call(raise_for_parameter)
    assert raised.value.parameter == "batch_size"


def test_every_named_error_can_travel():
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, FrostlineError):
            values = ("words", "name") if kind is ParameterError else ("words",)
            copy = pickle.loads(pickle.dumps(kind(*values)))
            assert (type(copy), str(copy)) == (kind, "words")


def test_unexpected_exception_arrives_as_its_traceback_and_the_helper_goes_on(helper):
    with pytest.raises(ChildFailedError, match=r"in stumble(.|\n)*KeyError: 'missing'"):
        helper.call(stumble)
    with pytest.raises(ChildFailedError, match="pickle"):
        helper.call(return_what_cannot_travel)
    assert helper.call(double, 2)[1] == 4


def test_progress_arrives_in_order(helper):
    seen = []
    assert helper.call(count_to, 3, on_progress=lambda *values: seen.append(values)) == 3
    assert seen == [("counting", 0), ("counting", 1), ("counting", 2)]


def test_what_a_child_prints_does_not_mix_with_results(helper, capfd):
    assert helper.call(print_and_answer) == 7
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (signal.raise_signal, [signal.SIGSEGV], "its process died of SIGSEGV"),
        (os._exit, [3], "its process ended with exit code 3"),
    ],
)
def test_early_death_is_told_in_words(function, arguments, words):
    with HelperProcess(is_quiet=True) as helper:
        with pytest.raises(ChildLostError, match=words):
            helper.call(function, *arguments)
        assert not helper.is_alive()
        with pytest.raises(ChildLostError, match=words):
            helper.call(double, 2)


def test_child_that_does_not_answer_in_time_is_given_up():
    with HelperProcess() as helper:
        helper.call(double, 1)
        with pytest.raises(ChildLostError, match=r"no sign of life for 0\.2 seconds"):
            helper.call(time.sleep, 1000, seconds=0.2)
    assert not helper.is_alive()


CTRL_C = """
import math, os, signal
from pipeline.system.child_process import HelperProcess
# A shell starts what runs in the background with SIGINT ignored; these tests, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
with HelperProcess() as helper:
    for number in (9, 16):
        os.kill(helper.process_id, signal.SIGINT)
        assert helper.call(math.sqrt, number) == math.sqrt(number)
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("ends as ever")
"""


def test_ctrl_c_is_left_to_the_parent():
    """From the child's first moment on, and Ctrl-C ends the parent as ever."""
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (0, "ends as ever\n"), done.stderr


def test_task_talks_over_its_connection_and_the_child_ends_with_it():
    with ChildProcess(send_twice, "word") as child:
        assert [child.connection.recv(), child.connection.recv()] == ["word", "word"]
        assert child.describe_end() == "its process ended with exit code 0"


def test_script_without_a_main_guard_is_not_run_again_by_its_child(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "print('begins')\n"
        "import os\n"
        "from pipeline.system.child_process import HelperProcess\n"
        "with HelperProcess() as helper:\n"
        "    print(helper.call(os.getpid) != os.getpid())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("begins\nTrue\n", "")


def note_and_sleep(folder):
    Path(folder, f"child-{os.getpid()}").touch()
    time.sleep(1000)


def note_and_hang(folder):
    """Keeps Python's lock while it sleeps in C, as a library may that hangs."""
    Path(folder, f"child-{os.getpid()}").touch()
    ctypes.PyDLL(None).sleep(1000)


@pytest.mark.parametrize(
    "function",
    [
        note_and_sleep,
        pytest.param(
            note_and_hang, marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
        ),
    ],
)
@pytest.mark.parametrize("end", ENDS)
def test_child_ends_when_its_parent_is_killed(function, tmp_path, end):
    (tmp_path / "tasks.py").write_text(Path(__file__).read_text())
    program = (
        f"import sys; sys.path.append({str(Path(__file__).parent.parent)!r})\n"
        "import tasks\n"
        "from pipeline.system.child_process import HelperProcess\n"
        f"HelperProcess().call(tasks.{function.__name__}, '.')\n"
    )
    assert survivors_of_a_kill(program, tmp_path, n_children=1, end=end) == []
