"""Files and runs are called after the data set that they are made of."""

from pathlib import Path

import h5py
import pytest
from conftest import call, make_photos

from pipeline.features.feature_file import FeatureFile
from pipeline.images.dataset import shorten_name
from pipeline.system.sealed_hdf5 import seal_again

RANDOM = ("--backbone", "efficientnet-lite0", "--image-size", 32, "--weights", "random")


def names_of(*options):
    """Names of the feature file and of the run that are made of photos/, less the recipe."""
    outcome = call("extract", *options, *RANDOM)
    assert outcome.exit_code == 0, outcome.stderr
    file = Path(outcome.stdout.strip())
    outcome = call("fit-head", file, "--C", 1, "--val-fraction", 0.5)
    assert outcome.exit_code == 0, outcome.stderr
    (run,) = Path("runs").glob(f"{file.name.rpartition('-')[0]}-logreg-*")
    return file.name.rpartition("-")[0], run.name


@pytest.mark.usefixtures("stand_in_backbone")
def test_a_limit_is_in_the_names_of_the_file_and_of_the_run(photos):
    backbone = "efficientnet-lite0"
    assert names_of(photos) == (f"photos-{backbone}", f"photos-{backbone}-logreg-1")
    limited = f"photos-limit12-{backbone}"
    assert names_of(photos, "--limit", 12) == (limited, f"{limited}-logreg-1")


@pytest.mark.usefixtures("stand_in_backbone")
def test_a_limit_that_takes_all_makes_the_file_of_all(photos, tmp_path):
    assert call("extract", photos, *RANDOM, "--limit", 999).stdout.startswith("cache/photos-eff")


@pytest.mark.usefixtures("stand_in_backbone")
def test_the_longest_name_of_a_folder_is_shortened_and_stays_its_own(tmp_path):
    names = [f"{'é' * 120}{number}" for number in (1, 2)]
    found = {names_of(make_photos(tmp_path / name, n_per_class=2)) for name in names}
    assert len(found) == 2
    assert all(file.startswith("é" * 50) for file, _ in found)
    assert shorten_name("photos") == "photos"


@pytest.mark.usefixtures("stand_in_backbone")
def test_a_file_that_does_not_say_is_called_after_its_folder(photos):
    call("extract", photos, *RANDOM, "--limit", 12, "--output", "f.h5")
    with h5py.File("f.h5", "r+") as file:
        del file.attrs["data_name"]
    seal_again(Path("f.h5"))
    with FeatureFile(Path("f.h5")) as opened:
        assert opened.contents.data_name == "photos"
