"""Near duplicates on one side: which images move, and which never do."""

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.images.together import join_units, keep_together


def make_digests(n):
    found = b"".join(hashlib.sha256(bytes([row])).digest() for row in range(n))
    return np.frombuffer(found, np.uint8).reshape(-1, 32)


@given(data=st.data(), n=st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_groups_share_a_split_and_no_other_image_moves(data, n):
    digests = make_digests(n)
    draw = data.draw
    splits = np.array(draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.int8)
    numbers = draw(st.lists(st.integers(0, 8), min_size=n, max_size=n))
    is_movable = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    arrivals = np.array(draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.int32)
    group_of = {digests[row].tobytes(): str(one) for row, one in enumerate(numbers) if one < 5}
    joined = join_units(np.arange(n), digests, group_of)
    together, moved = keep_together(splits, joined, digests, arrivals, is_movable)
    assert moved.tolist() == np.flatnonzero(splits != together).tolist()
    for row in range(n):
        members = [one for one in range(n) if numbers[one] == numbers[row] and numbers[row] < 5]
        assert set(np.flatnonzero(joined == joined[row])) == set(members or [row])
        if not members or not is_movable[members].all():
            assert together[row] == splits[row]
        else:
            first = min(members, key=lambda one: (arrivals[one], digests[one].tobytes()))
            assert together[row] == splits[first]


def test_two_groups_that_share_a_unit_are_one():
    digests = make_digests(4)
    group_of = {digests[0].tobytes(): "a", digests[1].tobytes(): "a",
                digests[2].tobytes(): "b", digests[3].tobytes(): "b"}  # fmt: skip
    joined = join_units(np.array([0, 1, 1, 2]), digests, group_of)
    assert len(set(joined.tolist())) == 1


def test_an_image_that_is_added_later_moves_no_group():
    digests, splits = make_digests(3), np.array([1, 0, 2], np.int8)
    group_of = {digest.tobytes(): "a" for digest in digests}
    for order in ([0, 1, 1], [1, 0, 1], [1, 1, 0]):
        joined = join_units(np.arange(3), digests, group_of)
        every = np.ones(3, bool)
        together, _ = keep_together(splits, joined, digests, np.array(order, np.int32), every)
        assert set(together.tolist()) == {int(splits[order.index(0)])}
