"""Options stated once: a frozen dataclass whose fields say what they are for and what they may be.

The check of their values and the options of the command line are both made from the fields, so
names, defaults, choices and ranges cannot drift apart.
"""

import difflib
import math
import numbers
from dataclasses import Field, dataclass, field, fields, replace
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_type_hints

from pipeline.errors import ParameterError

Options = TypeVar("Options")


@dataclass(frozen=True)
class OptionFacts:
    """What is to be known of an option besides its name, type and default.

    Args:
        help: one or two sentences for people; of what is on by default, what turning it off does.
        choices: the words that it may be; empty for any.
        aliases: former spellings of choices, each with the word of today.
        least, most: bounds that it may reach; None = no bound.
        above, below: bounds that it may not reach.
        none_word: what None is called on the command line, such as `auto`.
        default_words: what is done by default, where the default is None and has no word.
        flag: its name on the command line, without dashes in front; empty for the field's.
    """

    help: str
    choices: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    none_word: str = ""
    default_words: str = ""
    flag: str = ""


@dataclass(frozen=True)
class OptionField:
    """One option of a dataclass.

    Args:
        name: of the field.
        type: `bool`, `int`, `float` or `str`.
        default: of the field.
        may_be_none: whether None is a value.
        facts: what else is to be known of it.
    """

    name: str
    type: type
    default: Any
    may_be_none: bool
    facts: OptionFacts

    def translate(self, value: Any) -> Any:
        """The word of today for a former spelling; all else as it is."""
        return dict(self.facts.aliases).get(value, value) if isinstance(value, str) else value

    def accepts(self, value: Any) -> bool:
        """Whether it may have this value."""
        if value is None:
            return self.may_be_none
        if not _is_of_type(value, self.type):
            return False
        facts = self.facts
        if facts.choices:
            return value in facts.choices
        return (
            (facts.least is None or value >= facts.least)
            and (facts.most is None or value <= facts.most)
            and (facts.above is None or value > facts.above)
            and (facts.below is None or value < facts.below)
        )

    def expect(self, value: Any = None, *, none: str = "None") -> str:
        """Words for what it may be, to follow `Expected ... to be`.

        Args:
            value: what was received instead; one of another type needs more words.
            none: what None is called where it is asked for.
        """
        what = self._describe_range()
        if self.type in (int, float):
            kind = "a whole number" if self.type is int else "a number"
            if not what or self.may_be_none or not _is_of_type(value, self.type):
                what = f"{kind} {what}".strip()
        return f"{none} or {what}" if self.facts.none_word else what

    def _describe_range(self) -> str:
        facts = self.facts
        if facts.choices:
            return f"one of {', '.join(facts.choices)}"
        if self.type not in (int, float):
            return {bool: "true or false", str: "a text"}[self.type]
        below = None if facts.below == math.inf else facts.below
        if facts.least is not None and facts.most is not None:
            return f"from {facts.least:,} to {facts.most:,}"
        bounds = {
            "at least": facts.least,
            "above": facts.above,
            "at most": facts.most,
            "below": below,
        }
        return " and ".join(f"{word} {n:g}" for word, n in bounds.items() if n is not None)

    def draw_range(self) -> str:
        """Its range in signs, such as `0<=x<1`; empty where it has none."""
        facts = self.facts
        low, low_sign = (facts.least, "=") if facts.above is None else (facts.above, "")
        high, high_sign = (
            (facts.most, "=") if facts.below in (None, math.inf) else (facts.below, "")
        )
        if low is None and high is None:
            return ""
        if high is None:
            return f"x>{low_sign}{_write_number(low)}"
        left = "" if low is None else f"{_write_number(low)}<{low_sign}"
        return f"{left}x<{high_sign}{_write_number(high)}"


def option(
    default: Any,
    *,
    help: str,
    choices: tuple[str, ...] = (),
    aliases: tuple[tuple[str, str], ...] = (),
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    none_word: str = "",
    default_words: str = "",
    flag: str = "",
) -> Any:
    """A dataclass field that is an option; see `OptionFacts`."""
    facts = OptionFacts(
        help, choices, aliases, least, most, above, below, none_word, default_words, flag
    )
    return field(default=default, metadata={"option": facts})


def list_options(options: type) -> list[OptionField]:
    """The options of a dataclass, in the order of its fields."""
    types = get_type_hints(options)
    return [_describe(entry, types[entry.name]) for entry in fields(options)]


def build_options(
    options: type[Options], given: dict[str, Any], purpose: str, base: Options | None = None
) -> Options:
    """An options dataclass from values by name, numpy's numbers made plain ones; not checked.

    Args:
        options: the dataclass.
        given: values by the name of their field.
        purpose: what they are for, to follow `There is no such option to`.
        base: where the other values come from; None for the defaults.

    Raises:
        ParameterError: there is no such option, or `base` is none of that kind.
    """
    if base is not None and not isinstance(base, options):
        raise ParameterError(
            f"Expected `options` to be {options.__name__}, or names and values. "
            f"Received: {type(base).__name__}",
            "options",
        )
    entries = {entry.name: entry for entry in list_options(options)}
    for name in given:
        if name not in entries:
            close = difflib.get_close_matches(name, entries, n=3) or entries
            raise ParameterError(
                f"There is no such option to {purpose}. Expected for example "
                f"{', '.join(close)}. Received: {name}",
                name,
            )
    plain = {name: to_plain(value) for name, value in given.items()}
    made: Any = options(**plain) if base is None else replace(cast(Any, base), **plain)
    today = {name: entry.translate(getattr(made, name)) for name, entry in entries.items()}
    return cast(Options, replace(made, **today))


def to_plain(value: Any) -> Any:
    """Python's own number for one of numpy's, as JSON and others want it; all else as it is.

    Told by its shape, so that numpy need not be imported for it.
    """
    return value.item() if getattr(value, "shape", None) == () else value


def check_options(options: Any, purpose: str) -> None:
    """Checks that all values of an options dataclass make sense.

    Args:
        options: the dataclass.
        purpose: what they are for, to follow `This cannot be used to`.

    Raises:
        ParameterError: the first that does not.
    """
    for entry in list_options(type(options)):
        value = getattr(options, entry.name)
        if not entry.accepts(value):
            raise ParameterError(
                f"This cannot be used to {purpose}. Expected `{entry.name}` to be "
                f"{entry.expect(value)}. Received: {value}",
                entry.name,
            )


def _write_number(number: float | None) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def _describe(entry: Field[Any], annotation: Any) -> OptionField:
    is_union = isinstance(annotation, UnionType)
    kinds = get_args(annotation) if is_union else (annotation,)
    (kind,) = (one for one in kinds if one is not NoneType)
    return OptionField(
        name=entry.name,
        type=kind,
        default=entry.default,
        may_be_none=NoneType in kinds,
        facts=entry.metadata["option"],
    )


def _is_of_type(value: Any, wanted: type) -> bool:
    """Whether it is of a type; numpy's numbers are numbers, and True is none."""
    if wanted is bool or isinstance(value, bool):
        return wanted is bool and isinstance(value, bool)
    if wanted is int:
        return isinstance(value, numbers.Integral)
    if wanted is float:
        return isinstance(value, numbers.Real)
    return isinstance(value, wanted)
