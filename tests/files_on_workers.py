"""Which worker of pytest-xdist runs which file of tests, and which files begin first."""

import ast
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

TESTS = Path(__file__).parent
SHARED = "finetuned"  # a fixture that takes long to make


def find_those_that_share() -> set[str]:
    """The files, below the root, with a test or a fixture that asks for the fine-tuned run."""
    found = set()
    for path in TESTS.rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        if SHARED in text and any(
            isinstance(node, ast.FunctionDef) and SHARED in {arg.arg for arg in node.args.args}
            for node in ast.walk(ast.parse(text))
        ):
            found.add(path.relative_to(TESTS.parent).as_posix())
    return found


class FilesOnWorkers(LoadFileScheduling):
    """A file's tests stay on one worker, and those of all that share a run on one, too."""

    def __init__(self, config, log) -> None:
        super().__init__(config, log)
        self._sharing = find_those_that_share()

    def _split_scope(self, nodeid: str) -> str:
        path = super()._split_scope(nodeid)
        return SHARED if path in self._sharing else path
