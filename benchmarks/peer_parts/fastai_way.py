"""Fine-tuning as fastai's users do it: `fine_tune`, one-cycle, discriminative rates, all blocks.

Run by finetune_peers.py in a Python that has fastai and timm; reads a task, writes probabilities.
"""

import json
import sys
import time
from pathlib import Path

import fastai.callback.schedule  # noqa: F401 - gives learners `fine_tune`
import numpy as np
import timm
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader, ColSplitter
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.torch_core import set_seed
from fastai.vision.augment import Resize, ResizeMethod, aug_transforms
from fastai.vision.data import ImageBlock
from fastai.vision.learner import vision_learner
from pandas import DataFrame

NETWORK = "tf_efficientnet_lite0"
# EfficientNet-Lite's own.
MEAN, SCALE = 127 / 255, 128 / 255
# fastai resizes images to more, and cuts out random parts while it augments ("presizing").
PRESIZE = 256 / 224


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    set_seed(task["seed"])
    by_epoch = _time_epochs(task)
    n_epochs = max(1, int((task["seconds"] - by_epoch["frozen"]) / by_epoch["thawed"]))
    started = time.perf_counter()
    learner = _make_learner(task)
    learner.fine_tune(n_epochs)
    seconds = time.perf_counter() - started
    test = learner.dls.test_dl([path for path, _ in task["test"]])
    probabilities = learner.get_preds(dl=test)[0].numpy()
    order = [learner.dls.vocab.o2i[name] for name in task["classes"]]
    np.savez(
        sys.argv[2],
        probabilities=probabilities[:, order],
        seconds=seconds,
        epochs=f"1 frozen, {n_epochs} thawed",
    )


def _time_epochs(task: dict) -> dict[str, float]:
    """Seconds of an epoch of either kind, the second one each; not counted."""
    learner = _make_learner(task)
    seconds = {}
    for kind in ("frozen", "thawed"):
        learner.freeze() if kind == "frozen" else learner.unfreeze()
        learner.fit(1, 1e-6)
        started = time.perf_counter()
        learner.fit(1, 1e-6)
        seconds[kind] = time.perf_counter() - started
    return seconds


def _make_learner(task: dict):
    size = task["image_size"]
    rows = [
        (path, task["classes"][label], split == "val")
        for split in ("train", "val")
        for path, label in task[split]
    ]
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=ColSplitter("is_val"),
        item_tfms=Resize(round(size * PRESIZE), method=ResizeMethod.Squish),
        batch_tfms=aug_transforms(size=size, min_scale=0.75, do_flip=task["flip"]),
    )
    images = block.dataloaders(DataFrame(rows, columns=["path", "label", "is_val"]), bs=32)
    learner = vision_learner(
        images,
        NETWORK,
        pretrained=False,
        normalize=False,
        loss_func=CrossEntropyLossFlat(),
        metrics=accuracy,
    )
    network = timm.create_model(NETWORK, pretrained=False)
    network.load_state_dict(_rename(torch.load(task["torch_weights"]), network.state_dict()))
    body = learner.model[0].model
    of_body = body.state_dict()
    body.load_state_dict({name: network.state_dict()[name] for name in of_body})
    learner.model[0] = torch.nn.Sequential(Normalize(), learner.model[0])
    return learner


class Normalize(torch.nn.Module):
    """From 0..1 to what the weights were trained on."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels - MEAN) / SCALE


def _rename(weights: dict, like: dict) -> dict:
    """Weights by the names of another implementation of the network, whose order is the same."""
    names = [name for name in like if not name.endswith("num_batches_tracked")]
    values = [weights[name] for name in weights if not name.endswith("num_batches_tracked")]
    assert [like[name].shape for name in names] == [value.shape for value in values]
    return {**like, **dict(zip(names, values, strict=True))}


if __name__ == "__main__":
    main()
