"""Settings that a search tried, in words."""

from typing import Any

# Some fields of the options, by name; the others are as they were given.
Setting = dict[str, Any]


def describe_setting(setting: Setting) -> str:
    """`unfreeze=block4a, flip`; `as it is` where nothing is changed."""
    return ", ".join(_describe(name, value) for name, value in setting.items()) or "as it is"


def _describe(name: str, value: Any) -> str:
    if value is True:
        return name
    return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
