"""The house: what lies in it, and that a package imports only from the floors below it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]


def lint_imports(root):
    """In a process of its own: it disables all loggers that there are."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_import_runs_upwards():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


def test_an_import_that_runs_upwards_is_found(tmp_path):
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline")
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    with (tmp_path / "pipeline" / "images" / "splits.py").open("a") as file:
        file.write("\nimport pipeline.heads.linear\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert "pipeline.images.splits -> pipeline.heads.linear" in done.stdout


def test_pipeline_has_at_most_thirteen_entries():
    names = [path.name for path in (ROOT / "pipeline").iterdir() if path.name != "__pycache__"]
    assert len(names) <= 13, sorted(names)


def test_few_arrows_lead_from_one_place_of_the_pipeline_to_another():
    graph = grimp.build_graph("pipeline", cache_dir=None)

    def place(module: str) -> str:
        return ".".join(module.split(".")[:2])

    arrows = {
        (place(module), place(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if place(module) != place(imported)
    }
    assert 20 < len(arrows) <= 80


def test_the_picture_of_the_house_is_drawn_from_the_imports_as_they_are():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from draw_architecture import PICTURE, draw
    finally:
        sys.path.pop(0)
    assert PICTURE.read_text() == draw(), "run: python docs/draw_architecture.py"


def test_the_library_speaks_of_parameters_and_only_commands_of_options():
    spoken = re.compile(r"(?<![\w-])--(?!xla_)[a-z]|cli\.py")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "pipeline").rglob("*.py"))
        if not {"commands", "shipped", "vendor"} & set(path.parts)
        for line in path.read_text().splitlines()
        if spoken.search(line) and "pip install" not in line
    ]
    assert found == []
