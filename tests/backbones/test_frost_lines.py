import keras
import numpy as np
import pytest
from networks import random_images, set_statistics

from pipeline.backbones.build import build_backbone
from pipeline.backbones.frost_lines import cut_between, find_frost_lines, split_at, thaw
from pipeline.backbones.multiply_adds import count_multiply_adds
from pipeline.backbones.registry import get_backbone
from pipeline.backbones.weights.resolve import resolve_weights
from pipeline.errors import BackboneError

# Pixels of the side; others take 32.
LEAST_SIZE = {"inceptionv3": 75, "inceptionresnetv2": 75, "xception": 71, "alexnet": 63}


def _build(name, image_size=32):
    backbone = get_backbone(name)
    return build_backbone(backbone, resolve_weights(backbone, "random"), image_size)


@pytest.fixture(scope="module")
def lite0():
    return _build("efficientnet-lite0")


def test_lines_of_efficientnet_are_its_blocks_from_the_top(lite0):
    expected = ["top", "block7a", "block6d", "block6c", "block6b", "block6a", "block5c"]
    lines = find_frost_lines(lite0)
    assert [line.name for line in lines][:7] == expected
    assert [line.name for line in lines][-3:] == ["block2a", "block1a", "stem"]
    assert [line.name for line in find_frost_lines(_build("efficientnetb0"))][:7] == expected


def test_a_line_says_what_crosses_it_and_what_lies_on_each_side():
    backbone = get_backbone("efficientnet-lite0")
    model = build_backbone(backbone, resolve_weights(backbone, "random"), 224)
    line = {line.name: line for line in find_frost_lines(model)}["block7a"]
    assert line.tensor_of == "block6d_add"
    assert line.first_layers_above == ("block7a_expand_conv",)
    assert line.shape == (7, 7, 192)
    assert line.bytes_per_image == 7 * 7 * 192 * 2
    # Expand 192 -> 1152, 3x3 depthwise, project to 320, and the top's 320 -> 1280.
    assert line.trainable_parameters_above == 192 * 1152 + 9 * 1152 + 1152 * 320 + 320 * 1280
    work_above = 49 * line.trainable_parameters_above
    assert line.multiply_adds_below == count_multiply_adds(model) - work_above
    assert line.share_below == pytest.approx(1 - work_above / count_multiply_adds(model))


def test_a_tensor_that_a_skip_connection_goes_past_is_no_line():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, name="block1_conv1")(inputs)
    y = keras.layers.Conv2D(4, 1, name="block2_conv1")(x)
    z = keras.layers.Conv2D(4, 1, name="block3_conv1")(y)
    out = keras.layers.Add(name="block4_add")([x, z])
    out = keras.layers.Conv2D(4, 1, name="block5_conv1")(out)
    lines = find_frost_lines(keras.Model(inputs, out))
    assert [(line.name, line.tensor_of) for line in lines][:2] == [
        ("block5", "block4_add"),
        ("block2", "block1_conv1"),
    ]


def test_branches_without_block_names_are_named_by_the_layer_that_joins_them():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, name="first")(inputs)
    for number in range(2):
        left = keras.layers.Conv2D(4, 1, name=f"left{number}")(x)
        right = keras.layers.Conv2D(4, 1, name=f"right{number}")(x)
        x = keras.layers.Concatenate(name=f"mixed{number}")([left, right])
    x = keras.layers.Conv2D(4, 1, name="last")(x)
    lines = find_frost_lines(keras.Model(inputs, x))
    assert [line.name for line in lines] == ["top", "mixed1", "mixed0", "stem"]
    assert lines[1].tensor_of == "mixed0"


