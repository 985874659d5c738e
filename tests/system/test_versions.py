"""Versions are found by the name of what is imported."""

from importlib.metadata import PackageNotFoundError

import pytest

from pipeline.system import versions


def test_tensorflow_for_cpus_alone_is_tensorflow(monkeypatch):
    """The image for CPUs has it under another name, and a fine-tuned run says its version."""
    installed = {"tensorflow-cpu": "2.21.0", "numpy": "2.4.6"}

    def look_up(package):
        if package not in installed:
            raise PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(versions, "version", look_up)
    found = versions.list_versions(["tensorflow", "numpy", "keras"])
    assert found == {"tensorflow": "2.21.0", "numpy": "2.4.6"}
    assert versions.find_version("tensorflow") == "2.21.0"
    with pytest.raises(PackageNotFoundError):
        versions.find_version("keras")
