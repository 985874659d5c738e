"""Refuses options that make no sense, before anything is loaded."""

from collections.abc import Iterable

from pipeline.errors import ParameterError

# Name of an option, its value, whether that makes sense, and what would.
Rule = tuple[str, object, bool, str]


def require_options(purpose: str, rules: Iterable[Rule]) -> None:
    """Raises a ParameterError for the first option that breaks its rule.

    Args:
        purpose: what the options are for, to follow `This cannot be used to`.
    """
    for name, value, is_right, expected in rules:
        if not is_right:
            option = f"--{name.replace('_', '-')}"
            raise ParameterError(
                f"This cannot be used to {purpose}. Expected {option} to be {expected}. "
                f"Received: {value}",
                name,
            )
