"""A run folder from a stranger: nothing in it is executed, followed or believed."""

import json
import os
import pickle
import shutil

import pytest
from conftest import call

from pipeline.errors import RunError
from pipeline.runs.records import read_history
from pipeline.runs.run_folder import open_run


class Evil:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def run(fitted, tmp_path):
    return shutil.copytree(fitted, tmp_path / "run")


def test_what_lies_beside_a_good_head_is_neither_run_nor_believed(run, fitted, tmp_path):
    (run / "head.joblib").write_bytes(pickle.dumps(Evil(str(tmp_path / "was-here"))))
    (run / "parity.json").write_text("[" * 100_000)
    photo = fitted.parent / "photos/red/000.png"
    expected = call("predict", fitted, photo, "--format", "csv")
    assert call("predict", run, photo, "--format", "csv").stdout == expected.stdout
    assert not (tmp_path / "was-here").exists()


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"weights_source": "/etc/passwd"}, "cannot be read from this kind of file"),
        ({"weights_source": "https://127.0.0.1/w.h5"}, "The weights file does not exist"),
        ({"weights_source": "/dev/zero"}, "The weights file"),
        ({"data_root": "../../../etc", "kind": "../../x"}, "There is no such kind of head"),
        ({"kind": "dense"}, "without head.keras"),
        ({"kind": "\x1b[31m[red]\u202e"}, "Received: \\x1b[31m[red]\\u202e"),
    ],
)
def test_a_manifest_that_names_what_is_not_its_own_is_one_error(run, fitted, facts, words):
    values = json.loads((run / "manifest.json").read_text()) | facts
    (run / "manifest.json").write_text(json.dumps(values))
    (run / "parity.json").unlink(missing_ok=True)
    weights = [] if "kind" in facts else ["--weights", facts["weights_source"]]
    outcome = call("predict", run, fitted.parent / "photos/red/000.png", *weights)
    assert outcome.exit_code == 1
    assert words in outcome.stderr
    assert all(line.isprintable() for line in outcome.stderr.split("\n"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("C,train_loss\nnan,1\n", "not every row has a number for C"),
        ("epoch,train_loss\n1,1\n", "not every row has a number for C"),
        ("C,train_loss\nx,1\n", "could not convert"),
        ("C,train_loss\n1\n", "shorter"),
        ("C\n", "it has no rows"),
        ('C\n"1', "it is no CSV"),
    ],
)
def test_a_history_that_no_plot_can_show_is_named(run, text, why):
    (run / "history.csv").write_text(text)
    with pytest.raises(RunError, match=why) as caught:
        read_history(open_run(run))
    assert "history.csv" in str(caught.value)