# As the layers of keras.applications and the papers call the blocks.
TOP_LINES = {
    "efficientnetb0": ("top", "block7a", "block6d"),
    "efficientnetv2b0": ("top", "block6h", "block6g"),
    "resnet50": ("conv5_block3", "conv5_block2", "conv5_block1"),
    "resnet50v2": ("conv5_block3", "conv5_block2", "conv5_block1"),
    "resnet18": ("conv5_block2", "conv5_block1", "conv4_block2"),
    "vgg16": ("block5", "block4", "block3"),
    "densenet121": ("conv5_block16", "conv5_block15", "conv5_block14"),
    "mobilenet": ("block_13", "block_12", "block_11"),
    "mobilenetv2": ("top", "block_16", "block_15"),
    "mobilenetv3small": ("top", "expanded_conv_10", "expanded_conv_9"),
    "convnexttiny": ("top", "stage_3_block_2", "stage_3_block_1"),
    "inceptionv3": ("mixed10", "mixed9", "mixed8"),
    "inceptionresnetv2": ("top", "block8_10", "block8_9"),
    "xception": ("block14", "block13", "block12"),
    "nasnetmobile": ("normal_concat_12", "stem"),
    "alexnet": ("fc7", "fc6", "conv5"),
    "squeezenet1_1": ("fire9", "fire8", "fire7"),
}
# The lines of EfficientNetB0 have a test of their own.
SLOW = ("densenet121", "efficientnetb0", "inceptionresnetv2", "inceptionv3", "nasnetmobile")


@pytest.mark.parametrize(
    "name",
    [n if n not in SLOW else pytest.param(n, marks=pytest.mark.slow) for n in TOP_LINES],
)
def test_each_family_names_its_top_lines_as_people_know_its_blocks(name):
    lines = find_frost_lines(_build(name, LEAST_SIZE.get(name, 32)))
    assert tuple(line.name for line in lines[:3]) == TOP_LINES[name]


# One network of each family.
FAMILIES = (
    *("efficientnet-lite0", "efficientnetb0", "efficientnetv2b0", "resnet18", "resnet50"),
    *("resnet50v2", "vgg16", "densenet121", "mobilenet", "mobilenetv2", "mobilenetv3small"),
    *("convnexttiny", "inceptionv3", "inceptionresnetv2", "xception", "nasnetmobile", "alexnet"),
    "squeezenet1_1",
)
QUICK = ("resnet18", "squeezenet1_1")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES]
)
def test_cutting_at_every_line_and_joining_again_changes_nothing(name):
    size = LEAST_SIZE.get(name, 32)
    model = _build(name, size)
    set_statistics(model, random_images(size, 16) - 128)
    images = random_images(size, 2) - 128
    expected = np.asarray(model(images))
    greatest = np.abs(expected).max()
    assert 0.05 < greatest < 1e4
    assert np.abs(expected[0] - expected[1]).max() > 0.01 * greatest
    lines = find_frost_lines(model)
    # NASNet's cells take the outputs of two cells, so there is hardly a place to cut.
    assert len(lines) >= (2 if name == "nasnetmobile" else 5)
    for line in lines:
        trunk, top = split_at(model, line.name)
        assert trunk.output_shape == (None, *line.shape)
        joined = np.asarray(top(trunk(images)))
        assert np.abs(joined - expected).max() <= 1e-5 * greatest, line.name


def test_what_lies_between_two_lines_takes_one_tensor_to_the_other(lite0):
    images = random_images(32, 2) - 128
    lower, _ = split_at(lite0, "block4a")
    upper, _ = split_at(lite0, "block6a")
    middle = cut_between(lite0, "block4a", "block6a")
    np.testing.assert_array_equal(middle(lower(images)), upper(images))
    assert not {layer.name for layer in middle.layers} & {"block6a_expand_conv", "stem_conv"}
    with pytest.raises(BackboneError, match="no frost line 'nowhere'"):
        cut_between(lite0, "block4a", "nowhere")


def test_thawing_trains_what_is_above_the_line_and_no_batch_normalization(lite0):
    n_trainable = thaw(lite0, "block7a")
    names = {layer.name for layer in lite0.layers if layer.trainable and layer.weights}
    assert names == {"block7a_expand_conv", "block7a_dwconv", "block7a_project_conv", "top_conv"}
    line = {line.name: line for line in find_frost_lines(lite0)}["block7a"]
    assert n_trainable == line.trainable_parameters_above
    assert n_trainable == sum(np.prod(weight.shape) for weight in lite0.trainable_weights)


