"""16 bits are refused where they only cost time, before anything is opened; else trained in."""

from pathlib import Path

import pytest
from conftest import call
from made_runs import fit_on_alike_classes

import frostline
from pipeline.backbones.engines.device import Device, describe_cpu
from pipeline.finetuning import fast_precision
from pipeline.finetuning.fast_precision import require_fast_precision, suggest_precision
from pipeline.finetuning.folded import FoldedConvolution
from pipeline.runs.records import read_history
from pipeline.runs.run_folder import open_run


@pytest.fixture(params=[False, True], ids=["no units", "units"])
def has_units(request, monkeypatch):
    """Whether the CPU has units for bfloat16."""
    monkeypatch.setattr(fast_precision, "has_units", lambda: request.param)
    return request.param


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "mixed_bfloat16"])
def test_training_in_16_bits_on_a_cpu_is_refused_by_name(precision, has_units):
    today = precision.removeprefix("mixed_")  # the older name still means the same
    is_fast = has_units and today == "bfloat16"
    with pytest.raises(frostline.FrostlineError) as caught:
        frostline.finetune("no-such-run", precision=precision, device="cpu")
    if is_fast:
        assert isinstance(caught.value, frostline.RunError)  # which is looked for next
        return
    assert isinstance(caught.value, frostline.ParameterError)
    assert caught.value.parameter == "precision"
    where = "on a CPU" if today == "float16" else "on a CPU without units for it"
    assert f"trains in {today} more slowly than in float32" in str(caught.value)
    assert f"Received: `precision='{today}'` {where}\n" in str(caught.value)


def test_the_command_line_names_its_own_option_and_the_command_that_does_pay(tmp_path):
    (tmp_path / "run").mkdir()
    outcome = call("finetune", "run", "--precision", "float16", "--device", "cpu")
    assert outcome.exit_code != 0
    assert "Received: --precision float16 on a CPU" in outcome.stderr
    assert "python cli.py extract DATA --precision bfloat16" in outcome.stderr


@pytest.mark.parametrize("has_gpu", [False, True])
def test_auto_is_refused_where_there_is_no_sign_of_a_gpu(has_gpu, monkeypatch):
    monkeypatch.setattr(fast_precision, "may_have_gpu", lambda: has_gpu)
    if has_gpu:
        require_fast_precision("float16", "auto", "single")
    else:
        with pytest.raises(frostline.ParameterError):
            require_fast_precision("float16", "auto", "single")


def test_several_cpus_are_not_trained_by_the_faster_kernels(monkeypatch):
    monkeypatch.setattr(fast_precision, "has_units", lambda: True)
    require_fast_precision("bfloat16", "cpu", "single")
    with pytest.raises(frostline.ParameterError, match="on CPUs with `strategy='mirrored'`"):
        require_fast_precision("bfloat16", "cpu", "mirrored")


def test_what_costs_nothing_passes(monkeypatch):
    monkeypatch.setattr(fast_precision, "has_units", lambda: False)
    for precision in ("float32", "tf32"):
        require_fast_precision(precision, "cpu", "single")
        require_fast_precision(precision, describe_cpu(), "mirrored")
    require_fast_precision("bfloat16", Device("/GPU:0", "GPU 0"), "single")
    require_fast_precision("bfloat16", "gpu:1", "mirrored")


def test_what_is_faster_is_said_where_it_is(has_units):
    said = suggest_precision("float32", describe_cpu(), "single")
    assert len(said) == has_units
    assert all("`precision='bfloat16'` trains" in one for one in said)
    gpu = Device("/GPU:0", "GPU 0")
    asked = (
        ("bfloat16", describe_cpu(), "single"),
        ("float32", gpu, "single"),
        ("float32", describe_cpu(), "mirrored"),
    )
    assert [suggest_precision(*one) for one in asked] == [[], [], []]


def test_a_cpu_with_units_trains_in_bfloat16_to_a_model_in_float32(tmp_path, monkeypatch):
    monkeypatch.setattr(fast_precision, "has_units", lambda: True)
    computed, call_as_ever = set(), FoldedConvolution.call
    monkeypatch.setattr(
        FoldedConvolution,
        "call",
        lambda self, x: computed.add((y := call_as_ever(self, x)).dtype.name) or y,
    )
    parent = fit_on_alike_classes(tmp_path, 20, "--C", 0.01)
    losses = {}
    for precision in ("float32", "bfloat16"):
        computed.clear()
        result = frostline.finetune(
            parent, unfreeze="fire9", epochs=3, learning_rate=1e-4, batch_size=16, device="cpu",
            keep_size=True, precision=precision, trunk_cache=True, output=tmp_path / precision,
        )  # fmt: skip
        assert computed == {precision}
        losses[precision] = [one["val_loss"] for one in read_history(open_run(result.folder))]
    assert len(list(Path("cache/trunk").glob("*.h5"))) == 2
    model = frostline.load(tmp_path / "bfloat16").keras_model()
    assert {layer.compute_dtype for layer in model.get_layer("backbone").layers} == {"float32"}
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)
    assert losses["bfloat16"][1:] != losses["float32"][1:]
