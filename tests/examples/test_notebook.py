"""The notebook runs from its first cell to its last, and what it shows is what it printed."""

import os
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "frozen_features.ipynb"


def _list_outputs(notebook) -> list[str]:
    """What each cell printed; numbers may differ in their last digits between processors."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        re.sub(r"alpha \S+:|\d\.\d{3}", "", "".join(one.get("text", "") for one in cell.outputs))
        for cell in cells
    ]


def test_the_notebook_prints_what_it_shows(extracted, tmp_path, monkeypatch):
    assert extracted.is_dir()  # its network, converted already, is the notebook's
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    shown = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(shown)
    again = nbformat.read(NOTEBOOK, as_version=4)
    for cell in again.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(again, timeout=120, kernel_name="python3", resources=resources).execute()
    assert all(_list_outputs(shown))
    assert _list_outputs(again) == _list_outputs(shown)
    assert str(ROOT.parent) not in NOTEBOOK.read_text()
