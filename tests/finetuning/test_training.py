"""The parts of a training step: optimizer, rates, frost line, devices; and what must not change."""

import json
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.backbones.build import build_embedding_model
from pipeline.backbones.frost_lines import find_frost_lines, thaw
from pipeline.backbones.keras_internals import flatten_layers
from pipeline.classifier.build import build_classifier
from pipeline.errors import BackboneError, DeviceError, RunError
from pipeline.features.extract import make_recipe
from pipeline.finetuning.checkpoint import State
from pipeline.finetuning.choose_line import choose_line
from pipeline.finetuning.interpolate import describe_winner
from pipeline.finetuning.learning_rate_schedule import learning_rate_at
from pipeline.finetuning.learning_rate_sweep import choose_rate, sweep_rates
from pipeline.finetuning.optimizer import decay_factors, make_optimizer
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.replicas import Replicas
from pipeline.finetuning.training import Training
from pipeline.heads.linear import LinearHead
from pipeline.runs.predictions import Predictions

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ["a", "b", "c"]


def build(backbone="efficientnet-lite0", size=32):
    weights = "imagenet" if backbone == "efficientnet-lite0" else "random"
    embedding = build_embedding_model(*make_recipe(backbone, weights, image_size=size))
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((embedding.output_shape[1], 3)).astype(np.float32) * 0.01
    return build_classifier(
        embedding, LinearHead(kernel, np.zeros(3, np.float32), CLASSES), CLASSES
    )


def thaw_classifier(model, line):
    model.trainable = True
    model.get_layer("preprocessing").trainable = False
    thaw(model.get_layer("backbone"), line)


class Noise:
    """Inputs whose class is their brightness."""

    def __init__(self, labels, size):
        rng = np.random.default_rng(1)
        self.images = rng.normal(
            60 + 60 * labels[:, None, None, None], 20, (len(labels), size, size, 3)
        )
        self.images = self.images.astype(np.float32)

    def train(self, rows, targets, epoch, batch):
        return self.images[rows], targets

    def plain(self, rows):
        return self.images[rows]


def train(model, line, state=None, **options):
    labels = np.arange(24) % 3
    splits = np.repeat([0, 1], 12).astype(np.int8)
    before = Predictions([""] * 24, splits, labels, np.full((24, 3), 1 / 3, np.float32))
    settings = FinetuneOptions(**{"epochs": 1, "batch_size": 4, **options})
    training = Training(
        model, line, Noise(labels, model.input_shape[1]), before, settings, state=state
    )
    training.run()
    return training


@pytest.mark.parametrize(
    ("backbone", "size", "line"),
    [
        ("efficientnet-lite0", 32, "block7a"),
        pytest.param("mobilenetv2", 32, "block_16", marks=pytest.mark.slow),
        ("mobilenet", 32, None),
    ],
)
def test_frozen_layers_and_batchnorm_are_bit_identical_after_training(backbone, size, line):
    model = build(backbone, size)
    line = line or find_frost_lines(model.get_layer("backbone"))[0].name
    thaw_classifier(model, line)
    trained = {id(variable) for variable in model.trainable_variables}
    variables = [
        variable
        for variable in model.variables
        if id(variable) not in trained and "seed" not in variable.path
    ]
    norms = [
        variable
        for layer in flatten_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in layer.variables
    ]
    assert {id(variable) for variable in norms} <= {id(variable) for variable in variables}
    before = [variable.numpy() for variable in variables]
    top_before = [variable.numpy() for variable in model.trainable_variables]
    training = train(model, line, learning_rate=1e-2)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    after = training.state.weights  # of the last epoch, which need not have won
    assert sum(not np.array_equal(v, w) for v, w in zip(after, top_before, strict=True)) > 3


def build_small(precision="float32"):
    """A classifier without dropout: a convolution, the mean over all places, a dense layer."""
    image = keras.Input((4, 4, 3), name="image")
    scaled = keras.layers.Rescaling(1 / 255, name="preprocessing")(image)
    layers = [keras.layers.Conv2D(4, 3, kernel_regularizer="l2"), keras.layers.ReLU()]
    backbone = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()], name="backbone")
    for layer in layers:
        layer.dtype_policy = keras.dtype_policies.get(precision)
    head = keras.layers.Dense(3, "softmax", name="head", dtype="float32")
    model = keras.Model(image, head(backbone(scaled)))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.5, value.shape) for value in model.get_weights()])
    return model


