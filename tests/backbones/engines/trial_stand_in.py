"""What the trial's child does where there is no GPU: it dies as a compiler does, or computes."""

import os

from pipeline.backbones.engines.tensorflow_trial import run_compiled


def die(number):
    os.abort()


def find_no_compiler(number):
    raise RuntimeError("Couldn't get ptxas version string. It may be missing.\nMore of it")


def compute_on_the_cpu(number):
    assert number == 1
    assert run_compiled("/CPU:0") == 14520


def compute_wrongly(number):
    raise ArithmeticError("expected 14520, received 14400")
