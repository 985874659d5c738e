"""Which settings a search tries, in which order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

import numpy as np

from pipeline.backbones.frost_lines import FrostLine, find_frost_lines
from pipeline.finetuning.options import FinetuneOptions
from pipeline.runs.searched_settings import Setting
from pipeline.system.keras_on_tensorflow import keras

LINE = "unfreeze"
DEEPER = "one line deeper"  # stands for its name
# What paid most often comes first (docs/fine-tuning.md), then all others by chance.
FIRST: tuple[Setting, ...] = (
    {},
    {"learning_rate": 1e-3},
    {"layer_decay": 0.8},
    {LINE: DEEPER},
)
CHOICES: dict[str, tuple[Any, ...]] = {
    "learning_rate": (1e-4, 1e-3),
    "layer_decay": (0.8,),
    "label_smoothing": (0.0,),
    "average_weights": (0.0,),
}
# Of the backbone's work: what the deeper line thaws more than the line that the images suggest.
DEEPER_SHARE = 0.25


@dataclass(frozen=True)
class Space:
    """All settings of a search.

    Args:
        settings: in the order of trying.
        line: of those that name none.
        lowest: the lowest line of all.
    """

    settings: Sequence[Setting]
    line: str
    lowest: str

    def lowest_of(self, n_settings: int) -> str:
        """The lowest line of the first settings."""
        is_deeper = any(LINE in setting for setting in self.settings[:n_settings])
        return self.lowest if is_deeper else self.line

    def line_of(self, setting: Setting) -> str:
        line: str = setting.get(LINE, self.line)
        return line


def find_space(backbone: keras.Model, line: str, options: FinetuneOptions) -> Space:
    """The settings for a backbone.

    Args:
        line: the one that is the default.
        options: as given.
    """
    deeper = choose_deeper(find_frost_lines(backbone), line)
    settings = list_settings(options, deeper, options.seed)
    tried = [setting[LINE] for setting in settings if LINE in setting]
    return Space(settings, line, tried[0] if tried else line)


def choose_deeper(lines: list[FrostLine], line: str) -> str | None:
    """The line that thaws about a quarter of the backbone's work more; None where there is none.

    Args:
        lines: of the backbone, from the top.
        line: that is the default; `all` has none below it.
    """
    shares = {one.name: 1 - one.share_below for one in lines}
    if line not in shares:
        return None
    below = [one.name for one in lines if shares[one.name] > shares[line]]
    wanted = shares[line] + DEEPER_SHARE
    return min(below, key=lambda name: abs(shares[name] - wanted), default=None)


def list_settings(options: FinetuneOptions, deeper: str | None, seed: int) -> list[Setting]:
    """All settings of a search, the first to try first; the very first changes nothing.

    What was given, and so differs from the default, stays as it was given.

    Args:
        options: as given.
        deeper: the line to try besides the default, None for none.
        seed: decides the order of those that come by chance.
    """
    given = {
        field.name
        for field in fields(FinetuneOptions)
        if getattr(options, field.name) != field.default
    }
    if options.find_learning_rate:
        given.add("learning_rate")
    choices = {name: values for name, values in CHOICES.items() if name not in given}
    if deeper is not None and LINE not in given:
        choices[LINE] = (deeper,)
    settings: list[Setting] = []
    for setting in [*_firsts(choices), *_by_chance(choices, seed)]:
        if setting not in settings:
            settings.append(setting)
    return settings


def _firsts(choices: dict[str, tuple[Any, ...]]) -> Iterator[Setting]:
    for first in FIRST:
        if first.keys() <= choices.keys():
            yield {name: choices[name][0] if v == DEEPER else v for name, v in first.items()}


def _by_chance(choices: dict[str, tuple[Any, ...]], seed: int) -> Iterator[Setting]:
    """All combinations of a choice, or the default, for each field."""
    every = list(product(*[(None, *values) for values in choices.values()]))
    for place in np.random.default_rng([seed, 2]).permutation(len(every)):
        combination = zip(choices, every[place], strict=True)
        yield {name: value for name, value in combination if value is not None}
