"""OpenVINO takes no Ctrl-C away from a program, on a processor of whatever register size."""

import ctypes
import subprocess
import sys

import pytest

from pipeline.system.openvino_runtime import openvino
from pipeline.system.signal_stack import _Stack, signal_stack_kept

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stack is Linux's")

PROGRAM = """
import ctypes, signal
import numpy as np
from pipeline.backbones.engines.network_store import ConvertedNetwork
from pipeline.backbones.engines.openvino_compiled import ReadNetwork, Way, has_bfloat16
from pipeline.system.openvino_runtime import openvino
from pipeline.system.signal_stack import _Stack

def read():
    stack = _Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack.start, stack.size

before = read()
has_bfloat16()
assert read() == before, "after asking for capabilities"
op = openvino.opset13
image = op.parameter([1, 4], np.uint8)
model = openvino.Model([op.multiply(op.convert(image, "f32"), np.float32(2))], [image])
openvino.save_model(model, "twice.xml")
graph, weights = open("twice.xml", "rb").read(), open("twice.bin", "rb").read()
twice = ReadNetwork(ConvertedNetwork(graph, weights, 4)).compile(Way("float32", 1, 2))
assert twice(np.ones((1, 4), np.uint8)).tolist() == [[2, 2, 2, 2]]
assert read() == before, "after compiling"
try:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("ends as ever")
"""


def read_stack():
    stack = _Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack.start, stack.flags, stack.size


def test_a_stack_that_a_library_sets_is_taken_back():
    before = read_stack()
    with signal_stack_kept():
        core = openvino.Core()  # its plugin is loaded, and sets the stack, when it is first asked
        core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert read_stack() == before


def test_ctrl_c_ends_a_program_that_uses_openvino(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (0, "ends as ever\n"), done.stderr
