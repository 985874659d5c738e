"""The head of a run: is it there, and what is it?"""

from pipeline.errors import RunError
from pipeline.heads.head import Head
from pipeline.heads.registry import find_head
from pipeline.heads.tempered import temper
from pipeline.runs.binding import require_bound_names
from pipeline.runs.run_folder import Run
from pipeline.system.run_files import FINETUNED_MODEL


def require_model(run: Run) -> None:
    """Checks, before TensorFlow's slow start, that a run has something to predict with.

    Raises:
        RunError: a file is missing.
        HeadError: its kind of head is not known here.
    """
    is_finetuned = run.manifest.is_finetuned
    names = (FINETUNED_MODEL,) if is_finetuned else find_head(run.kind).files
    missing = [name for name in names if not (run.folder / name).is_file()]
    if missing:
        raise RunError(
            f"This run has no head. Expected {', '.join(names)} in it. "
            f"Received: {run.folder}, without {', '.join(missing)}\n"
            f"Make it again with `frostline.{'finetune' if is_finetuned else 'fit_head'}()`."
        )


def load_head(run: Run) -> Head:
    """Reads the head of a run that `fit_head` wrote.

    Raises:
        RunError: it is missing or damaged.
        ParityError: it was fitted on other classes than the run's, or it is another head.
        HeadError: its kind is not known here.
    """
    require_model(run)
    kind = find_head(run.kind)
    head = kind.import_load()(run.folder, run.class_names)
    require_bound_names(run, kind.files)
    return temper(head, run.manifest.temperature)
