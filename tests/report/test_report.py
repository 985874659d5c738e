"""`frostline.report` and `cli.py report`: where the page goes, what it is, what is said of it."""

import json
import re
import shlex
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest import call, make_photos
from made_runs import fit_undrawn, make_features, make_run, reports_without_what_takes_long

import frostline

ARCHIVE = Path(__file__).parents[1] / "reference" / "made_by_0.1.0.tar.xz"
DATA = re.compile(r'<script[^>]* type="application/json"[^>]*>(.*?)</script>', re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with reports_without_what_takes_long():
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The runs `one` and `two` on the same images, with `photos` beside them."""
    folder = tmp_path_factory.mktemp("made")
    make_run(folder, "one", ("blue", "green"), 20, spread=2.0, test_fraction=0.3)
    paths = [f"{name}/{i:03d}.png" for name in ("blue", "green") for i in range(20)]
    features = make_features(folder / "two.h5", folder / "photos", paths, spread=1.5, seed=3)
    fit_undrawn(features, folder / "two", C=0.3, test_fraction=0.3)
    return folder


def _copy(made: Path, to: Path) -> Path:
    return Path(shutil.copytree(made / "one", to / "one"))


def test_the_page_of_a_run_lies_in_it_and_is_made_anew_without_being_asked(made, tmp_path):
    run = _copy(made, tmp_path)
    for _ in range(2):
        outcome = call("report", run)
        assert outcome.exit_code == 0, outcome.stderr
        assert outcome.stdout == f"{run / 'report.html'}\n"
        assert "test images" in outcome.stderr
        assert (run / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_the_page_of_several_runs_gets_a_folder_of_its_own(made):
    for number in (1, 2):
        outcome = call("report", made / "one", made / "two")
        assert outcome.exit_code == 0, outcome.stderr
        assert outcome.stdout == f"runs/report-{number}/report.html\n"
        assert "McNemar's exact test" in outcome.stderr


def test_an_output_that_is_there_is_overwritten_only_by_force(made, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("mine")
    outcome = call("report", made / "one", "--output", page)
    assert outcome.exit_code == 1 and page.read_text() == "mine"
    assert "overwrite it with --force" in outcome.stderr
    assert call("report", made / "one", "--output", page, "--force").exit_code == 0
    assert page.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["one", "--output", "page.pdf"], "--output to be a name that ends with .html"),
        (["one", "one"], "more than once"),
        (["one", "--data", "nowhere"], "There is no such folder"),
        (["none"], "There is no such run"),
    ],
    ids=["no html", "twice", "no images", "no run"],
)
def test_what_cannot_be_is_told_before_the_work(made, monkeypatch, arguments, words):
    monkeypatch.chdir(made)
    outcome = call("report", *arguments)
    assert outcome.exit_code in (1, 2) and outcome.stdout == ""
    assert words in outcome.stderr and "Traceback" not in outcome.stderr
    assert not (made / "runs").exists()


def test_json_has_what_a_script_would_want(made, tmp_path):
    page = tmp_path / "page.html"
    outcome = call("report", made / "one", made / "two", "--output", page, "--json")
    said = json.loads(outcome.stdout)
    assert said["report"] == str(page)
    assert [run["name"] for run in said["runs"]] == ["one", "two"]
    manifest = json.loads((made / "one" / "manifest.json").read_text())
    assert said["runs"][0]["scores"][0]["accuracy"] == manifest["metrics"]["test"]["accuracy"]


def test_the_commands_of_a_report_make_the_same_run_again(made, tmp_path):
    how = {"C": 0.05, "class_weight": "balanced", "test_fraction": 0.25, "seed": 3}
    run = fit_undrawn(made / "one.h5", tmp_path / "run", **how)
    said = json.loads(call("report", run, "--json").stdout)
    extract, fit = said["runs"][0]["commands"]
    assert extract.startswith(f"python cli.py extract {made / 'photos'} --backbone stand-in")
    again = call(*shlex.split(fit)[2:], "--output", tmp_path / "again")
    assert again.exit_code == 0, again.stderr
    names = ("predictions.csv", "digests.npy", "history.csv")
    for name in names[:2]:
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()
    in_python = frostline.report(run).contents.runs[0].commands[1]
    assert eval(in_python, {"frostline": frostline}).metrics["test"].accuracy == (
        frostline.open_run(run).manifest.metrics["test"].accuracy
    )


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    make_photos(folder / "photos", n_per_class=6)
    return folder


def test_runs_of_0_1_0_have_reports(old):
    made = frostline.report(
        old / "logreg",
        old / "dense",
        old / "finetuned",
        output=old / "old.html",
        data=old / "photos",
    )
    kinds = [run.kind for run in made.contents.runs]
    assert kinds == ["logreg", "dense", "finetuned"]
    assert made.contents.runs[2].scores[1].name == "the head before fine-tuning"
    assert all(run.plots and run.classes for run in made.contents.runs)


def test_whatever_names_are_in_it_a_page_stays_a_page(tmp_path, monkeypatch):
    hostile = ["<script>alert(1)</script>".replace("/", "\u2215"), "a\"b'c\n</d>".replace("/", "|")]
    name = b"\xff<img src=x onerror=alert(1)>\xe2\x80\xae".decode("utf-8", "surrogateescape")
    make_run(tmp_path, "run", hostile, 12, spread=2.0)
    for place in hostile:
        (tmp_path / "photos" / place / "000.png").rename(
            tmp_path / "photos" / place / f"{name}.png"
        )
    paths = [
        str(path.relative_to(tmp_path / "photos")) for path in (tmp_path / "photos").rglob("*.png")
    ]
    features = make_features(tmp_path / "odd.h5", tmp_path / "photos", paths, spread=2.0)
    run = fit_undrawn(features, tmp_path / "o'dd <run>", C=1.0)
    outcome = call("report", run)
    assert outcome.exit_code == 0, outcome.stderr
    page = (run / "report.html").read_text("utf-8")
    assert "<script>alert" not in page and "<img src=x" not in page
    assert "\u202e" not in page and "o'dd <run>" not in page
    found = frostline.report(run).contents
    shown = [image.path for image in found.images]
    assert sum("\\udcff<img src=x onerror=alert(1)>\\u202e.png" in path for path in shown) == 2
    assert all(image.thumbnail is not None for image in found.images)
    assert "".join(found.class_names).isprintable()


def test_a_notebook_shows_the_page_and_tables_of_runs_and_features(made, tmp_path):
    run = _copy(made, tmp_path)
    shown = frostline.report(run)._repr_html_()
    assert shown.startswith('<iframe srcdoc="&lt;!DOCTYPE html&gt;')
    assert '"' not in shown.partition('srcdoc="')[2].partition('" title')[0]
    odd = Path(shutil.copytree(run, tmp_path / "<b>"))
    table = frostline.open_run(odd)._repr_html_()
    assert "Run &lt;b&gt;" in table and "<b>" not in table and "logreg" in table
    table = frostline.features(made / "one.h5")._repr_html_()
    assert "40, 40 with a label" in table and "blue" in table


def test_a_page_is_written_whole_or_not_at_all(made, tmp_path, monkeypatch):
    run = _copy(made, tmp_path)
    (run / "report.html").write_text("before")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.system.disk.rename", fail)
    outcome = call("report", run)
    assert outcome.exit_code == 1 and "the disk is full" in outcome.stderr
    assert (run / "report.html").read_text() == "before"
    assert np.unique([path.name for path in run.iterdir()]).tolist() == sorted(
        [*(path.name for path in (made / "one").iterdir()), "report.html"]
    )
