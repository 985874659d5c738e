"""What a search for settings says on the terminal."""

from rich.console import Console

from pipeline.commands.terminal.search_table import describe_search, search_table
from pipeline.runs.manifest import SearchPart


def trial(number, setting, values, accuracy, log_loss, n_images=100):
    return {
        "round": number, "setting": setting, "values": values, "epochs": 2, "n_images": n_images,
        "accuracy": accuracy, "log_loss": log_loss, "frozen_accuracy": 0.8, "frozen_log_loss": 0.5,
        "seconds": 10.0,
    }  # fmt: skip


WINNER = {"unfreeze": "block4a", "flip": True, "augment": "strong", "learning_rate": 1e-3}
SEARCH = SearchPart(
    budget_seconds=600.0,
    n_settings=2,
    winner="unfreeze=block4a, flip",
    trials=[
        trial(1, 1, {}, 0.85, 0.45),
        trial(1, 2, WINNER, 0.85, 0.46),
        trial(2, 2, WINNER, 0.92, 0.4, n_images=300),
    ],
    luck="Of the +5.0 points ...",
)


def test_what_came_furthest_stands_first_with_means_over_all_images():
    console = Console(width=80, record=True, file=None)
    with console.capture() as caught:
        console.print(search_table(SEARCH))
    lines = [line.split() for line in caught.get().splitlines() if line.strip()]
    assert lines[0] == ["setting", "rounds", "images", "points", "log-loss", "seconds"]
    first, second = (next(line for line in lines if line[0] == number) for number in "21")
    assert lines.index(first) < lines.index(second)
    # 100 images at +5 points and 300 at +12; 100 at -0.04 nats and 300 at -0.1.
    assert first[-5:] == ["2", "400", "+10.2", "-0.0850", "20"]
    assert second == ["1", "as", "it", "is", "1", "100", "+5.0", "-0.0500", "10"]
    assert max(map(len, caught.get().splitlines())) <= 80


def test_in_words_it_says_what_won_and_how_much_is_luck():
    assert describe_search(SEARCH) == (
        "Searched 2 settings in 3 trainings: unfreeze=block4a, flip came first. "
        "Of the +5.0 points ..."
    )