def test_one_training_step_moves_only_what_was_thawed(lite0):
    thaw(lite0, "block6d")
    before = {weight.path: np.asarray(weight) for weight in lite0.weights}
    model = keras.Sequential([lite0, keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = np.random.default_rng(0).uniform(-9, 9, (4, 32, 32, 3)).astype("float32")
    model.fit(images, np.array([0, 1, 0, 1]), verbose=0)
    moved = {w.path.split("/")[-2] for w in lite0.weights if np.any(before[w.path] != w.numpy())}
    assert moved
    assert all(name.startswith(("block6d", "block7a", "top")) for name in moved)
    assert not any(name.endswith("bn") for name in moved)


def test_thawing_again_forgets_the_line_before_and_all_thaws_everything(lite0):
    n_all = thaw(lite0, "all")
    assert n_all == thaw(lite0, "stem")
    n_parameters_of_batch_norm = sum(
        layer.count_params()
        for layer in lite0.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    )
    assert n_all == lite0.count_params() - n_parameters_of_batch_norm
    assert thaw(lite0, "top") == 320 * 1280


def test_lines_do_not_depend_on_what_is_frozen(lite0):
    thaw(lite0, "top")
    frozen = find_frost_lines(lite0)
    lite0.trainable = False
    assert find_frost_lines(lite0) == frozen
    lite0.trainable = True
    assert find_frost_lines(lite0) == frozen


def test_an_unknown_line_is_an_error_that_lists_the_lines(lite0):
    with pytest.raises(BackboneError, match=r"no frost line 'block9z'.*top, block7a, block6d.*all"):
        thaw(lite0, "block9z")
    with pytest.raises(BackboneError, match="no frost line"):
        split_at(lite0, "input_layer")


# Published: EfficientNet paper 0.39 G; He et al. 3.8 G, torchvision 4.09 G; MobileNetV2 paper
# 0.30 G; VGG16 15.5 G.
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("EfficientNetB0", 0.39e9 * 0.95, 0.39e9 * 1.05),
        ("MobileNetV2", 0.30e9 * 0.95, 0.30e9 * 1.05),
        ("ResNet50", 3.9e9 * 0.95, 4.1e9),
    ],
)
def test_multiply_adds_match_published_figures(name, low, high):
    model = getattr(keras.applications, name)(weights=None)
    assert low <= count_multiply_adds(model) <= high


def test_multiply_adds_of_vgg16_with_its_top_match_the_published_figure():
    backbone = get_backbone("vgg16")
    weights = resolve_weights(backbone, "random")
    model = build_backbone(backbone, weights, 224, layer="predictions", pooling="none")
    assert model.output_shape == (None, 1000)
    assert count_multiply_adds(model) == pytest.approx(15.5e9, rel=0.05)


def test_multiply_adds_of_each_layer_type_follow_its_formula():
    inputs = keras.Input((8, 8, 6))
    for layer, expected in [
        (keras.layers.Conv2D(10, 3, padding="same"), 64 * 9 * 6 * 10),
        (keras.layers.Conv2D(10, 3, strides=2, padding="valid"), 9 * 9 * 6 * 10),
        (keras.layers.Conv2D(10, 3, padding="same", groups=2), 64 * 9 * 3 * 10),
        (keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2), 64 * 9 * 6 * 2),
        (keras.layers.SeparableConv2D(10, 3, padding="same"), 64 * (9 * 6 + 6 * 10)),
        (keras.layers.Dense(10), 64 * 6 * 10),
        (keras.layers.BatchNormalization(), 0),
        (keras.Sequential([keras.layers.Conv2D(10, 1)]), 64 * 6 * 10),
    ]:
        assert count_multiply_adds(keras.Model(inputs, layer(inputs))) == expected, layer
