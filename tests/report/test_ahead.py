"""What more images would bring stands in a report, or why nobody can tell."""

from pathlib import Path

import pytest
from made_runs import make_run

from pipeline.heads.forecast.of_run import forecast
from pipeline.report.gathering.gather import gather_contents
from pipeline.runs.run_folder import open_run


def _gather(folder: Path):
    run = open_run(folder)
    roots = [Path(run.manifest.data_root)]
    return gather_contents([run], roots, count_bytes=lambda contents: 100_000)


def test_a_report_forecasts_what_the_library_forecasts(tmp_path):
    make_run(tmp_path, "run", ("blue", "green"), 20, spread=2.5)
    expected = forecast(tmp_path / "run")
    (run,) = _gather(tmp_path / "run").runs
    (plot,) = [one for one in run.plots if one.heading == "Accuracy over the number of images"]
    measured, ahead = plot.curves
    assert measured.x == [one.n_images for one in expected.measured]
    assert measured.y == pytest.approx([one.mean for one in expected.measured], abs=1e-5)
    assert ahead.x == [expected.now.n_images, *(one.n_images for one in expected.ahead)]
    assert ahead.low[1:] == pytest.approx([one.low for one in expected.ahead], abs=1e-5)
    assert ahead.high[1:] == pytest.approx([one.high for one in expected.ahead], abs=1e-5)
    assert ahead.is_dashed and plot.is_log and plot.mark == (expected.now.n_images, "now")
    assert plot.note.startswith(f"With {expected.now.n_images} training images a logistic head")


def test_with_too_few_images_a_report_says_why_it_forecasts_nothing(tmp_path):
    make_run(tmp_path, "run", ("blue", "green"), 5)
    found = _gather(tmp_path / "run")
    assert not any("number of images" in plot.heading for plot in found.runs[0].plots)
    (note,) = found.notes
    assert note.startswith("run: nothing is forecast of more images.")
