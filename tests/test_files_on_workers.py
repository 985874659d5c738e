"""Where pytest-xdist spreads the files."""

import pytest


def test_files_whose_tests_ask_for_the_fine_tuned_run_share_a_worker():
    pytest.importorskip("xdist")
    from files_on_workers import find_those_that_share

    sharing = find_those_that_share()
    assert {"tests/finetuning/test_finetune.py", "tests/runs/test_listing.py"} <= sharing
    # It writes the word, as many do.
    assert "tests/commands/terminal/test_terminal.py" not in sharing
