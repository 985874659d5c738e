"""The picture of a sweep: every head has its panel, and nothing makes it stumble."""

import warnings

import numpy as np
import pytest
from PIL import Image

from pipeline.runs.plots.sweep_plot import SettingScores, plot_sweep

BLUE = (0, 114, 178)


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def scores(head, options=(), file="", loss=0.3, accuracy=0.9):
    return SettingScores(head, dict(options), file, loss, accuracy)


def draw(path, *settings):
    plot_sweep(path.with_suffix(""), settings, title="a sweep")
    assert path.with_suffix(".svg").is_file()
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_a_head_with_more_values_has_a_wider_panel_and_the_best_is_marked(tmp_path):
    few = [scores("logreg", {"C": 10.0**i}, loss=0.2 + i / 100) for i in range(2)]
    many = [scores("logreg", {"C": 10.0**i}, loss=0.2 + i / 100) for i in range(30)]
    others = [scores("ridge"), scores("class-mean", loss=0.4)]
    narrow, wide = draw(tmp_path / "a.png", *few, *others), draw(tmp_path / "b.png", *many, *others)
    assert wide.shape[1] > 1.5 * narrow.shape[1]
    assert wide.shape[0] == narrow.shape[0]
    is_blue = (np.abs(wide.astype(int) - BLUE) <= 2).all(axis=-1)
    assert is_blue.sum() > 500


@pytest.mark.parametrize(
    "settings",
    [
        [scores("ridge")],
        [scores("logreg", {"C": 1.0}, loss=0.0, accuracy=1.0)],
        [
            scores("logreg", {"class_weight": word})
            for word in ("none", "balanced", "$a$\udc80.csv")
        ],
        [scores("logreg", {"C": C}) for C in ("auto", 1.0, 2.0)],
        [scores("dense", {"hidden_units": n}, f, loss=n + 1.0) for n in (0, 9) for f in ("x", "y")],
        [scores("dense", {"hidden_units": n, "dropout": n / 99}) for n in range(9)],
    ],
)
def test_any_settings_can_be_drawn(tmp_path, settings):
    image = draw(tmp_path / "a.png", *settings)
    assert (image != 255).any()
