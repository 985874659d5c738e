"""Rows by digest: where two sources have one the first wins, and what has none is never taken for
another's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.features import finished_rows
from pipeline.features.finished_rows import FinishedRows, RowSource

# Few values, zeros among them, so that digests are equal, end in zeros, or differ there.
DIGESTS = st.lists(arrays(np.uint8, 32, elements=st.sampled_from([0, 0, 0, 7])), max_size=9)


def _source(name, digests):
    table = np.array(digests, np.uint8).reshape(-1, 32)
    return RowSource(None, name, table, f"kind of {name}")


@given(DIGESTS, DIGESTS, DIGESTS, st.sampled_from([0, 50_000]))
def test_rows_are_found_as_in_a_dict(first, second, asked, most_in_a_dict):
    expected: dict[bytes, tuple[str, int]] = {}
    for name, digests in (("first", first), ("second", second)):
        for row, digest in enumerate(digests):
            expected.setdefault(digest.tobytes(), (name, row))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finished_rows, "_MOST_IN_A_DICT", most_in_a_dict)
        finished = FinishedRows([_source("first", first), _source("second", second)])
    taken = []

    def read(numbers, rows):
        names = [finished.sources[number].name for number in numbers.tolist()]
        taken.extend(zip(names, rows.tolist(), strict=True))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finished, "_read", read)
        for digest in [*asked, *first, *second]:
            key = digest.tobytes()
            assert (key in finished) == (key in expected)
            if key in expected:
                (number,) = finished.find_sources(digest[None])
                assert finished.sources[number].kind == f"kind of {expected[key][0]}"
                assert finished.have(digest[None]).tolist() == [True]
                list(finished.gather(digest[None]))
                assert taken.pop() == expected[key]
            else:
                assert finished.have(digest[None]).tolist() == [False]
                with pytest.raises(KeyError):
                    list(finished.gather(digest[None]))


def test_rows_come_in_the_order_of_their_digests_block_by_block(monkeypatch):
    digests = np.random.default_rng(0).integers(0, 256, (50, 32)).astype(np.uint8)
    finished = FinishedRows([_source("a", digests[:20]), _source("b", digests[20:])])

    class Rows:
        def __init__(self, path, name):
            self.first = 0 if name == "a" else 20

        def __enter__(self):
            return lambda rows: np.stack([rows + self.first, rows], axis=1)

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(finished_rows, "open_rows", Rows)
    order = np.random.default_rng(1).permutation(50)
    blocks = list(finished.gather(digests[order], block_rows=7))
    assert [len(block) for block in blocks] == [7] * 7 + [1]
    np.testing.assert_array_equal(np.concatenate(blocks)[:, 0], order)
