"""Versions of installed packages, without importing them."""

from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version


def list_versions(packages: Iterable[str]) -> dict[str, str]:
    """The version of each package that is installed, by its name."""
    versions = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
