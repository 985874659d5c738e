"""What scripts read: every command's `--json`, of the shape that docs/json.md promises."""

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import call
from hypothesis import given, settings
from hypothesis import strategies as st

from cli import main
from pipeline.system.printable import to_json, without_nan

PAGE = (Path(__file__).resolve().parents[2] / "docs/json.md").read_text()
PRINT_NO_RESULT = {"serve"}  # its answers go over HTTP, in the shape of `predict --json`
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read_strictly(text: str):
    """As readers in other languages do: NaN and infinities are no JSON."""

    def refuse(word: str):
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


def promised_keys(command: str) -> list[str]:
    """Of the table in docs/json.md."""
    (row,) = re.findall(rf"^\| `{re.escape(command)}` \| ([^\n]*) \|$", PAGE, re.M)
    return re.findall(r"`([a-z_0-9]+)`", row.partition("|")[2])


@pytest.mark.parametrize("name", sorted(set(main.commands) - PRINT_NO_RESULT))
def test_every_command_that_prints_results_has_json_and_a_line_that_tells_its_shape(name):
    assert "  --json " in call(name, "--help").stdout
    assert promised_keys(name)


@settings(max_examples=30)
@given(JSON_VALUES)
def test_whatever_a_result_holds_any_reader_of_json_takes_it(value):
    read_strictly(to_json(without_nan(value)))


def test_numbers_that_are_none_are_null():
    told = {"a": [1.5, float("nan")], "b": (float("inf"), {"c": -float("inf")})}
    assert read_strictly(to_json(without_nan(told))) == {"a": [1.5, None], "b": [None, {"c": None}]}


@pytest.mark.usefixtures("stand_in_backbone")
def test_what_makes_data_and_feature_files_tells_scripts_what_it_made(photos, tmp_path):
    (photos / "red/broken.png").write_bytes(b"no image")
    cheap = ("--weights", "random", "--image-size", 24, "--json")
    shards = [f"{tmp_path}/{number}.h5" for number in (1, 2)]
    told = {}
    told["extract"] = call("extract", photos, "--output", "all.h5", *cheap)
    for number, shard in enumerate(shards, 1):
        call("extract", photos, "--shard", f"{number}/2", "--output", shard, *cheap)
    told["features --merge"] = call("features", *shards, "--merge", "--json")
    told["features --to-parquet"] = call(
        "features", "all.h5", "--to-parquet", "a.parquet", "--json"
    )
    told["features FEATURES"] = call("features", "all.h5", "--json")
    told["backbones"] = call("backbones", "--json")
    told["features"] = call("features", "--json")
    shutil.make_archive("few", "zip", photos)
    told["fetch"] = call("fetch", "few.zip", "--json")
    values = {}
    for command, outcome in told.items():
        assert outcome.exit_code == 0, outcome.stderr
        values[command] = read_strictly(outcome.stdout)
        first = values[command][0] if isinstance(values[command], list) else values[command]
        keys = promised_keys("extract" if command == "features --merge" else command)
        assert set(keys) <= set(first), command
    made = values["extract"]
    assert (made["path"], made["n_images"], made["computed"]) == ("all.h5", 25, 24)
    assert list(made["skipped"]) == ["red/broken.png"]
    assert values["features --merge"]["n_images"] == 25
    assert values["features --to-parquet"] == {"path": "a.parquet"}
    assert values["fetch"] == {"folder": "data/few", "n_files": 25, "notes": []}


def test_an_error_leaves_stdout_to_json_alone(tmp_path):
    for command in ("extract", "fetch", "fit-head", "audit", "finetune", "report"):
        outcome = call(command, tmp_path / "nothing", "--json")
        assert outcome.exit_code == 1, command
        assert outcome.stdout == ""
        assert outcome.stderr.startswith("Error: ")
