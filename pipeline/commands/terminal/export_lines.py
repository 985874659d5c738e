"""What people see of an export."""

from pipeline.classifier.export.contents import Contents
from pipeline.commands.terminal.tables import describe_size


def describe_export(contents: Contents) -> list[str]:
    """A sentence for each model."""
    lines = []
    for name, model in contents.models.items():
        proof = model.proof
        lines.append(
            f"{name}: {model.file}, {describe_size(model.n_bytes)}. In {proof.runtime}, "
            f"{proof.n_images:,} images: probabilities differ by at most "
            f"{proof.greatest_difference:.1g}, the class is the same for {proof.same_class:.1%}."
        )
        lines += model.notes
    return lines
