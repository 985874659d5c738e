"""Names as text: nothing that a terminal would obey, and in JSON and streams nothing is lost."""

import io
import json
import os

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.system.printable import AS_THEY_CAME, printable, printable_lines, to_json

names = st.one_of(st.binary(max_size=12).map(os.fsdecode), st.text(max_size=12))
NASTY = "ä\x9b\u2028\u202e\x7f😀\U000e0001G\udce4nse"


@example(NASTY)
@given(names)
def test_json_holds_nothing_that_a_terminal_would_obey_and_gives_the_name_back(name):
    text = to_json({name: [name]})
    assert all(line.isprintable() for line in text.split("\n"))
    assert json.loads(text) == {name: [name]}


def test_json_keeps_letters_that_can_be_shown():
    assert to_json(["ä 😀 花"]) == '[\n  "ä 😀 花"\n]'


@example(NASTY)
@given(names)
def test_a_name_is_shown_as_one_line(name):
    assert printable(name).isprintable()
    assert printable_lines(f"{name}\n").count("\n") == name.count("\n") + 1


def test_what_an_encoding_lacks_is_escaped_and_stray_bytes_leave_as_they_came():
    stream = io.TextIOWrapper(io.BytesIO(), "ascii", errors=AS_THEY_CAME)
    stream.write("a\udce4 ä 😀")
    stream.flush()
    assert stream.buffer.getvalue() == b"a\xe4 \\xe4 \\U0001f600"
