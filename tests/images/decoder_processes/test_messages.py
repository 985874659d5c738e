"""What goes to a decoder process and comes back is the same on the other side."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import FrostlineError, StorageError
from pipeline.images.decoder_processes.messages import (
    Piece,
    pack_error,
    pack_failure,
    pack_outcomes,
    pack_piece,
    unpack_outcomes,
    unpack_piece,
)
from pipeline.system.child_process import ChildFailedError

# Whatever bytes a file system has in names, but for / and NUL.
names = st.binary(min_size=1, max_size=30).map(
    lambda name: name.replace(b"\0", b"n").replace(b"/", b"s").decode("utf-8", "surrogateescape")
)
rows = st.integers(0, 2**32 - 1)
digests = st.binary(min_size=32, max_size=32)
reasons = st.none() | st.text(
    st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=40
)


@settings(max_examples=50)
@given(slot=rows, images=st.lists(st.tuples(rows, names), min_size=1, max_size=9))
def test_a_piece_arrives_whatever_its_files_are_called(slot, images):
    piece = Piece(slot, [row for row, _ in images], [Path("/a", name) for _, name in images])
    assert unpack_piece(pack_piece(piece)) == piece


@settings(max_examples=50)
@given(st.lists(st.tuples(digests, reasons), min_size=1, max_size=9))
def test_outcomes_arrive_whatever_the_reasons_say(outcomes):
    sent = [(np.frombuffer(digest, np.uint8), reason) for digest, reason in outcomes]
    received = unpack_outcomes(pack_outcomes(sent), len(sent))
    assert [(digest.tobytes(), reason) for digest, reason in received] == outcomes


def test_a_reason_that_holds_the_separator_stays_one_reason():
    digest = np.zeros(32, np.uint8)
    received = unpack_outcomes(pack_outcomes([(digest, "a\0b"), (digest, None)]), 2)
    assert [reason for _, reason in received] == ["a\N{REPLACEMENT CHARACTER}b", None]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (pack_error(StorageError("the disk is full")), StorageError),
        (pack_error(FrostlineError("the disk is full")), FrostlineError),
        (pack_failure("the disk is full"), ChildFailedError),
    ],
)
def test_errors_arrive_as_what_they_are(message, kind):
    with pytest.raises(kind, match=r"^the disk is full$") as raised:
        unpack_outcomes(message, 1)
    assert type(raised.value) is kind
