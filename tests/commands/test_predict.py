"""The command predict: what it prints and how it ends, with and without images that can be used."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import call
from manifests import make_manifest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path) -> Path:
    """A run whose model is never loaded here."""
    folder = tmp_path / "runs/flowers-1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(make_manifest()))
    (folder / "head.npz").touch()
    return folder


def test_where_nothing_can_be_used_the_exit_code_is_1_and_tensorflow_stays_away(run, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    script = (
        "import sys\n"
        "from cli import main\n"
        "try:\n"
        "    main(['predict', 'flowers-1', 'notes.txt', 'bad.jpg', '--json'], prog_name='x')\n"
        "finally:\n"
        "    assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert [entry["path"] for entry in json.loads(done.stdout)] == ["notes.txt", "bad.jpg"]
    assert all(entry["skipped"] for entry in json.loads(done.stdout))
    assert done.stderr == (
        "Error: Not one of these 2 files can be used as an image. The results say why.\n"
    )


def test_evaluate_where_nothing_can_be_used_loads_no_model(run, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.classifier.predict.load_run", lambda *_, **__: pytest.fail())
    for name in ("daisy", "rose"):
        (tmp_path / "new" / name).mkdir(parents=True)
        (tmp_path / "new" / name / "1.jpg").write_bytes(b"\xff\xd8\xff")
    outcome = call("evaluate", "flowers-1", "new")
    assert outcome.exit_code == 1
    assert "Not one of the 2 images could be used. Received: new" in outcome.stderr
    assert "The first: new/daisy/1.jpg: " in outcome.stderr


def test_an_image_that_is_not_there_is_said_without_talk_of_data_sets(run):
    outcome = call("predict", "flowers-1", "nope.jpg")
    assert outcome.exit_code == 1
    assert outcome.stderr == (
        "Error: There is no such folder or file. Expected an image, or a folder of images. "
        "Received: nope.jpg\nCheck the path.\n"
    )


def test_a_device_of_no_kind_is_wrong_usage(run):
    outcome = call("predict", run, "a.png", "--device", "tpu")
    assert outcome.exit_code == 2
    assert "Expected auto, cpu, gpu or gpu:N. Received: --device tpu" in outcome.stderr


def test_json_is_asked_for_as_everywhere_and_not_together_with_csv(run, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    ways = (("--json",), ("--format", "json"), ("--json", "--format", "json"))
    first, *others = (call("predict", run, "notes.txt", *how).stdout for how in ways)
    assert json.loads(first)[0]["path"] == "notes.txt"
    assert others == [first, first]
    printed = call("predict", run, "notes.txt", "--format", "csv").stdout
    assert printed.splitlines()[0] == "path,class_1,probability_1,skipped"
    refused = call("predict", run, "notes.txt", "--json", "--format", "csv")
    assert refused.exit_code == 2
    assert "--json and --format csv" in refused.stderr


def test_what_stdin_holds_is_called_by_its_sign_and_a_file_of_that_name_by_its_path(run, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "-").write_bytes(b"\xff\xd8\xff")
    outcome = call("predict", run, "notes.txt", "-", "./-", "--json", stdin=b"GIF89a")
    assert outcome.exit_code == 1
    told = json.loads(outcome.stdout)
    assert [entry["path"] for entry in told] == ["notes.txt", "-", "-"]
    assert [("GIF" in one["skipped"], "JPEG" in one["skipped"]) for one in told[1:]] == [
        (True, False), (False, True),
    ]  # fmt: skip
    printed = call("predict", run, "-", "--format", "csv", stdin=b"GIF89a").stdout
    assert printed.splitlines()[1].startswith("-,,,")


def test_an_image_from_stdin_has_the_limits_of_a_file(run):
    outcome = call("predict", run, "-", "--max-bytes", 1000, "--json", stdin=b"x" * 100_000)
    assert outcome.exit_code == 1
    (entry,) = json.loads(outcome.stdout)
    assert entry["skipped"].startswith("too large: ")
    assert entry["skipped"].endswith("more than the limit of 1,000")


def test_stdin_that_holds_no_image_is_said_with_what_to_type(run, tmp_path):
    outcome = call("predict", run, "-")
    assert outcome.exit_code == 1
    assert outcome.stdout == ""
    assert outcome.stderr == (
        "Error: Expected the bytes of an image file on stdin. Received: nothing. Give it one: "
        "`cat a.jpg | python cli.py predict RUN -`\n"
    )
    for arguments, said in (
        (("-", "a.jpg", "-"), "stdin holds one image. Expected - once. Received: 2 times"),
        (("-", "--output", "sheet"), "Expected --output without -"),
    ):
        outcome = call("predict", run, *arguments, stdin=b"GIF89a")
        assert outcome.exit_code == 2
        assert said in outcome.stderr
    assert not (tmp_path / "sheet").exists()


def test_a_terminal_holds_no_image(run):
    """It would wait for somebody to type one."""
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, ROOT / "cli.py", "predict", run, "-"],
            stdin=theirs,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 1
    assert "on stdin. Received: a terminal. Give it one: `cat a.jpg | " in done.stderr


def test_a_run_is_known_by_its_name(run, tmp_path):
    from pipeline.runs.run_folder import open_run

    assert open_run("flowers-1").folder == Path("runs/flowers-1")
    for other in ("x/flowers-1", "flowers-2"):
        outcome = call("predict", other, "a.png")
        assert outcome.exit_code == 1
        assert outcome.stderr.startswith("Error: There is no such run. Expected a folder that")
        assert f"or the name of one in {tmp_path / 'runs'}. Received: {other}\n" in outcome.stderr
    for other in ("..", ".", "runs"):
        assert "This is not a run" in call("predict", other, "a.png").stderr
    (tmp_path / "features.h5").touch()
    said = call("finetune", "features.h5").stderr
    assert "This is a file, not a run." in said
    assert "`python cli.py fit-head FEATURES` makes one" in said
    assert call("runs", "flowers-1").stdout == call("runs", "runs/flowers-1").stdout != ""
    here = tmp_path / "flowers-1"
    here.mkdir()
    assert open_run("flowers-1").folder == Path("runs/flowers-1")
    (here / "manifest.json").write_text(json.dumps(make_manifest()))
    assert open_run("flowers-1").folder == Path("flowers-1")


def test_an_empty_folder_is_not_asked_for_classes(run, tmp_path):
    (tmp_path / "empty").mkdir()
    outcome = call("predict", run, "empty")
    assert outcome.exit_code == 1
    assert "it is empty. Expected images in it, or in folders in it. Received: empty" in (
        outcome.stderr
    )
    assert "per class" not in outcome.stderr


def test_a_list_stands_for_its_images_and_a_pattern_for_its_files(fitted, tmp_path):
    photos = fitted.parent / "photos"
    lines = ["path,label", f"{photos}/red/000.png,?", f"{photos}/blue/001.png,?"]
    (tmp_path / "l.csv").write_text("\n".join(lines))
    outcome = call("predict", fitted, "l.csv", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    said = {entry["path"].rpartition("/photos/")[2] for entry in json.loads(outcome.stdout)}
    assert said == {"red/000.png", "blue/001.png"}
    outcome = call("predict", fitted, f"{photos}/red/00[01].*", "--json")
    assert [Path(entry["path"]).name for entry in json.loads(outcome.stdout)] == [
        "000.png",
        "001.png",
    ]
    outcome = call("predict", fitted, "nothing/*.png")
    assert outcome.exit_code == 1
    assert "No file matches. Expected an image" in outcome.stderr


def test_a_name_of_a_run_with_a_slip_is_understood_by_people(run):
    outcome = call("predict", "flowers-2", "a.jpg")
    assert outcome.exit_code == 1
    assert "Did you mean runs/flowers-1?" in outcome.stderr
    assert str(run.parent.resolve()) in outcome.stderr


def test_help_says_that_the_answer_is_one_of_the_classes():
    assert "The answer is always one of the run's classes" in " ".join(
        call("predict", "--help").stdout.split()
    )
