"""What TensorFlow and CUDA say when they start does not reach the terminal; errors do."""

import subprocess
import sys

import pytest

TALK = (
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    "I0000 00:00:1795715485.449557   23581 gpu_device.cc:2020] Created device /GPU:0 with 76 MB\n"
    "W0000 00:00:1795715487.701781   23581 gpu_device.cc:2431] Trying to register factory\n"
    "2026-11-26 18:25:20.449557: I external/local_xla/xla/service.cc:163] XLA service started\n"
)
ERRORS = (
    "E0000 00:00:1795715487.702580   23581 cuda_dnn.cc:522] Loaded runtime CuDNN library: 9.0\n"
    "F0000 00:00:1795715487.702580   23581 llvm.cc:10] no such target sm_120\n"
    "2026-11-26 18:25:20.449557: E external/local_xla/xla/stream_executor.cc:1] out of memory\n"
    "Segmentation fault, and I0000 00:00:17 a.cc:1] amid a line\n"
)


def run_program(end: str) -> "subprocess.CompletedProcess[str]":
    """A program that begins as the command line does; then a library writes past Python."""
    program = (
        "import os, sys\n"
        "from pipeline.system.quiet_start import no_start_up_talk\n"
        "from pipeline.system.sieved_stderr import want_sieve\n"
        "want_sieve()\n"
        "with no_start_up_talk():\n"
        "    with no_start_up_talk():\n"
        "        sys.modules['tensorflow'] = os\n"
        "        os.write(2, b'TensorFlow is imported')\n"
        "    os.write(2, b'and Keras')\n"
        f"os.write(2, {(TALK + ERRORS).encode()!r})\n"
        "print('I0000 00:00:17 b.cc:1] Python says so', file=sys.stderr)\n"
        f"{end}\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("end", ["pass", "os.abort()", "os.kill(os.getpid(), 9)", "raise KeyError"])
def test_talk_is_sieved_out_and_errors_pass_however_the_program_ends(end):
    done = run_program(end)
    missing = [line for line in ERRORS.splitlines() if line not in done.stderr]
    assert not missing, done.stderr
    assert not any(line in done.stderr for line in TALK.splitlines(keepends=True))
    assert "Python says so" in done.stderr
    assert "imported" not in done.stderr
    assert "Keras" not in done.stderr
    assert ("KeyError" in done.stderr) == (end == "raise KeyError")
