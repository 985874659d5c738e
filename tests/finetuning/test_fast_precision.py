"""16 bits are refused where they only cost time, before anything is opened."""

import pytest
from conftest import call

import frostline
from pipeline.backbones.engines.device import Device, describe_cpu
from pipeline.finetuning import fast_precision
from pipeline.finetuning.fast_precision import require_fast_precision


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "mixed_bfloat16"])
def test_training_in_16_bits_on_a_cpu_is_refused_by_name(precision):
    with pytest.raises(frostline.ParameterError, match="more slowly than in float32") as caught:
        frostline.finetune("no-such-run", precision=precision, device="cpu")
    assert caught.value.parameter == "precision"
    today = precision.removeprefix("mixed_")  # the older name still means the same
    assert f"Received: `precision='{today}'` on a CPU" in str(caught.value)


def test_the_command_line_names_its_own_option_and_the_command_that_does_pay(tmp_path):
    (tmp_path / "run").mkdir()
    outcome = call("finetune", "run", "--precision", "bfloat16", "--device", "cpu")
    assert outcome.exit_code != 0
    assert "Received: --precision bfloat16 on a CPU" in outcome.stderr
    assert "python cli.py extract DATA --precision bfloat16" in outcome.stderr


@pytest.mark.parametrize("has_gpu", [False, True])
def test_auto_is_refused_where_there_is_no_sign_of_a_gpu(has_gpu, monkeypatch):
    monkeypatch.setattr(fast_precision, "may_have_gpu", lambda: has_gpu)
    if has_gpu:
        require_fast_precision("bfloat16", "auto")
    else:
        with pytest.raises(frostline.ParameterError):
            require_fast_precision("bfloat16", "auto")


def test_what_costs_nothing_passes():
    for precision in ("float32", "tf32"):
        require_fast_precision(precision, "cpu")
        require_fast_precision(precision, describe_cpu())
    require_fast_precision("bfloat16", Device("/GPU:0", "GPU 0"))
    require_fast_precision("bfloat16", "gpu:1")