def limit_memory(monkeypatch, most, error):
    """Lets a step fail, in the given words, that takes more images at once."""
    divide, sizes = Replicas.divide, []

    def divide_a_few(self, *batch):
        sizes.append(len(batch[0]))
        if len(batch[0]) > most:
            raise error
        return divide(self, *batch)

    monkeypatch.setattr(Replicas, "divide", divide_a_few)
    return sizes


EXHAUSTED = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


@pytest.mark.parametrize(
    ("error", "most", "n_parts", "settings"),
    [
        (EXHAUSTED, 3, 2, {}),
        (
            tf.errors.FailedPreconditionError(None, None, "DNN library initialization failed."),
            *(2, 4, {"average_weights": 0.9}),
        ),
        (
            tf.errors.UnknownError(
                None, None, "Failed to determine best cudnn convolution algorithm for: x"
            ),
            *(3, 2, {"precision": "mixed_float16", "find_learning_rate": True}),
        ),
    ],
)
def test_a_batch_that_does_not_fit_is_computed_in_parts_with_the_same_update(
    monkeypatch, error, most, n_parts, settings
):
    """12 images in batches of 5: two parts of at most 3, or four of at most 2."""
    how = {"epochs": 2, "batch_size": 5, "learning_rate": 3e-2, **settings}
    precision = how.get("precision", "float32")
    whole = train(build_small(precision), "all", **how)
    sizes = limit_memory(monkeypatch, most, error)
    parted = train(build_small(precision), "all", **how)
    assert [size for size in sizes if size > most] == [5, 3][: n_parts // 2]
    assert parted.state.n_parts == n_parts
    assert len(parted.state.notes) == len(whole.state.notes) + n_parts // 2
    for name in ("weights", "best_weights", "optimizer"):
        for one, other in zip(getattr(whole.state, name), getattr(parted.state, name), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4)
    for name in ("train_loss", "train_accuracy", "val_loss"):
        losses = [[record[name] for record in run.history] for run in (whole, parted)]
        np.testing.assert_allclose(*losses, rtol=1e-3)


def state_after(blend):
    """Of a training after those of a mean."""
    return State(
        blended=blend.weights,
        n_blended=blend.n_trainings,
        blended_history=blend.history,
        blended_said=[blend.said],
    )


@pytest.mark.parametrize("rate", [1e-3, 3e-2, 0.3])
def test_the_best_of_the_mean_with_without_and_the_last_alone_is_kept(rate):
    how = {"epochs": 4, "average_weights": 0.0}
    first = train(build_small(), "all", seed=0, **how, learning_rate=3e-2)
    before = first.blend()
    assert (before.n_trainings, before.history) == (1, first.history)
    for mean, last in zip(before.weights, first.state.weights, strict=True):
        np.testing.assert_array_equal(mean, last)
    second = train(build_small(), "all", state_after(before), seed=1, **how, learning_rate=rate)
    (note,) = [note for note in second.state.notes if "on validation (" in note]
    losses = [float(number) for number in re.findall(r"(?:log-loss |[(]|, )(\d[.]\d{4}) ", note)]
    assert len(losses) == 3 and losses[0] == min(losses)
    own = second.state.weights
    candidates = {
        "without those of the last": before.weights,
        "with those of the last": [(a + b) / 2 for a, b in zip(before.weights, own, strict=True)],
        "the last alone": own,
    }
    (kept,) = [name for name in candidates if name not in note]
    for one, other in zip(second.blend().weights, candidates[kept], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert second.blend().n_trainings == (2 if kept == "with those of the last" else 1)
    is_first = kept == "without those of the last"
    assert second.kept_history == (first if is_first else second).history
    assert second.best_epoch == 4 and note.endswith(": kept.")


def test_a_training_without_an_epoch_is_the_frozen_head_alone():
    training = train(build_small(), "all", State(is_over=True))
    assert training.said is None
    assert training.blend().n_trainings == 1
    np.testing.assert_allclose(training.blend().said, np.full((12, 3), 1 / 3), rtol=1e-6)


def test_how_a_mean_is_named():
    assert describe_winner(8, 8, 1.0, 2) == "the mean of 2 trainings, each after epoch 8 of 8"


def test_a_training_that_was_cut_short_does_not_count_beside_others():
    whole = train(build_small(), "all", epochs=3, average_weights=0.0)
    state = state_after(whole.blend())
    state.is_over = True  # as where the budget has ended
    cut = train(build_small(), "all", state, epochs=3, average_weights=0.0, seed=1)
    assert cut.blend().n_trainings == 1
    np.testing.assert_array_equal(cut.blend().weights[0], whole.state.weights[0])


def test_the_average_is_over_a_tenth_of_all_steps_where_nothing_is_given():
    options = FinetuneOptions(epochs=10, batch_size=32)
    assert options.settle_average(320).average_weights == pytest.approx(0.9)
    assert options.settle_average(3200).average_weights == pytest.approx(0.99)
    assert options.settle_average(10**6).average_weights == 0.999
    assert options.settle_average(20).average_weights == 0
    given = FinetuneOptions(average_weights=0.5)
    assert given.settle_average(3200) == given


def test_what_does_not_fit_in_four_parts_is_an_error_with_the_next_size(monkeypatch):
    sizes = limit_memory(monkeypatch, 1, EXHAUSTED)
    with pytest.raises(DeviceError, match="`batch_size=3`\nTry `batch_size=1`"):
        train(build_small(), "all", batch_size=12)
    assert sizes == [12, 6, 3]


def test_another_error_than_of_memory_is_no_reason_for_parts(monkeypatch):
    other = tf.errors.UnknownError(None, None, "an illegal memory access was encountered")
    sizes = limit_memory(monkeypatch, 1, other)
    with pytest.raises(tf.errors.UnknownError):
        train(build_small(), "all", batch_size=12)
    assert sizes == [12]


def test_a_state_of_another_optimizer_is_refused_in_words():
    """As old versions left it where each block has a rate of its own."""
    model = build("squeezenet1_1")
    thaw_classifier(model, "fire9")
    state = train(model, "fire9").state
    state.epoch, state.is_over = 0, False
    with pytest.raises(RunError, match="belongs to another network or optimizer"):
        train(model, "fire9", state=state, layer_decay=0.5)


def adamw(weights, gradients, rate, decay, is_decayed):
    """AdamW as in Loshchilov and Hutter 2019, algorithm 2, with Keras's order and epsilon."""
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    for step, gradient in enumerate(gradients, start=1):
        if is_decayed:
            weights = weights - rate * decay * weights
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        corrected = rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weights = weights - corrected * mean / (np.sqrt(square) + 1e-7)
    return weights


def test_layer_decay_scales_rate_and_weight_decay_of_a_block():
    low, high = (
        keras.Variable(np.ones(3, np.float32), name=f"kernel_{n}") for n in ("low", "high")
    )
    optimizer = make_optimizer(FinetuneOptions(weight_decay=0.5), {low.path: 0.25})
    optimizer.learning_rate = 0.1
    gradients = [np.array([0.1, -0.2, 0.3], np.float32), np.array([0.05, 0.2, 0.1], np.float32)]
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient), low), (tf.constant(gradient), high)])
    ones = np.ones(3)
    np.testing.assert_allclose(low.numpy(), adamw(ones, gradients, 0.025, 0.5, True), rtol=1e-5)
    np.testing.assert_allclose(high.numpy(), adamw(ones, gradients, 0.1, 0.5, True), rtol=1e-5)


