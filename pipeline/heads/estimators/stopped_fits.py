"""Fits that scikit-learn stopped before their end: a sentence for people, not a warning."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def note_stopped_fits(head: str, n_steps: int, advice: str) -> Iterator[list[str]]:
    """Gives a list that has a sentence in the end, if any fit was stopped; other warnings go on.

    Args:
        head: its name.
        n_steps: after which a fit is stopped.
        advice: what needs fewer steps.
    """
    from sklearn.exceptions import ConvergenceWarning

    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    n_stopped = sum(issubclass(one.category, ConvergenceWarning) for one in caught)
    for one in caught:
        if not issubclass(one.category, ConvergenceWarning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    if n_stopped:
        notes.append(
            f"{n_stopped} fit(s) of the {head} head were stopped after {n_steps:,} steps, before "
            f"their end: {advice}."
        )
