"""The short form of benchmarks/attack.py, and what it calls wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import attack
from benchmarks.attacks.workplace import End, Tally, find_marked, judge

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"code": 1, "stdout": "", "stderr": "Error: no.\n", "seconds": 0.1, "peak_mb": 90.0}


def test_nothing_is_wrong_in_the_short_matrix(fitted, tmp_path):
    """In a process of its own, which forks: this one may have threads of any library."""
    script = [ROOT / "benchmarks" / "attack.py", "--short", "--prepared", fitted.parent]
    done = subprocess.run(
        [sys.executable, *script, "--json", tmp_path / "a.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    results = json.loads((tmp_path / "a.json").read_text())["results"]
    assert [wrong for line in results for wrong in line["wrong"]] == []
    assert done.returncode == 0, done.stderr
    assert sum(line["tries"] for line in results) > 25


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, ""),
        ({"code": 0, "stderr": ""}, "exit code 0"),
        ({"code": -11, "stderr": ""}, "exit code -11"),
        ({"code": -999}, "still there"),
        (
            {"stderr": "Traceback (most recent call last):\nValueError: x\n"},
            "traceback: ValueError",
        ),
        ({"stderr": ""}, "not one message"),
        ({"stderr": "Error: a.\nError: b.\n"}, "not one message"),
        ({"peak_mb": 5000.0}, "5,000 MB"),
        ({"left_alive": ("python -c worker",)}, "lives on"),
    ],
)
def test_every_way_to_end_badly_is_called_wrong(facts, words):
    wrong = judge(End(**{**GOOD, **facts}))
    assert bool(wrong) == bool(words)
    assert words in "; ".join(wrong)


def test_a_child_that_lives_on_is_found_until_it_ends():
    child = subprocess.Popen(["sleep", "60"], env={"FROSTLINE_ATTACK": "this-very-mark"})
    try:
        assert find_marked("this-very-mark", patience=0.0) == ("sleep 60 ",)
    finally:
        child.kill()
        child.wait()
    assert find_marked("this-very-mark", patience=0.0) == ()


def test_one_wrong_line_makes_the_whole_fail(monkeypatch, capsys):
    tally = Tally("an attack", "predict")
    tally.add("refused", [])
    tally.add("done", ["exit code 0"])
    monkeypatch.setattr(attack, "Workplace", lambda *_: None)
    monkeypatch.setattr(attack, "attack", lambda *_, **__: iter([tally]))
    monkeypatch.setattr(sys, "argv", ["attack.py"])
    assert attack.main() == 1
    assert "WRONG exit code 0" in capsys.readouterr().out
