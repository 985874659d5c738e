"""What people see of an export."""

import shlex
from typing import TYPE_CHECKING

from pipeline.commands.terminal.tables import describe_size
from pipeline.system.printable import count

if TYPE_CHECKING:
    from pipeline.classifier.export.contents import ExportedModel
    from pipeline.classifier.export.export import Exported


def describe_export(exported: "Exported") -> list[str]:
    """A sentence for each model, and what to do next."""
    lines = []
    for name, model in exported.contents.models.items():
        lines += [_describe_model(name, model), *(f"  {note}" for note in model.notes)]
    check = shlex.quote(str(exported.folder / "check.py"))
    return [
        *lines,
        f"{exported.seconds:.1f} s. How to use it: {exported.folder / 'card.md'}",
        f"Whether it says the same elsewhere: python {check}",
    ]


def _describe_model(name: str, model: "ExportedModel") -> str:
    proof = model.proof
    head = f"{name}: {model.file}, {describe_size(model.n_bytes)}, {model.precision}"
    if model.int8 is not None:
        return f"{head}, measured in {proof.runtime}."
    return (
        f"{head}. "
        f"{proof.runtime} says the same of {count(proof.n_images, 'image')}: probabilities differ "
        f"by up to {proof.greatest_difference:.1g}, the class is the same for "
        f"{proof.same_class:.1%}."
    )
