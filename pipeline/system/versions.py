"""Versions of installed packages, without importing them."""

from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

# TensorFlow for CPUs alone comes as a package of another name.
_OTHER_NAMES = {"tensorflow": "tensorflow-cpu"}


def find_version(package: str) -> str:
    """The version of a package, whatever the name under which it was installed.

    Raises:
        PackageNotFoundError: it is not installed.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        if package not in _OTHER_NAMES:
            raise
        return version(_OTHER_NAMES[package])


def list_versions(packages: Iterable[str]) -> dict[str, str]:
    """The version of each package that is installed, by its name."""
    versions = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            versions[package] = find_version(package)
    return versions
