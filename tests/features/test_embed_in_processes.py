"""Worker processes give the rows that threads give, and their troubles arrive as words."""

import os
import signal

import numpy as np
import pytest
from conftest import call
from killed_parent import ENDS, survivors_of_a_kill

from benchmarks.stand_in import RECIPE, StandIn, extract
from pipeline.errors import DeviceError, FrostlineError
from pipeline.features.feature_file import FeatureFile
from pipeline.features.open_embedding import Workers
from pipeline.features.update import update_features
from pipeline.features.update_job import UpdateOptions
from pipeline.images.dataset import scan_dataset


def read(path):
    with FeatureFile(path) as file:
        return file.contents.images.paths, file.read_all()


def extract_in_processes(photos, target, make, **options):
    return update_features(
        scan_dataset(photos),
        RECIPE,
        target,
        make,
        UpdateOptions(workers=Workers("processes", 2), **options),
    )


def no_gpu(batch_size):
    raise DeviceError("TensorFlow sees 0 GPU(s).")


class Dying(StandIn):
    """Is killed at its first call, as by a kernel that is out of memory."""

    def __call__(self, pixels):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("isolate", [False, True])
def test_processes_give_the_file_that_threads_give(photos, tmp_path, isolate):
    (photos / "red" / "bad.png").write_bytes(b"no image")
    summary = extract_in_processes(photos, tmp_path / "a.h5", StandIn, reuse=False, isolate=isolate)
    extract(photos, tmp_path / "b.h5", reuse=False)
    assert (summary.computed, [path for path, _ in summary.skipped]) == (24, ["red/bad.png"])
    (paths, features), (expected_paths, expected) = map(
        read, (tmp_path / "a.h5", tmp_path / "b.h5")
    )
    assert paths == expected_paths
    np.testing.assert_array_equal(features, expected)
    assert sorted(path.name for path in tmp_path.glob("a.h5*")) == ["a.h5"]


def test_error_of_a_worker_arrives_as_it_was_raised(photos, tmp_path):
    with pytest.raises(DeviceError, match="sees 0 GPU"):
        extract_in_processes(photos, tmp_path / "a.h5", no_gpu)


def test_worker_that_is_killed_is_said_and_the_next_run_goes_on(photos, tmp_path):
    with pytest.raises(FrostlineError, match=r"worker process ended early(.|\n)*died of SIGKILL"):
        extract_in_processes(photos, tmp_path / "a.h5", Dying)
    assert not (tmp_path / "a.h5").exists()
    assert extract_in_processes(photos, tmp_path / "a.h5", StandIn).n_images == 24
    assert len(read(tmp_path / "a.h5")[1]) == 24


def test_command_line_with_processes_gives_the_rows_of_threads(extracted, tmp_path):
    outcome = call(
        *("extract", extracted / "photos", "--backbone", "efficientnet-lite0", "--no-reuse"),
        *(
            "--image-size",
            32,
            "--parallel",
            "processes",
            "--jobs",
            2,
            "--output",
            tmp_path / "a.h5",
        ),
    )
    assert outcome.exit_code == 0, outcome.stderr
    np.testing.assert_array_equal(read(tmp_path / "a.h5")[1], read(extracted / "features.h5")[1])


@pytest.mark.parametrize("end", ENDS)
def test_no_worker_outlives_an_extraction_that_is_killed(photos, tmp_path, end):
    (tmp_path / "slow.py").write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "from benchmarks.stand_in import StandIn\n"
        "class Slow(StandIn):\n"
        "    def __call__(self, pixels):\n"
        "        Path(f'child-{os.getpid()}').touch()\n"
        "        time.sleep(1000)\n"
    )
    program = (
        "from pathlib import Path\n"
        "from benchmarks.stand_in import RECIPE\n"
        "from pipeline.features.open_embedding import Workers\n"
        "from pipeline.features.update import update_features\n"
        "from pipeline.features.update_job import UpdateOptions\n"
        "from pipeline.images.dataset import scan_dataset\n"
        "from slow import Slow\n"
        "dataset = scan_dataset(Path('photos'))\n"
        "options = UpdateOptions(workers=Workers('processes', 2))\n"
        "update_features(dataset, RECIPE, Path('a.h5'), Slow, options)\n"
    )
    assert survivors_of_a_kill(program, tmp_path, n_children=2, end=end) == []
