"""The forecast of the run that is fine-tuned, or the reason why there is none."""

import pytest
from conftest import call, make_photos

import frostline
from pipeline.finetuning.outlook import forecast_parent
from pipeline.finetuning.parent import open_parent
from pipeline.runs.run_folder import open_run


def foretell(run):
    stages = []
    parent = open_parent(open_run(run), None, None)
    found, reason = forecast_parent(parent, lambda stage, done, total: stages.append(stage))
    return found, reason, stages


@pytest.mark.usefixtures("stand_in_backbone")
def test_the_forecast_is_that_of_the_parent_and_its_progress_is_heard(tmp_path):
    make_photos(tmp_path / "photos", n_per_class=20)
    call("extract", "photos", "--backbone", "efficientnet-lite0", "--output", "f.h5")
    call("fit-head", "f.h5", "--output", "run")
    found, reason, stages = foretell(tmp_path / "run")
    assert reason == ""
    assert found.now == frostline.forecast("run").now
    assert set(stages) == {"Forecasting"}
    (tmp_path / "f.h5").unlink()
    found, reason, _ = foretell(tmp_path / "run")
    assert found is None
    assert reason.startswith("What more training images would bring is not forecast. ")
    assert "f.h5" in reason


def test_too_few_images_and_fine_tuned_runs_have_none_and_are_told_why(fitted, finetuned):
    for run, words in ((fitted, "Received: "), (finetuned, "cached features")):
        found, reason, _ = foretell(run)
        assert found is None
        assert words in reason
        assert "\n" not in reason
