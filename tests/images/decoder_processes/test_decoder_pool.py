"""Decoder processes give the pixels that this process would, whatever becomes of them."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import make_photos
from killed_parent import ENDS, survivors_of_a_kill

from benchmarks.kill_decoders import kill_decoders
from benchmarks.stand_in import RECIPE
from pipeline.errors import FrostlineError, StorageError
from pipeline.images.decoder_processes import feeder
from pipeline.images.decoder_processes.pool import DecoderProcesses
from pipeline.images.decoding.read_batches import ReaderSettings, read_notes
from pipeline.images.decoding.read_images import DEFAULT_LIMITS, read_image
from pipeline.system.child_process import ChildFailedError


@pytest.fixture
def paths(tmp_path):
    """20 images, of which one is none."""
    make_photos(tmp_path / "photos", n_per_class=7)
    paths = sorted((tmp_path / "photos").rglob("*.png"))[:20]
    paths[5].write_bytes(b"no image")
    return paths


def settings(folder, **how):
    return ReaderSettings(RECIPE, DEFAULT_LIMITS, folder / "notes", **how)


def die_at_one(path, recipe, limits):
    """Reads images, but the process dies at one of them."""
    if path.name == "006.png" and path.parent.name == "blue":
        os.kill(os.getpid(), signal.SIGSEGV)
    return read_image(path, recipe, limits)


def die_once(path, recipe, limits):
    """As when the kernel runs out of memory: the process is killed, and would not be again."""
    mark = path.with_suffix(".was-here")
    if path.name == "003.png" and path.parent.name == "red" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return read_image(path, recipe, limits)


def break_down(path, recipe, limits):
    raise ZeroDivisionError("a mistake of ours")


def end_at_once(*arguments):
    os._exit(3)


def decode(decoders, paths):
    with decoders.decode(paths) as batch:
        return batch.outcomes, batch.pixels.copy()


def assert_as_read_here(paths, outcomes, pixels, but=None):
    """But for one image."""
    expected = [read_image(path, RECIPE) for path in paths]
    usable = [
        decoded
        for path, (_, decoded) in zip(paths, expected, strict=True)
        if not isinstance(decoded, str) and path != but
    ]
    np.testing.assert_array_equal(pixels, usable)
    for path, (digest, reason), (wanted, decoded) in zip(paths, outcomes, expected, strict=True):
        assert digest.tobytes() == wanted.tobytes()
        if path != but:
            assert reason == (decoded if isinstance(decoded, str) else None)


def test_batches_of_several_threads_come_out_as_read_here(paths, tmp_path):
    found = {}
    with DecoderProcesses(settings(tmp_path), 2, 2, 20) as decoders:

        def work(number):
            mine = paths[number:] + paths[:number]
            found[number] = mine, *decode(decoders, mine)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 6
    for mine, outcomes, pixels in found.values():
        assert_as_read_here(mine, outcomes, pixels)
    assert decoders.losses == []
    assert not (tmp_path / "notes").exists()


def test_image_that_crashes_its_decoder_is_named_and_costs_no_other(paths, tmp_path):
    with DecoderProcesses(settings(tmp_path, read=die_at_one), 1, 1, 20) as decoders:
        outcomes, pixels = decode(decoders, paths)
    assert_as_read_here(paths, outcomes, pixels, but=paths[6])
    assert outcomes[6][1] == "the decoder crashed: its process died of SIGSEGV"
    assert decoders.losses == ["its process died of SIGSEGV"]


def test_image_whose_decoder_is_killed_once_is_decoded(paths, tmp_path):
    with DecoderProcesses(settings(tmp_path, read=die_once), 1, 1, 20) as decoders:
        outcomes, pixels = decode(decoders, paths)
    assert_as_read_here(paths, outcomes, pixels)
    assert decoders.losses == ["its process died of SIGKILL"]


def test_kills_at_random_moments_change_no_row_and_leave_nothing(tmp_path):
    figures = kill_decoders(tmp_path, 5, seed=1)
    assert figures.pop("decoders killed") == 5
    assert figures.pop("images meanwhile") > 100
    assert set(figures.values()) == {0}, figures


@pytest.mark.slow
def test_two_hundred_kills_at_random_moments_change_no_row_and_leave_nothing(tmp_path):
    figures = kill_decoders(tmp_path, 200, seed=2)
    assert figures.pop("decoders killed") == 200
    assert figures.pop("images meanwhile") > 1000
    assert set(figures.values()) == {0}, figures


@pytest.mark.parametrize("end", ENDS)
def test_no_decoder_outlives_a_parent_that_is_killed(tmp_path, end):
    (tmp_path / "slow.py").write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "def read(path, recipe, limits):\n"
        "    Path(f'child-{os.getpid()}').touch()\n"
        "    time.sleep(1000)\n"
    )
    program = (
        "from pathlib import Path\n"
        "import slow\n"
        "from benchmarks.stand_in import RECIPE\n"
        "from pipeline.images.decoder_processes.pool import DecoderProcesses\n"
        "from pipeline.images.decoding.read_batches import ReaderSettings\n"
        "from pipeline.images.decoding.read_images import DEFAULT_LIMITS\n"
        "settings = ReaderSettings(RECIPE, DEFAULT_LIMITS, Path('notes'), read=slow.read)\n"
        "with DecoderProcesses(settings, 2, 1, 16) as decoders:\n"
        "    decoders.decode([Path(str(n)) for n in range(16)]).__enter__()\n"
    )
    in_memory = set(Path("/dev/shm").glob("*"))
    assert survivors_of_a_kill(program, tmp_path, n_children=2, end=end) == []
    assert set(Path("/dev/shm").glob("*")) <= in_memory
    assert read_notes(tmp_path / "notes") == {tmp_path / str(n) for n in range(16)}


def test_processes_that_cannot_be_started_are_one_error_and_not_tried_for_ever(
    paths, tmp_path, monkeypatch
):
    monkeypatch.setattr(feeder, "decode_pieces", end_at_once)
    monkeypatch.setattr(feeder, "MOST_STARTS", 2)
    with DecoderProcesses(settings(tmp_path), 1, 1, 20) as decoders:
        for _ in range(2):
            with pytest.raises(FrostlineError, match=r"could not be started(.|\n)*exit code 3"):
                decode(decoders, paths)
    assert len(decoders.losses) == 1


def test_mistake_in_a_decoder_arrives_with_its_traceback(paths, tmp_path):
    with (
        DecoderProcesses(settings(tmp_path, read=break_down), 1, 1, 20) as decoders,
        pytest.raises(ChildFailedError, match="ZeroDivisionError: a mistake of ours"),
    ):
        decode(decoders, paths)


def test_disk_that_takes_no_notes_is_a_clear_error(paths, tmp_path):
    with DecoderProcesses(settings(tmp_path), 1, 1, 20) as decoders:
        decode(decoders, paths)
        (tmp_path / "notes").rename(tmp_path / "gone")
        with pytest.raises(StorageError, match=r"Cannot write .*notes"):
            decode(decoders, paths)
