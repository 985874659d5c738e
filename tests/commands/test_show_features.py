"""The command features, and what other commands say where they expect a feature file."""

import json
import shutil

from conftest import call, make_photos


def test_recomputed_rows_are_in_the_json(extracted):
    outcome = call("features", extracted / "features.h5", "--verify", "--recompute", 3, "--json")
    facts = json.loads(outcome.stdout)
    assert facts["n_samples"] == 36
    assert facts["recomputed"]["n_rows"] == 3
    assert facts["recomputed"]["greatest_difference"] == 0
    assert facts["recomputed"]["engine"]["name"] == "openvino"
    assert "Every byte is as it was written." in outcome.stderr


def test_engines_are_shown_in_words(extracted):
    lines = call("features", extracted / "features.h5").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("engines ")]
    assert line.split()[1] == "openvino"
    assert not {"[", "]", "'"} & set(line)


def test_an_option_without_what_it_is_for_is_wrong_usage(extracted):
    file = extracted / "features.h5"
    for arguments, said in (
        (("--verify",), "--verify needs the PATH of a feature file"),
        (("--recompute", 3), "--recompute needs the PATH of a feature file"),
        ((file, "--data", "photos"), "--data needs --recompute"),
        ((file, "--weights", "x.h5"), "--weights needs --recompute"),
        ((file, "--device", "cpu"), "--device needs --recompute"),
    ):
        outcome = call("features", *arguments)
        assert outcome.exit_code == 2
        assert said in outcome.stderr


def test_images_that_are_not_where_data_says_are_said_to_be_missing(extracted, fitted):
    for arguments in (
        ("features", extracted / "features.h5", "--recompute", 3, "--data", "nofolder"),
        ("finetune", fitted, "--data", "nofolder"),
    ):
        outcome = call(*arguments)
        assert outcome.exit_code == 1
        assert "There is no such folder: nofolder." in outcome.stderr
        assert "Say where it is now with --data FOLDER." in outcome.stderr


def test_a_folder_of_feature_files_is_told_apart_from_one_of_images(extracted, tmp_path):
    shutil.copytree(extracted, tmp_path / "kept", ignore=shutil.ignore_patterns("photos"))
    outcome = call("features", tmp_path / "kept")
    assert outcome.exit_code == 1
    assert f"which holds '{tmp_path}/kept/features.h5'" in outcome.stderr
    assert "Name one of them." in outcome.stderr
    assert "extract" not in outcome.stderr


def test_fit_head_on_photos_says_to_run_extract_first(tmp_path):
    make_photos(tmp_path / "my photos", n_per_class=1)
    outcome = call("fit-head", "my photos")
    assert outcome.exit_code == 1
    assert "This is a folder. Expected a feature file. Received: my photos" in outcome.stderr
    assert "run extract first: `python cli.py extract 'my photos'`" in outcome.stderr
    outcome = call("fit-head", "my photos/red/000.png")
    assert "Features are made of images first: `python cli.py extract DATA`." in outcome.stderr


def test_converted_networks_are_listed_and_cleared(extracted, monkeypatch, tmp_path):
    monkeypatch.setenv("FROSTLINE_NETWORKS", str(tmp_path / "kept"))
    assert "No converted network is kept." in call("features", "--networks").stderr
    recipe = ("--backbone", "lite0", "--image-size", 32, "--no-reuse")
    call("extract", extracted / "photos", *recipe, "--output", tmp_path / "f.h5")
    listed = json.loads(call("features", "--networks", "--json").stdout)
    assert sum("compiled for" in network["identity"] for network in listed) == len(listed) - 1
    (kept,) = (network for network in listed if "compiled for" not in network["identity"])
    assert json.loads(kept["identity"])["image_size"] == 32
    assert "efficientnet-lite0, 32 pixels, top" in call("features", "--networks").stdout
    path = tmp_path / "kept" / kept["path"].rpartition("/")[2]
    path.write_bytes(path.read_bytes()[:-1])
    assert "not to be trusted, so never used" in call("features", "--networks").stdout
    assert (
        f"{len(listed)} converted network(s) deleted."
        in call("features", "--networks", "--clear").stdout
    )
    assert list((tmp_path / "kept").iterdir()) == []


def test_what_is_no_question_about_networks_is_wrong_usage(extracted):
    file = extracted / "features.h5"
    for arguments, said in (
        (("--clear",), "--clear needs --networks"),
        ((file, "--networks"), "--networks lists all that are kept. Expected no PATH"),
        (("--networks", "--to-parquet", "x.parquet"), "needs the PATH"),
        (("--networks", "--verify"), "--verify needs the PATH"),
    ):
        outcome = call("features", *arguments)
        assert (outcome.exit_code, said in outcome.stderr) == (2, True), outcome.stderr
