"""The command line as a whole: help everywhere, and a README that knows every command."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from conftest import call

from cli import main
from pipeline.errors import FeatureFileError
from pipeline.features.feature_file import FeatureFile

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_help_with_an_example_and_is_in_the_readme(name):
    outcome = call(name, "--help")
    assert outcome.exit_code == 0
    assert f"python cli.py {name}" in outcome.stdout
    assert f"`{name}" in README


@pytest.mark.parametrize("name", ["", *main.commands])
def test_examples_and_usage_can_be_typed_as_the_program_was_called(name):
    """From a clone it is `python cli.py`, installed it is `frostline`."""
    text = call(*name.split(), "--help", program="frostline").stdout
    assert text.startswith(f"Usage: frostline {name}".rstrip())
    assert f"\n    frostline {name}" in text
    assert "cli.py" not in text


def test_hints_can_be_typed_as_the_program_was_called(tmp_path):
    assert "`frostline runs` lists" in call("predict", tmp_path, "x", program="frostline").stderr
    said = call("runs", program="frostline").stderr
    assert said == "No runs yet. `frostline fit-head FEATURES` makes one.\n"
    said = call("features").stderr
    assert said == "No feature files yet. `python cli.py extract DATA` makes one.\n"


def test_program_of_a_clone_is_named_as_it_was_called():
    done = subprocess.run(
        [sys.executable, ROOT / "cli.py", "fetch", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    called = f"{Path(sys.executable).name} {ROOT}/cli.py fetch"
    assert done.stdout.startswith(f"Usage: {called} [OPTIONS] SOURCE\n")
    assert f"\n    {called} digits\n" in done.stdout


def test_help_has_every_command_in_full_in_the_order_of_their_use(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = call("--help").stdout
    assert "..." not in text.partition("Commands:")[2]
    places = [text.index(f"\n  {name} ") for name in ("fetch", "extract", "fit-head", "finetune")]
    assert places == sorted(places)


def test_first_example_needs_no_network():
    for name in ("", "extract"):
        lines = call(*name.split(), "--help").stdout.splitlines()
        first = next(line for line in lines if "cli.py extract" in line and "Usage" not in line)
        assert "--backbone efficientnet-lite0" in first


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_option_has_help(name):
    command = main.commands[name]
    for parameter in command.get_params(click.Context(command)):
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"


def test_help_of_commands_that_name_the_engines_imports_nothing_heavy():
    script = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from cli import main\n"
        "for name in ('extract', 'predict', 'evaluate'):\n"
        "    CliRunner().invoke(main, [name, '--help'], catch_exceptions=False)\n"
        "heavy = {'h5py', 'keras', 'numpy', 'openvino', 'PIL', 'sklearn', 'tensorflow'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_error_is_one_message_and_the_traceback_is_for_debug(tmp_path):
    outcome = call("extract", tmp_path / "nowhere")
    assert outcome.exit_code == 1
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("Error: ")
    with pytest.raises(Exception, match="no such folder"):
        call("extract", tmp_path / "nowhere", "--debug")


def test_quiet_says_nothing_but_the_result(extracted, tmp_path):
    outcome = call(
        *("extract", extracted / "photos", "--backbone", "efficientnet-lite0", "--quiet"),
        *("--image-size", 32, "--output", extracted / "features.h5"),
    )
    assert outcome.stderr == ""
    assert outcome.stdout == f"{extracted / 'features.h5'}\n"


def test_a_folder_without_runs_is_named(tmp_path):
    (tmp_path / "photos").mkdir()
    assert call("runs", "photos").stderr.startswith("No runs in photos.")


def test_a_hint_with_a_path_is_python_for_the_library_and_words_for_a_terminal(tmp_path):
    (tmp_path / "my photos").mkdir()
    with pytest.raises(FeatureFileError, match=r"`frostline.extract\('my photos'\)` makes"):
        FeatureFile(Path("my photos"))
    assert "extract 'my photos'` makes the file" in call("fit-head", "my photos").stderr


def test_no_feature_file_matches_a_pattern(tmp_path):
    outcome = call("fit-head", "cache/photos-*.h5")
    assert outcome.exit_code == 1
    assert "No feature file matches. Received: cache/photos-*.h5" in outcome.stderr


@pytest.mark.parametrize("package", ["click", "msgspec"])
def test_a_python_without_frostlines_packages_is_told_what_to_do(package, tmp_path):
    """click is missed at the start, msgspec when a command is at work."""
    script = (
        "import runpy, sys\n"
        f"sys.modules[{package!r}] = None\n"
        "sys.argv = ['cli.py', 'runs']\n"
        f"runpy.run_path({str(ROOT / 'cli.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"Error: The package {package} is not installed for {sys.executable}." in done.stderr
    assert "`make setup`" in done.stderr
