"""Settings on the features of files, and how they did: what a sweep tells."""

from dataclasses import dataclass

from pipeline.errors import HeadError
from pipeline.heads.sweep.outcomes import Outcome
from pipeline.heads.sweep.settings import Setting
from pipeline.heads.sweep.swept_files import SweptFile
from pipeline.system.printable import count


@dataclass(frozen=True)
class Tried:
    """A setting on the features of one file, and how it did on the validation images.

    Args:
        setting: head and options.
        file: whose features it was fitted on.
        outcome: what came of it.
    """

    setting: Setting
    file: SweptFile
    outcome: Outcome


def rank(files: list[SweptFile], settings: list[Setting], outcomes: list[Outcome]) -> list[Tried]:
    """The best first; those that failed last.

    Args:
        outcomes: of all settings on the first file, then of all on the second, and so on.

    Raises:
        HeadError: all failed.
    """
    tried = [
        Tried(setting, file, outcomes[place * len(settings) + number])
        for place, file in enumerate(files)
        for number, setting in enumerate(settings)
    ]
    if all(one.outcome.failed for one in tried):
        raise HeadError(
            "None of the settings could be fitted. Expected one or more that can. Received: "
            f"{count(len(tried), 'setting')}; of the first, {tried[0].setting}, this was said: "
            f"{tried[0].outcome.failed}"
        )
    return sorted(tried, key=lambda one: one.outcome.rank)
