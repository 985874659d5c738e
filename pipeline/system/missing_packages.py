"""What to say where this Python lacks a package that Frostline needs."""

import sys


def describe_missing_package(error: ModuleNotFoundError) -> str | None:
    """What is missing and how to get it; None where it is a module of Frostline's own."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "pipeline", "frostline"):
        return None
    return (
        f"The package {package} is not installed for {sys.executable}. Expected a Python that has "
        "Frostline's packages.\nIn Frostline's folder: `make setup`, then `. .venv/bin/activate`; "
        "or `python -m pip install .` for this Python."
    )
