"""Each two runs of a report on the images that trained neither: which is better, and where."""

from itertools import combinations

import numpy as np

from pipeline.errors import RunError
from pipeline.report.contents import Comparison
from pipeline.report.gathering.image_pool import ImagePool
from pipeline.report.gathering.scored_run import ScoredRun
from pipeline.runs.compare import RunComparison, count_matched, match_runs
from pipeline.runs.significance import SIGNIFICANT, describe_p_value
from pipeline.system.printable import count, printable

MOST_SHOWN = 60
_NAMES = {"test": "test", "val": "validation"}


def compare_each_two(pool: ImagePool) -> tuple[list[Comparison], list[str]]:
    """The comparisons, and for each two runs that have none the reason."""
    comparisons, notes = [], []
    for a, b in combinations(range(len(pool.runs)), 2):
        try:
            comparisons.append(_compare(pool, a, b))
        except RunError as error:
            reason = str(error).split("\n", 1)[0]
            notes.append(
                f"{_name(pool.runs[a])} and {_name(pool.runs[b])} stand side by side and are not "
                f"compared. {printable(reason)}"
            )
    return comparisons, notes


def _compare(pool: ImagePool, a: int, b: int) -> Comparison:
    first, second = pool.runs[a], pool.runs[b]
    matched = match_runs(first.run, second.run)
    counts = count_matched(matched)
    row_of = _find_rows(first)
    numbers = [
        [pool.number(a, row_of[digest]) for digest in _take_surest(first, row_of, digests)]
        for digests in (
            [
                one
                for one, right in zip(matched.digests, matched.is_right, strict=True)
                if is_it(right)
            ]
            for is_it in (lambda right: right[0] and not right[1], lambda r: r[1] and not r[0])
        )
    ]
    return Comparison(a, b, _describe(counts, _name(first), _name(second)), *numbers)


def _find_rows(scored: ScoredRun) -> dict[bytes, int]:
    if scored.digests is None:
        return {}
    return {digest.tobytes(): row for row, digest in enumerate(scored.digests)}


def _take_surest(scored: ScoredRun, row_of: dict[bytes, int], digests: list[bytes]) -> list[bytes]:
    sureness = np.array([scored.sureness[row_of[digest]] for digest in digests])
    order = np.argsort(-sureness, kind="stable")[:MOST_SHOWN]
    return [digests[place] for place in order.tolist()]


def _describe(found: RunComparison, first: str, second: str) -> list[str]:
    a, b = found.accuracies
    sentences = [
        f"On {count(found.n_images, _NAMES[found.split] + ' image')} that trained neither: {first} "
        f"{100 * a:.1f}%, {second} {100 * b:.1f}%.",
        f"Both right {found.both_right:,}, only the first {found.only_a_right:,}, only the second "
        f"{found.only_b_right:,}, both wrong {found.both_wrong:,}.",
    ]
    test = f"McNemar's exact test: {describe_p_value(found.p_value)}."
    if found.p_value >= SIGNIFICANT:
        sentences.append(f"{test} The difference may be chance.")
    else:
        better = first if found.only_a_right > found.only_b_right else second
        sentences.append(f"{test} {better} is better.")
        if found.is_optimistic:
            sentences.append("These images chose something, which flatters.")
    if found.n_other_labels:
        sentences.append(
            f"Left out: {count(found.n_other_labels, 'common image')} with another label in the "
            "second."
        )
    return sentences


def _name(scored: ScoredRun) -> str:
    return printable(scored.run.name)
