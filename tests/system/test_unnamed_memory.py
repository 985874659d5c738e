"""Memory that two processes share and that leaves nothing behind."""

import os

import pytest

from pipeline.system.child_process import ChildProcess
from pipeline.system.unnamed_memory import UnnamedMemory, map_memory


def add_one_to_each_byte(connection, descriptor):
    connection.recv()
    memory = map_memory(descriptor, os.fstat(descriptor).st_size)
    memory[:] = bytes(value + 1 for value in memory[:])
    connection.send(len(memory))


def test_both_sides_see_the_same_bytes_whatever_size_it_was_given_later():
    with (
        UnnamedMemory() as memory,
        ChildProcess(
            add_one_to_each_byte, memory.descriptor, descriptors=[memory.descriptor]
        ) as child,
    ):
        mapped = memory.resize(5000)
        mapped[:] = bytes(n % 250 for n in range(5000))
        child.connection.send("go")
        assert child.connection.recv() == 5000
        assert mapped[:] == bytes(n % 250 + 1 for n in range(5000))


def test_it_stays_mapped_when_its_descriptor_is_given_back():
    with UnnamedMemory() as memory:
        mapped = memory.resize(10)
    mapped[:3] = b"abc"
    assert mapped[:3] == b"abc"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(memory.descriptor)


def test_it_has_no_name_that_could_be_left_behind():
    with UnnamedMemory() as memory:
        assert os.fstat(memory.descriptor).st_nlink == 0
