"""`frostline.report`: runs as one page that says how good they are, where they fail, and why."""

import html
import os
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import DatasetError, ParameterError, RunError
from pipeline.report.contents import ReportContents
from pipeline.report.gathering.gather import gather_contents
from pipeline.report.gathering.steps import IN_PYTHON, Wording
from pipeline.report.report_page import draw_report_page
from pipeline.runs.run_folder import Run, new_run, open_run
from pipeline.system.atomic_files import write_text
from pipeline.system.locks import hold_lock_for_now
from pipeline.system.paths import as_path, denial, is_folder
from pipeline.system.progress import OnProgress

FILE_NAME = "report.html"
_HEIGHT = 800  # pixels, in a notebook


@dataclass(frozen=True)
class Report:
    """A page that was written.

    Args:
        path: of the page.
        contents: what it says.
        seconds: that it took.
    """

    path: Path
    contents: ReportContents = field(repr=False)
    seconds: float

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def notes(self) -> list[str]:
        """What the report lacks, and why."""
        return list(self.contents.notes)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: what it says in words and numbers, without the images."""
        return {
            "report": str(self.path),
            "seconds": self.seconds,
            "runs": [
                {
                    "name": run.name,
                    "kind": run.kind,
                    "split": run.split,
                    "summary": list(run.summary),
                    "scores": [asdict(score) for score in run.scores],
                    "n_mistakes": run.n_mistakes,
                    "commands": list(run.commands),
                }
                for run in self.contents.runs
            ],
            "comparisons": [list(one.sentences) for one in self.contents.comparisons],
            "notes": self.notes,
        }

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that neither it nor the notebook changes the other."""
        page = html.escape(self.path.read_text("utf-8"), quote=True)
        return (
            f'<iframe srcdoc="{page}" title="Report" sandbox="allow-scripts allow-downloads" '
            f'style="width: 100%; height: {_HEIGHT}px; border: 0"></iframe>'
        )


def report(
    *runs: Run | str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    data: str | os.PathLike[str] | None = None,
    wording: Wording = IN_PYTHON,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Report:
    """Writes a page about a run, or about several side by side; it needs nothing but a browser.

    Args:
        runs: runs, their folders, or their names in `runs/`.
        output: an HTML file; None for `report.html` in the run, of several in a new folder
            `runs/report-NUMBER`.
        force: overwrite `output`. The page inside a run is made anew without being asked: all
            that it says comes from the run.
        data: where the images lie now, None for where they lay when the runs were made.
        wording: how the page names parameters and the steps that made a run; as this library
            does unless told.
        on_progress: called with a stage, the number done and the number to do.

    Returns:
        The `Report`; a notebook shows it.

    Raises:
        ParameterError: no run was given, or one twice, or `output` is no HTML file.
        RunError: there is no such run, it is damaged, or the output exists.
        DatasetError: `data` is no folder.
        LockedError: another process is writing the same page.
        StorageError: the page cannot be written.
    """
    started = time.perf_counter()
    opened = _open_runs(runs)
    roots = _find_roots(opened, None if data is None else as_path(data, "data"))
    target = None if output is None else _check_output(as_path(output, "output"), force=force)
    if target is None and len(opened) == 1:
        target = opened[0].folder / FILE_NAME
    with nullcontext() if target is None else hold_lock_for_now(target):
        contents = gather_contents(
            opened,
            roots,
            count_bytes=lambda drawn: len(draw_report_page(drawn)),
            wording=wording,
            on_progress=on_progress,
        )
        page = draw_report_page(contents)
        if target is not None:
            write_text(target, page)
    if target is None:
        with new_run(None, "report") as (folder, final):
            write_text(folder / FILE_NAME, page)
        target = final / FILE_NAME
    return Report(target, contents, time.perf_counter() - started)


def _open_runs(runs: tuple[Run | str | os.PathLike[str], ...]) -> list[Run]:
    if not runs:
        raise ParameterError(
            "A report is about runs. Expected one or more `runs`. Received: none", "runs"
        )
    opened = [run if isinstance(run, Run) else open_run(as_path(run, "runs")) for run in runs]
    places = [run.folder.resolve() for run in opened]
    twice = [place for number, place in enumerate(places) if place in places[:number]]
    if twice:
        raise ParameterError(
            f"Expected each of `runs` once. Received: {twice[0]} more than once", "runs"
        )
    return opened


def _find_roots(runs: list[Run], data: Path | None) -> list[Path]:
    """Where the images of each run lie."""
    recorded = [Path(run.manifest.data_root) for run in runs]
    if data is None:
        return recorded
    if not is_folder(data):
        raise DatasetError(
            "There is no such folder. Expected `data` to be the one with the images of the runs. "
            f"Received: {data}{denial(data)}"
        )
    places = list(dict.fromkeys(recorded))
    if len(places) > 1:
        raise ParameterError(
            "These runs are of images in several places. Expected `data` with runs of one data "
            f"set. Received: `data={data}` and runs of {', '.join(map(str, places))}"
            "\nMake a report of each.",
            "data",
        )
    return [data] * len(runs)


def _check_output(output: Path, *, force: bool) -> Path:
    """Before the work, whether a page may be written there."""
    if output.suffix.lower() not in (".html", ".htm"):
        raise ParameterError(
            "A report is one page. Expected `output` to be a name that ends with .html. Received: "
            f"`output={output}`",
            "output",
        )
    if is_folder(output):
        raise RunError(
            f"This output is a folder. Expected the name of a file. Received: `output={output}`"
        )
    if os.path.lexists(output) and not force:
        raise RunError(
            f"There is such a file already. Received: `output={output}`\nUse another name, or "
            "overwrite it with `force=True`."
        )
    return output
