"""Epochs of fine-tuning with and without the trunk cache, side by side in one run.

EfficientNetB0 with random weights of order 1 (He), thawed from block7a, on images of noise. Odd
rounds begin with the cache, even ones without, so that a noisy machine hits both alike. Shows:

    the speed of an epoch, and what filling the cache costs
    the loss curves, with augmentation off, dropout off and the same seed
    the assembled model against trunk-then-top in float32

    python benchmarks/finetune.py --images 256 --rounds 3
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    write_results,
)

PACKAGES = ("tensorflow", "keras", "numpy")
N_CLASSES = 4


def make_images(root: Path, n_images: int) -> None:
    """Coloured noise; the colour is the class."""
    rng = np.random.default_rng(0)
    for number in range(n_images):
        label = number % N_CLASSES
        pixels = make_pixels(rng, label)
        path = root / f"class{label}" / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def make_pixels(rng: np.random.Generator, label: int) -> np.ndarray:
    """uint8 (64, 64, 3)."""
    colour = 90 + 60 * np.eye(4)[label][:3]
    return np.clip(rng.normal(colour, 60, (64, 64, 3)), 0, 255).astype(np.uint8)


def make_weights(path: Path) -> None:
    """EfficientNetB0 whose values are of order 1 in each layer, not 1e-5 as Keras makes them.

    Kernels are He-normal, and BatchNorm has the statistics of one batch.
    """
    import keras

    from pipeline.backbones.build import build_embedding_model
    from pipeline.features.extract import make_recipe

    embedding = build_embedding_model(*make_recipe("efficientnetb0", "random"))
    model = embedding.get_layer("backbone")
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if "kernel" in variable.path and variable.ndim == 4:
            height, width, n_in, _ = variable.shape
            depthwise = "depthwise" in variable.path or "dwconv" in variable.path
            fan_in = height * width * (1 if depthwise else n_in)
            variable.assign(rng.standard_normal(variable.shape) * np.sqrt(2 / fan_in))
    norms = [la for la in model.layers if isinstance(la, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
    images = np.stack([make_pixels(rng, number % N_CLASSES) for number in range(32)])
    images = keras.ops.image.resize(images.astype(np.float32), model.input_shape[1:3])
    model(embedding.get_layer("preprocessing")(images), training=True)
    model.save_weights(path)


def prepare(folder: Path, n_images: int):
    """A run with a fitted head."""
    from pipeline.backbones.build import build_embedding_model
    from pipeline.backbones.engines.device import choose_device
    from pipeline.backbones.engines.opening import open_model
    from pipeline.features.extract import make_recipe
    from pipeline.features.update import update_features
    from pipeline.features.update_job import UpdateOptions
    from pipeline.heads.fit_head import fit_head
    from pipeline.images.dataset import scan_dataset
    from pipeline.runs.run_folder import open_run

    make_images(folder / "images", n_images)
    weights = folder / "b0.weights.h5"
    make_weights(weights)
    recipe, resolved = make_recipe("efficientnetb0", str(weights))
    model = build_embedding_model(recipe, resolved)
    update_features(
        scan_dataset(folder / "images"),
        recipe,
        folder / "features.h5",
        lambda size: open_model(model, choose_device("cpu"), batch_size=size),
        UpdateOptions(weights_source=resolved.source),
    )
    fit_head(folder / "features.h5", output=folder / "head")
    return open_run(folder / "head")


def build_training(run, inputs, options, line: str, begins_at: str | None):
    import keras

    from pipeline.backbones.frost_lines import thaw
    from pipeline.backbones.keras_internals import flatten_layers
    from pipeline.classifier.build import load_classifier
    from pipeline.finetuning.training import Training
    from pipeline.runs.predictions import read_predictions

    model = load_classifier(run)
    model.trainable = True
    thaw(model.get_layer("backbone"), line)
    for layer in flatten_layers(model):
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0  # drop-connect, so that the two loss curves may be compared
    before = read_predictions(run)
    return model, Training(model, line, inputs, before, options, begins_at=begins_at)


def run_benchmark(folder: Path, n_images: int, n_rounds: int) -> dict:
    from pipeline.backbones.frost_lines import split_at
    from pipeline.classifier.build import load_classifier
    from pipeline.finetuning.inputs import PixelInputs
    from pipeline.finetuning.options import FinetuneOptions
    from pipeline.finetuning.parent import open_parent
    from pipeline.finetuning.pixels import PixelStore
    from pipeline.finetuning.trunk.stage import TrunkStage
    from pipeline.images.augmentation.augment import Augmentation
    from pipeline.runs.records import read_probes

    os.chdir(folder)
    run = prepare(folder, n_images)
    parent = open_parent(run, None, folder / "images")
    line = "block7a"
    options = FinetuneOptions(
        unfreeze=line, epochs=n_rounds + 1, augment="none", trunk_cache=True, patience=99
    )
    stage = TrunkStage(parent, options, "cpu", load_classifier(run), line)
    started = time.perf_counter()
    notes: list[str] = []
    cached = stage.open_inputs(True, lambda *_: None, notes.append)
    fill_seconds = time.perf_counter() - started
    store = PixelStore(parent.paths, run.recipe)
    plain = PixelInputs(store, Augmentation("none", flip=False, seed=0))
    trainings = {
        "with": build_training(run, cached, options, line, line),
        "without": build_training(run, plain, options, line, None),
    }
    for _, training in trainings.values():
        training.begin()
    for epoch in range(1, n_rounds + 2):  # the first one compiles
        order = sorted(trainings, reverse=epoch % 2 == 0)
        for name in order:
            trainings[name][1].run_epoch(epoch)
    seconds = {
        name: [record["seconds"] for record in training.history[2:]]
        for name, (_, training) in trainings.items()
    }
    curves = {
        name: np.array(
            [[r["train_loss"], r["val_loss_uncalibrated"]] for r in training.history[1:]]
        )
        for name, (_, training) in trainings.items()
    }
    model = trainings["with"][0]
    images = read_probes(run).pixels.astype(np.float32)
    trunk, top = split_at(model.get_layer("backbone"), line)
    at_line = trunk(model.get_layer("preprocessing")(images), training=False)
    parts = np.asarray(model.get_layer("head")(top(at_line, training=False)))
    whole = np.asarray(model(images, training=False))
    ratios = [b / a for a, b in zip(seconds["with"], seconds["without"], strict=True)]
    return {
        "images": n_images,
        "notes": notes,
        "seconds to fill the cache, once": fill_seconds,
        "seconds per epoch with": seconds["with"],
        "seconds per epoch without": seconds["without"],
        "times faster, each round": ratios,
        "times faster, median": statistics.median(ratios),
        "loss curves differ by at most": float(np.abs(curves["with"] - curves["without"]).max()),
        "loss curve with": curves["with"][:, 0].tolist(),
        "loss curve without": curves["without"][:, 0].tolist(),
        "assembled against trunk-then-top": float(np.abs(parts - whole).max()),
        "greatest value at the line": float(np.abs(np.asarray(at_line)).max()),
        "load average": os.getloadavg()[0],
    }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=int, help="[default: 256; short: 64]")
    parser.add_argument("--rounds", type=int, help="[default: 5; short: 2]")
    arguments = parser.parse_args()
    target = arguments.json.absolute() if arguments.json else None
    machine = describe_machine(PACKAGES)
    print_machine(machine)
    n_images = arguments.images or (64 if arguments.short else 256)
    n_rounds = arguments.rounds or (2 if arguments.short else 5)
    with tempfile.TemporaryDirectory(prefix="frostline-finetune-") as folder:
        figures = run_benchmark(Path(folder), n_images, n_rounds)
    for name, value in figures.items():
        print(f"{name:<36} {value}")
    write_results(target, machine, figures)


if __name__ == "__main__":
    main()
