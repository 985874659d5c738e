"""A run's model in Keras's own hands: it says what the run says, and trains as Keras trains.

Eagerly, since a graph of a training step takes longer to make than a few steps.
"""

import keras
import numpy as np
import pytest

import frostline

LABELS = np.array([0, 1, 2, 0, 1, 2])  # blue, green, red
PIXELS = np.zeros((6, 32, 32, 3), np.uint8)
PIXELS[range(6), :, :, 2 - LABELS] = np.linspace(120, 250, 6, dtype=np.uint8)[:, None, None]


@pytest.mark.parametrize("which", ["fitted", "finetuned"])
def test_a_keras_model_says_what_its_run_says_and_only_the_head_of_it_learns(which, request):
    model = frostline.load(request.getfixturevalue(which), device="cpu")
    network = model.keras_model()
    expected = [answer.probabilities for answer in model.predict(list(PIXELS))]
    received = network(PIXELS).numpy()
    assert np.ptp(received) > 0.1  # or any tolerance would do
    np.testing.assert_allclose(received, expected, atol=1e-3)
    assert [layer.name for layer in network.layers] == [
        "image",
        "preprocessing",
        "backbone",
        "head",
    ]
    assert [weight.path for weight in network.trainable_weights] == ["head/kernel", "head/bias"]
    frozen = network.get_layer("backbone").get_weights()
    network.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    losses = network.fit(PIXELS, LABELS, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for before, after in zip(frozen, network.get_layer("backbone").get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert not np.allclose(network(PIXELS).numpy(), expected, atol=1e-3)
    again = [answer.probabilities for answer in model.predict(list(PIXELS))]
    np.testing.assert_array_equal(again, expected)  # it is a model of its own


def test_a_block_is_thawed_by_its_name_and_what_was_trained_is_saved(fitted, tmp_path):
    network = frostline.load(fitted, device="cpu").keras_model()
    backbone = network.get_layer("backbone")
    backbone.trainable = True
    for layer in backbone.layers:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layer.name.startswith("block7a") and not is_norm
    trained = {weight.path.split("/")[-2] for weight in network.trainable_weights}
    assert trained >= {"head"}
    assert all(name == "head" or name.startswith("block7a") for name in trained)
    assert len(trained) > 2
    before = [weight.numpy() for weight in network.trainable_weights]
    network.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", run_eagerly=True)
    network.fit(PIXELS, LABELS, verbose=0)
    after = [weight.numpy() for weight in network.trainable_weights]
    assert not any(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    network.save(tmp_path / "mine.keras")
    loaded = keras.saving.load_model(tmp_path / "mine.keras", compile=False)
    np.testing.assert_allclose(*(one(PIXELS).numpy() for one in (network, loaded)), atol=1e-5)


def test_a_head_that_keras_has_no_layers_for_is_named(extracted, tmp_path):
    run = frostline.fit_head(extracted / "features.h5", head="neighbours", output=tmp_path / "run")
    with pytest.raises(frostline.HeadError, match="compares an image with those"):
        frostline.load(run, device="cpu").keras_model()


def test_a_head_on_two_backbones_is_one_keras_model_too(extracted, tmp_path):
    photos = extracted / "photos"
    other = tmp_path / "other.h5"
    frostline.extract(
        photos, backbone="efficientnet-lite0", image_size=32, layer="block6d_add", output=other
    )
    run = frostline.fit_head([extracted / "features.h5", other], join=True, output=tmp_path / "run")
    model = frostline.load(run, device="cpu")
    network = model.keras_model()
    expected = [answer.probabilities for answer in model.predict(list(PIXELS))]
    np.testing.assert_allclose(network(PIXELS).numpy(), expected, atol=1e-3)
    trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    n_features = network.layers[-1].input.shape[-1]
    assert trainable == 3 * n_features + 3