def test_gradients_are_clipped_by_their_common_norm():
    variable = keras.Variable(np.zeros(2, np.float32), name="bias")
    optimizer = make_optimizer(FinetuneOptions(), {})
    optimizer.build([variable])
    optimizer.learning_rate = 0.1
    optimizer.apply_gradients([(tf.constant([30.0, 40.0]), variable)])
    moment = next(v for v in optimizer.variables if "momentum" in v.path)
    np.testing.assert_allclose(moment.numpy(), [0.06, 0.08], rtol=1e-5)


def test_each_block_further_down_gets_the_factor_once_more():
    backbone = build().get_layer("backbone")
    thaw(backbone, "block6d")
    factors = decay_factors(backbone, "block6d", 0.5)
    by_block = {name: set() for name in ("top", "block7a", "block6d")}
    for path, factor in factors.items():
        block = next((b for b in ("block7a", "block6d") if b in path), "top")
        by_block[block].add(factor)
    assert by_block == {"top": {0.5}, "block7a": {0.25}, "block6d": {0.125}}
    assert decay_factors(backbone, "block6d", 1.0) == {}


def test_rate_warms_up_and_falls_to_a_hundredth():
    rates = [learning_rate_at(step, 100, 1e-3, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[9] == pytest.approx(1e-3)
    assert rates[54] == pytest.approx(1e-3 * (0.01 + 0.99 * 0.5))
    assert rates[99] == pytest.approx(1e-5)
    assert np.all(np.diff(rates[10:]) < 0)


def test_sweep_finds_the_rate_at_which_a_known_curve_falls_steepest():
    rates = np.geomspace(1e-6, 1e-1, 60)
    # A logistic fall in log(rate), steepest at 1e-4, and a rise beyond 1e-2.
    losses = 2 - 1.5 / (1 + np.exp(-3 * np.log10(rates / 1e-4))) + (rates > 1e-2) * 5
    chosen = choose_rate([list(pair) for pair in zip(rates, losses, strict=True)])
    assert chosen == pytest.approx(1e-4, rel=0.25)
    assert choose_rate([[rate, 1.0 + rate] for rate in rates]) is None


def test_sweep_ends_when_the_loss_explodes():
    curve = sweep_rates(iter(range(60)), lambda batch, rate: (1.0 if rate < 1e-2 else 1e3, 0.0))
    assert len(curve) < 60
    assert curve[-1][0] >= 1e-2


@pytest.mark.parametrize(
    ("wanted", "expected"), [("block6d", "block6d"), ("1", "top"), ("3", "block6d"), ("all", "all")]
)
def test_frost_line_by_name_number_or_all(wanted, expected):
    backbone = build().get_layer("backbone")
    assert choose_line(backbone, wanted, 100, 2).name == expected


def test_default_frost_line_goes_down_with_more_images_per_class_and_says_why():
    backbone = build().get_layer("backbone")
    shares = {line.name: line.share_below for line in find_frost_lines(backbone)}
    chosen = [choose_line(backbone, None, 10 * n, 10) for n in (5, 30, 110, 5000)]
    thawed = [1 - shares[line.name] for line in chosen]
    assert thawed == sorted(thawed)
    for share, most in zip(thawed, (0.15, 0.25, 2 / 3, 2 / 3), strict=True):
        assert share <= most
    assert "with 110 training images per class (1,100 of 10 classes)" in chosen[2].reason
    for wanted in ("0", "99", "block99"):
        with pytest.raises(BackboneError, match="from the top"):
            choose_line(backbone, wanted, 100, 2)


MIRRORED = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from test_training import Noise, build, build_small, thaw_classifier
import keras
from pipeline.backbones.engines.device import Device
from pipeline.backbones.keras_internals import flatten_layers
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.checkpoint import State
from pipeline.finetuning.replicas import place
from pipeline.runs.predictions import Predictions
from pipeline.finetuning.training import Training

labels = np.arange(25) % 3
splits = np.repeat([0, 1], [13, 12]).astype(np.int8)
before = Predictions([""] * 25, splits, labels, np.full((25, 3), 1 / 3, np.float32))
every = {"as it is": {}, "averaged": {"layer_decay": 0.5, "average_weights": 0.9}}
how = sys.argv[3]
for strategy in ["single", "mirrored"] if how in every else []:
    with place(strategy, Device("/CPU:0", "")) as replicas:
        model = build()
        for layer in flatten_layers(model):
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        thaw_classifier(model, "block7a")
        options = FinetuneOptions(epochs=3, batch_size=5, learning_rate=1e-3, strategy=strategy,
                                  **every[how])
        weights = np.array([0.5, 1.0, 2.0])
        training = Training(model, "block7a", Noise(labels, 32), before, options,
                            class_weights=weights, replicas=replicas)
        training.run()
    losses = [[record["train_loss"], record["val_loss"]] for record in training.history[1:]]
    print(json.dumps({"devices": replicas.n, "losses": losses}))

options = FinetuneOptions(epochs=3, batch_size=5, learning_rate=3e-2)
for strategy, n_parts in (("single", 1), ("mirrored", 2)) if how == "in parts" else []:
    with place(strategy, Device("/CPU:0", "")) as replicas:
        training = Training(build_small(), "all", Noise(labels, 4), before, options,
                            replicas=replicas, state=State(n_parts=n_parts))
        training.run()
    losses = [[record["train_loss"], record["val_loss"]] for record in training.history[1:]]
    print(json.dumps({"devices": replicas.n, "losses": losses}))
"""


@pytest.mark.parametrize(
    "how",
    ["in parts", *(pytest.param(how, marks=pytest.mark.slow) for how in ("as it is", "averaged"))],
)
def test_two_devices_give_the_loss_curve_of_one_with_the_same_global_batch(how):
    """13 images in batches of 5: shares of 3 and 2, and of 2 and 1. A small network, of whose
    batches two devices take two parts, one after the other; then a real one as it is, and with a
    rate for each block and averaged weights.
    """
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED, ROOT, Path(__file__).parent, how],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    one, two = [json.loads(line) for line in done.stdout.splitlines()]
    assert (one["devices"], two["devices"]) == (1, 2)
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-3)
    assert len(one["losses"]) == 3
