"""The parent run's model, proven to be the one it was, with its top unfrozen."""

from dataclasses import dataclass

import numpy as np

from pipeline.backbones.engines.device import Device
from pipeline.backbones.frost_lines import find_frost_lines, thaw
from pipeline.classifier.build import load_classifier
from pipeline.classifier.parity import Parity, check_model_parity
from pipeline.finetuning.choose_line import ChosenLine, choose_line
from pipeline.finetuning.parent import Parent
from pipeline.system.keras_on_tensorflow import keras


@dataclass(frozen=True)
class Thawed:
    """A classifier to train from a frost line up.

    Args:
        model: in float32, from pixels to probabilities.
        n_trainable: parameters.
        parity: how near the model is to what the parent recorded.
    """

    model: keras.Model
    line: ChosenLine
    n_trainable: int
    parity: Parity

    def neighbours(self) -> tuple[str | None, str | None]:
        """The frost lines above and below."""
        names = [line.name for line in find_frost_lines(self.model.get_layer("backbone"))]
        if self.line.name not in names:  # all
            return names[-1], None
        place = names.index(self.line.name)
        above = names[place - 1] if place > 0 else None
        below = names[place + 1] if place + 1 < len(names) else None
        return above, below


def thaw_parent(parent: Parent, wanted: str | None, device: Device) -> Thawed:
    """Loads the parent's model, checks it against what was recorded, and unfreezes its top.

    Args:
        wanted: a frost line's name, a number of blocks from the top, `all`, or None.

    Raises:
        ParityError: the model or the images are not those that the run recorded.
        BackboneError: no such frost line, or the network cannot be saved.
    """
    run, weights = parent.run, parent.weights
    model = load_classifier(run, weights, to_be_saved=True)
    parity = check_model_parity(run, model, is_gpu=device.is_gpu, data_root=parent.root)
    if run.recipe.precision != "float32":
        model = load_classifier(run, weights, "float32")
    n_images, n_classes = len(parent.train_labels), len(run.class_names)
    line = choose_line(model.get_layer("backbone"), wanted, n_images, n_classes)
    return Thawed(model, line, thaw_classifier(model, line.name), parity)


def thaw_classifier(model: keras.Model, line: str) -> int:
    """Thaws the backbone from a frost line up, and the head; returns the trainable parameters."""
    model.trainable = True
    model.get_layer("preprocessing").trainable = False
    thaw(model.get_layer("backbone"), line)
    return int(sum(np.prod(weight.shape) for weight in model.trainable_weights))
