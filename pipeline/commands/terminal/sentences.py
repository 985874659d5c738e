"""What commands made, in lines of words: images that were skipped, a fine-tuning, given splits."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.images.splits import NO_SPLIT, SPLITS
from pipeline.system.printable import printable, visible

if TYPE_CHECKING:
    from pipeline.finetuning.finetune import FinetuneResult
    from pipeline.heads.fit_head import FitResult
    from pipeline.images.dataset import Dataset
    from pipeline.runs.fold_scores import FoldScores
    from pipeline.runs.mistakes import Mistakes
    from pipeline.runs.scores import Metrics


def describe_finetuning(result: "FinetuneResult") -> str:
    """Says in words what was trained, whether it helped, and what to try next."""
    from pipeline.finetuning.interpolate import describe_winner

    found = result.assessment
    winner = describe_winner(result.best_epoch, result.last_epoch, result.part, result.n_averaged)
    return (
        f"Thawed from {result.unfreeze} up ({result.trainable_parameters:,} parameters); {winner} "
        f"won.\n{found.verdict}\n{found.next_step}"
    )


def describe_fit(result: "FitResult") -> dict[str, Any]:
    """A fitted head, ready for JSON."""
    return {
        "run": str(result.folder),
        "chosen": result.chosen,
        "chosen_by": result.chosen_by,
        "seconds": result.seconds,
        "metrics": {name: m.to_dict() for name, m in result.metrics.items()},
        "mistakes": result.mistakes.to_dict(),
        **({} if result.folds is None else {"folds": asdict(result.folds)}),
        **({} if result.promise is None else {"promise": asdict(result.promise)}),
        **({} if result.mlflow is None else {"mlflow": asdict(result.mlflow)}),
    }


def describe_choice(result: "FitResult") -> str:
    """What was chosen, and who chose it."""
    if result.chosen_by == "val":
        return f"Chosen by validation log-loss: {result.chosen}."
    if result.chosen_by == "leave-one-out":
        return f"Chosen by leaving out each training image in turn: {result.chosen}."
    return f"{result.chosen}, as given." if result.chosen_by == "user" else f"{result.chosen}."


def describe_mistakes(
    mistakes: "Mistakes", place: str, names: Sequence[str] | None = None
) -> list[str]:
    """The surest of the images that are wrong, a line each, and where all are.

    Args:
        place: where they all are.
        names: what to call those images; None = by their paths.
    """
    called = [one.path for one in mistakes.worst] if names is None else names
    if not mistakes.n_wrong:
        return []
    of = f"{mistakes.of} " if mistakes.of else ""
    are = "is" if mistakes.n_wrong == 1 else "are"
    n_shown = len(mistakes.worst)
    which = f", the {n_shown} surest of them" if n_shown < mistakes.n_wrong else ""
    return [
        f"{mistakes.n_wrong:,} of {mistakes.n_images:,} {of}images {are} wrong{which}:",
        *(
            f"  {printable(name)}: {visible(one.label)}, taken for "
            f"{visible(one.predicted)} ({one.probability:.2f})"
            for name, one in zip(called, mistakes.worst, strict=True)
        ),
        f"All predictions: {place}",
    ]


def describe_folds(folds: "FoldScores", metrics: "Metrics") -> str:
    """How well the folds did, and how far they are from each other."""
    every = [accuracy for repeat in folds.accuracies for accuracy in repeat]
    times = f", {folds.n_repeats} times" if folds.n_repeats > 1 else ""
    return (
        f"{folds.n_folds} folds{times}: accuracy {metrics.accuracy:.4f}, a fold's "
        f"{min(every):.4f} to {max(every):.4f} (standard deviation {folds.spread:.4f}). The head "
        "that is kept was fitted after them."
    )


def count_given_splits(dataset: "Dataset") -> tuple[np.ndarray, list[str]]:
    """Images per class and given split, int (n_classes, n_columns), and names of the columns."""
    names = {split: name for split, name in enumerate(SPLITS) if np.any(dataset.splits == split)}
    if names and np.any(dataset.splits == NO_SPLIT):
        names[NO_SPLIT] = "no split"
    columns = [
        np.bincount(dataset.labels[rows], minlength=len(dataset.class_names))
        for rows in ((dataset.splits == split) & (dataset.labels >= 0) for split in names)
    ]
    if not columns:
        rows = dataset.labels >= 0
        columns = [np.bincount(dataset.labels[rows], minlength=len(dataset.class_names))]
    return np.stack(columns, axis=1), list(names.values())


def describe_skipped(skipped: list[tuple[str, str]], n_shown: int) -> list[str]:
    """A line for each kind of reason, the most frequent first, with some of its paths.

    Reasons that differ only after a colon or in brackets are of one kind.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for path, reason in skipped:
        groups.setdefault(reason.split(":")[0].split(" (")[0], []).append((path, reason))
    lines = []
    for kind, members in sorted(groups.items(), key=lambda group: -len(group[1])):
        is_one = len({reason for _, reason in members}) == 1
        shown = [
            printable(path) + ("" if is_one else _in_brackets(reason.removeprefix(kind)))
            for path, reason in members[:n_shown]
        ]
        more = ["..."] if len(members) > n_shown else []
        reason = members[0][1] if is_one else kind
        lines.append(f"skipped {len(members):,}: {reason}: {', '.join(shown + more)}")
    return lines


def _in_brackets(detail: str) -> str:
    """`: header is short` and ` (header is short)` -> ` (header is short)`."""
    return detail if detail.startswith(" (") else f" ({detail.removeprefix(': ')})"
