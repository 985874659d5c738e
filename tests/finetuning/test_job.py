"""Whether a fine-tuning goes on from a checkpoint, begins, or refuses to lose one."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.errors import FrostlineError, LockedError, RunError
from pipeline.finetuning import checkpoint
from pipeline.finetuning.checkpoint import State, write_checkpoint
from pipeline.finetuning.job import describe_job
from pipeline.finetuning.options import FinetuneOptions
from pipeline.heads.class_weights import weigh_classes
from pipeline.runs.run_folder import Run

TWO_EPOCHS = State(history=[{"epoch": n} for n in range(3)], epoch=2)
CLASSES = ["cat", "dog"]


@pytest.fixture
def run(tmp_path):
    (tmp_path / "head").mkdir()
    (tmp_path / "head/predictions.csv").write_text("path\n")
    return Run(tmp_path / "head", {})


def job_of(run, output="out", **options):
    settings = FinetuneOptions(**options)
    weights = weigh_classes(settings.class_weight, np.array([0, 1, 1]), CLASSES)
    task = SimpleNamespace(
        parent=SimpleNamespace(run=run),
        options=settings,
        output=output and Path(output),
        class_weights=weights,
    )
    return describe_job(task, "block7a")


def find(job, *, resume=False, force=False):
    notes = []
    return job.find_state(resume=resume, force=force, on_note=notes.append), notes


def test_finished_epochs_are_resumed_and_never_lost_by_accident(run):
    job = job_of(run)
    job.save(TWO_EPOCHS)
    with pytest.raises(RunError, match=r"2 finished epoch.*`resume=True`.*`force=True`"):
        find(job)
    state, notes = find(job, resume=True)
    assert state.epoch == 2
    assert "Resumed after epoch 2" in notes[0]
    assert find(job, force=True) == (None, [])


def test_a_kill_before_the_first_epoch_resumes_from_the_start(run):
    state, notes = find(job_of(run), resume=True)  # killed before there was a checkpoint
    assert state is None
    assert "begins from the start" in notes[0]
    state, notes = find(job_of(run), resume=True)  # and again, while the trunk cache filled
    assert state is None
    assert "begins from the start" in notes[0]
    assert find(job_of(run)) == (None, [])  # nothing is lost


def test_a_kill_while_the_trunk_cache_fills_is_no_error_where_other_jobs_have_epochs(run):
    job_of(run, epochs=7).save(TWO_EPOCHS)
    assert find(job_of(run)) == (None, [])
    state, notes = find(job_of(run), resume=True)
    assert state is None
    assert "begins from the start" in notes[0]


def test_only_other_jobs_to_resume_is_an_error_that_names_what_differs(run):
    job_of(run, epochs=7).save(TWO_EPOCHS)
    job_of(run, output="elsewhere").save(TWO_EPOCHS)
    job_of(run, seed=1).save(State())  # no epochs, not worth a word
    damaged = job_of(run, seed=2)
    damaged.path.write_bytes(b"half a check")
    with pytest.raises(RunError, match="nothing to resume") as caught:
        find(job_of(run), resume=True)
    text = str(caught.value)
    assert "epochs 7 there, 12 here" in text
    assert "/elsewhere there," in text
    assert f"{damaged.path}: cannot be read" in text
    assert "seed 1" not in text


def test_a_file_of_class_weights_is_known_by_what_it_says(run, tmp_path):
    def path_with(name, text):
        (tmp_path / name).write_text(text)
        return job_of(run, class_weight=str(tmp_path / name)).path

    first = path_with("a.json", '{"cat": 1, "dog": 2}')
    assert path_with("b.csv", "cat,1\ndog,2\n") == first
    assert path_with("a.json", '{"cat": 1, "dog": 3}') != first
    assert job_of(run, class_weight="balanced").path != job_of(run).path


def test_damaged_checkpoint_of_this_job_is_an_error_to_resume_and_no_obstacle_to_begin(run):
    job = job_of(run)
    job.save(TWO_EPOCHS)
    data = bytearray(job.path.read_bytes())
    data[len(data) // 2] ^= 1
    job.path.write_bytes(data)
    with pytest.raises(RunError, match="cannot be read"):
        find(job, resume=True)
    assert find(job) == (None, [])


def test_a_state_survives_its_checkpoint(run):
    job = job_of(run)
    weights = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7.0)]
    write_checkpoint(job.path, State(history=[{"epoch": 0}], weights=weights), job.facts)
    state, _ = find(job, resume=True)
    for read, written in zip(state.weights, weights, strict=True):
        np.testing.assert_array_equal(read, written)


def test_a_state_that_knew_fewer_arrays_is_read_but_not_in_the_middle_of_a_mean(run, monkeypatch):
    job = job_of(run)
    kinds = ("weights", "best_weights", "optimizer", "said", "blended")
    for n_blended in (0, 1):
        state = State(history=[{"epoch": 0}], weights=[np.arange(3.0)], n_blended=n_blended)
        del state.blended_said
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "_ARRAYS", kinds)
            write_checkpoint(job.path, state, job.facts)
        if n_blended:
            with pytest.raises(RunError, match=r"an earlier version[\s\S]*Remove it"):
                find(job, resume=True)
        else:
            assert find(job, resume=True)[0].weights[0].tolist() == [0, 1, 2]


def test_a_refusal_leaves_nothing_behind_and_an_interruption_what_is_resumed(run, tmp_path):
    job = job_of(run, output="new/out")
    for error, is_kept in ((FrostlineError("no"), False), (KeyboardInterrupt(), True)):
        with pytest.raises(type(error)), job.hold():
            find(job)
            raise error
        assert job.path.exists() == is_kept
        assert job.path.parent.exists() == is_kept
    job.save(TWO_EPOCHS)
    with pytest.raises(FrostlineError, match="too late"), job.hold():
        raise FrostlineError("too late")
    assert find(job, resume=True)[0].epoch == 2


def test_two_at_one_job_are_told_apart(run):
    job = job_of(run)
    with job.hold():
        with pytest.raises(LockedError, match="is being written by process"), job_of(run).hold():
            pytest.fail("two hold one job")
        with job_of(run, epochs=7).hold():  # another job of the same run
            pass
