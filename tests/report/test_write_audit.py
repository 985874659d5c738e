"""The audit as a command and as a library."""

import csv
import json
import os
import re
import shutil

import numpy as np
import pytest
from conftest import call, make_photos, save_image

import frostline
from benchmarks.stand_in import extract

STRANGE = os.fsdecode(b'<script>,"x"\n\xff.png')


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audits")
    make_photos(folder / "photos", n_per_class=14)
    shutil.copy(folder / "photos/red/001.png", folder / "photos/green/copy.png")
    shutil.copy(folder / "photos/blue/001.png", folder / "photos/blue" / STRANGE)
    for number in range(2):  # a red one among the blue ones
        save_image(folder / f"photos/blue/lost-{number}.png", 500 + number, (210, 50, 40))
    extract(folder / "photos", folder / "f.h5")
    return folder


def read_rows(folder):
    with (folder / "audit.csv").open(newline="", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_command_lists_what_is_wrong_and_says_the_worst(made, tmp_path):
    outcome = call("audit", made / "f.h5", "--output", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout.splitlines()[-1] == str(tmp_path / "out/audit.csv")
    rows = read_rows(tmp_path / "out")
    wrong = {row["path"]: row["suggestion"] for row in rows if row["issue"] == "wrong label"}
    assert wrong["blue/lost-0.png"] == wrong["blue/lost-1.png"] == "red"
    assert "blue/lost-0.png: red?" in outcome.stdout
    equal = {row["path"]: row["related path"] for row in rows if row["issue"] == "equal image"}
    assert equal["green/copy.png"] == "red/001.png"
    assert f"blue/{STRANGE}" in equal or equal.get("blue/001.png") == f"blue/{STRANGE}"
    assert STRANGE not in outcome.stdout
    written = json.loads((tmp_path / "out/audit.json").read_text())
    assert written["format"] == "frostline-audit"
    assert [issue["path"] for issue in written["issues"]] == [row["path"] for row in rows]
    assert written["n_images"] == 46
    page = (tmp_path / "out/audit.html").read_text("utf-8")
    assert '<script>,"x"' not in page
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page)
    data = json.loads(text)
    assert [f"blue/{STRANGE}", "blue"] in data["table"]
    assert len(data["table"]) == 46
    headings = [group["heading"] for group in data["groups"]]
    assert headings == [finding["heading"] for finding in written["findings"]]


def test_library_gives_what_the_files_say(made, tmp_path):
    found = frostline.audit(made / "f.h5", output=tmp_path / "out")
    rows = read_rows(found.folder)
    assert [(one.path, one.issue) for one in found.issues] == [
        (row["path"], row["issue"]) for row in rows
    ]
    assert found.n_images == 46
    again = frostline.audit(made / "f.h5")
    assert again.folder.parts == ("runs", "photos-audit-1")
    assert again.issues == found.issues


def test_json_is_what_the_file_holds(made, tmp_path):
    outcome = call("audit", made / "f.h5", "--output", tmp_path / "out", "--json")
    said, written = (
        json.loads(outcome.stdout),
        json.loads((tmp_path / "out/audit.json").read_text()),
    )
    assert said["issues"] == written["issues"]
    assert said["findings"] == written["findings"]


def test_an_output_is_kept_unless_told_otherwise_and_a_run_always(made, tmp_path):
    first = call("audit", made / "f.h5", "--output", tmp_path / "out")
    assert first.exit_code == 0
    refused = call("audit", made / "f.h5", "--output", tmp_path / "out")
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    forced = call("audit", made / "f.h5", "--output", tmp_path / "out", "--force")
    assert forced.exit_code == 0, forced.stderr
    (tmp_path / "run").mkdir()
    (tmp_path / "run/manifest.json").write_text('{"format": "frostline-run"}')
    kept = call("audit", made / "f.h5", "--output", tmp_path / "run", "--force")
    assert kept.exit_code == 1
    assert "something else than a folder with audit.json" in " ".join(kept.stderr.split())
    assert (tmp_path / "run/manifest.json").exists()


def test_without_the_image_files_the_audit_says_what_it_left_out(made, tmp_path):
    shutil.copy(made / "f.h5", tmp_path / "f.h5")
    shutil.move(made / "photos", made / "moved")
    try:
        gone = call("audit", tmp_path / "f.h5", "--output", tmp_path / "gone")
        there = call("audit", tmp_path / "f.h5", "--data", made / "moved",
                     "--output", tmp_path / "there")  # fmt: skip
        nowhere = call("audit", tmp_path / "f.h5", "--data", tmp_path / "nowhere")
    finally:
        shutil.move(made / "moved", made / "photos")
    assert gone.exit_code == there.exit_code == 0
    said = " ".join(gone.stderr.split())
    assert "Pictures were not looked at" in said
    assert "--data FOLDER" in said
    assert "Pictures were not looked at" not in there.stderr
    assert nowhere.exit_code == 1


def test_a_data_set_with_nothing_wrong_says_so(tmp_path):
    random = np.random.default_rng(0)
    for number, name in enumerate(("a", "b")):
        for i in range(15):
            colour = np.array([60, 90, 120]) + 80 * number + random.integers(-9, 10, 3)
            save_image(tmp_path / "photos" / name / f"{i}.png", 100 * number + i, colour)
    extract(tmp_path / "photos", tmp_path / "f.h5")
    outcome = call("audit", tmp_path / "f.h5", "--output", tmp_path / "out")
    assert outcome.exit_code == 0
    assert outcome.stdout.splitlines()[0] == "Nothing was found in 30 images."
    assert read_rows(tmp_path / "out") == []
