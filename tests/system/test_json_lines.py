"""JSON for people and programs: what json.dumps gives, with numbers in one line."""

import json
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.system.printable import to_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read_back(value):
    assert json.loads(to_json(value)) == value


@given(st.dictionaries(st.text(), st.lists(st.text() | st.dictionaries(st.text(), st.booleans()))))
@settings(max_examples=50, deadline=None)
def test_without_numbers_it_is_the_usual_indented_text(value):
    usual = json.dumps(value, indent=2, ensure_ascii=False)
    text = to_json(value)
    assert json.loads(text) == value
    assert all(line.isprintable() for line in text.split("\n"))
    assert text == usual or not usual.replace("\n", "").isprintable()


def test_a_matrix_takes_a_line_a_row():
    expected = '{\n  "a": [\n    [9, 1],\n    [1, 9]\n  ],\n  "b": [0.5, 2],\n  "c": []\n}'
    assert to_json({"a": [[9, 1], [1, 9]], "b": [0.5, 2], "c": []}) == expected


def test_a_million_numbers_are_written_in_a_moment():
    started = time.process_time()
    text = to_json({"confusion_matrix": [[0] * 1000] * 1000})
    assert time.process_time() - started < 2
    assert len(text) < 4e6
