import hashlib

import numpy as np
import pytest

from pipeline.errors import ParameterError, SplitError
from pipeline.images.division import assign_splits
from pipeline.images.groups import find_groups, make_group_keys

PATHS = [f"{c}/patient{n:02d}_{view}.png" for n in range(30) for view in "abc" for c in "xy"]


def digests(n, salt=""):
    data = b"".join(hashlib.sha256(f"{salt}{i}".encode()).digest() for i in range(n))
    return np.frombuffer(data, np.uint8).reshape(n, 32)


def test_brackets_or_else_the_whole_match_name_the_group():
    paths = ["cats/p01_1.jpg", "dogs/p01_2.jpg", "dogs/other.jpg"]
    assert find_groups(paths, r"p(\d+)_") == ["01", "01", None]
    assert find_groups(paths, r"p\d+_") == ["p01_", "p01_", None]
    assert find_groups(paths, r"^(\w+)/(p\d+)?")[:2] == ["cats\0p01", "dogs\0p01"]
    assert find_groups(paths, r"p(01)|(other)") == ["01\0", "01\0", "\0other"]


def test_images_of_a_group_share_a_split_for_every_seed():
    labels = np.array([path[0] == "y" for path in PATHS], np.int32)
    groups = find_groups(PATHS, "patient[0-9]+")
    keys = make_group_keys(digests(len(PATHS)), groups)
    given = np.full(len(PATHS), -1, np.int8)
    seen = set()
    for seed in range(20):
        splits = assign_splits(keys, labels, given, ["x", "y"], seed=seed, test_fraction=0.2)
        for group in set(groups):
            rows = [row for row, name in enumerate(groups) if name == group]
            assert len(set(splits[rows].tolist())) == 1
        seen.add(splits.tobytes())
        assert set(splits.tolist()) == {0, 1, 2}
    assert len(seen) > 10


def test_membership_is_the_hash_of_the_groups_name():
    keys = make_group_keys(digests(4), ["p1", "p1", "p2", None])
    assert keys[0].tobytes() == keys[1].tobytes() == hashlib.sha256(b"p1").digest()
    assert keys[2].tobytes() == hashlib.sha256(b"p2").digest()
    assert keys[3].tobytes() == digests(4)[3].tobytes()


def test_equal_images_tie_their_groups_together():
    images = digests(6)
    images = images[[0, 1, 2, 3, 1, 3]]
    keys = make_group_keys(images, ["a", "a", "b", "c", "b", None])
    assert [key.tobytes() for key in keys[[0, 1, 2, 4]]] == [hashlib.sha256(b"a").digest()] * 4
    assert keys[3].tobytes() == keys[5].tobytes() == hashlib.sha256(b"c").digest()


def test_patterns_that_cannot_be_used_are_refused():
    with pytest.raises(ParameterError, match=r"no regular expression: .*`group_by='\(p'`"):
        find_groups(PATHS, "(p")
    with pytest.raises(SplitError, match="matches none of the 180 paths"):
        find_groups(PATHS, "video")
