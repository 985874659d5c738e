"""What may be said of an extraction and of the division of its images: each option once.

Imports nothing heavy.
"""

from contextlib import suppress
from dataclasses import dataclass

from pipeline.backbones.engines.registry import ENGINES
from pipeline.errors import ParameterError
from pipeline.features.spread.shard_number import parse_shard
from pipeline.images.augmentation.views import MOST_VIEWS, PRESETS, Views
from pipeline.images.split_rules import RULES
from pipeline.recipe import FORMER_PRECISION_NAMES, PRECISION_NAMES
from pipeline.system.options import check_options, option

ALL_DEVICES = "all"
TOGETHER, APART = "together", "apart"
NEAR_DUPLICATES = (TOGETHER, APART)
# What is meant where nothing is said; of a fine-tuned run, what its own features were made with.
USUAL = {
    "layer": "top",
    "pooling": "avg",
    "resize": "stretch",
    "background": "white",
    "truncated": "skip",
    "depth": "full",
}


@dataclass(frozen=True)
class ExtractOptions:
    """How to extract features.

    Args:
        backbone: a name of the registry, `hub:PRESET`, or `run:NAME` for the network of a
            fine-tuned run. Of such a run comes what is None below, where others have the usual.
        weights: `imagenet`, `random`, or the path of a file.
        image_size: side in pixels of the square that the backbone sees, None for its own.
        layer: whose output to take; `top` is the last below the classifier. None = `top`.
        pooling: from the layer's map to one row: `avg`, `max` or `flatten`; `none` if it is one.
            None = `avg`.
        limit: use only so many images, evenly spaced.
        batch_size: images per call of the network, None for what suits the device; a file keeps
            its own as long as the same engine computes.
        jobs: batches computed at once, or processes, None for as many as cores.
        parallel: who decodes and embeds: `threads` do both; `decoders` are processes that decode
            for the engine in this one; `processes` do both, each with a network of its own; `auto`
            is `decoders` where a GPU computes, `threads` where a CPU does.
        precision: of the computation: `float32`; `tf32`, which a GPU multiplies with 10 bits;
            `float16` or `bfloat16` (`mixed_float16` and `mixed_bfloat16` are older names of these).
        seed: of random weights, and of views.
        views: of each image; the first is the image as it is, the others are augmented. Heads train
            on all views of their training images.
        augment: how views are made: `light` or `strong`, as fine-tuning does, but for what `strong`
            mixes of several images.
        rehash: read every image, even if it looks unchanged.
        retry_skipped: try images again that could not be decoded.
        reuse: take rows from other files of the same recipe in the folder.
        prune: forget the features of images that are gone.
        moved: the data set was moved; keep the file's features.
        class_depth: how many folders down the classes are.
        label_from: a regular expression that finds the class in an image's path, None where
            folders or a column tell it.
        labels: a CSV with the columns path and label, in place of the labels that DATA gives.
        exclude: a CSV of images to leave out: those whose column `exclude` says yes, or without
            such a column all that it names.
        resize: how images become square: `stretch`, `crop` or `pad`. None = `stretch`.
        background: a name or `#rrggbb`: behind transparent pixels and around padded images. None =
            white.
        truncated: `keep` uses what is there of an image that was cut short, `skip` does not. None =
            `skip`.
        depth: of images of 16 bits that do not say how many are used: with `full` 65535 is white,
            with `auto` the least of 255, 1023, 4095, 16383 and 65535 that none of the data set's
            images exceeds when it is first extracted. None = `full`.
        on_error: `fail` stops at the first image that cannot be used, `skip` passes over it.
        skipped_csv: list skipped images in a CSV beside the file.
        isolate: decode in processes of their own, so that an image that hangs or crashes the
            decoder costs nothing else.
        max_pixels: skip images with more, None for 178,956,970.
        max_bytes: skip files with more, None for 536,870,912.
        engine: what runs the network, None for what suits the device.
        device: where to compute: `auto`, `cpu`, `gpu`, `gpu:N`, or `all` GPUs of this machine, each
            in a process that sees no other.
        fast: on a GPU take the fastest kernels of a trial; another process may then give an image
            other last bits.
        shard: `2/3` computes the second of three shares of the images, None all of them;
            `frostline.merge` makes one file of all shares.
        scheduler: address of a `dask.distributed` scheduler, whose workers compute; None for this
            machine.
    """

    backbone: str = option(
        "efficientnetb0",
        help="Its name (the command backbones lists them), hub:PRESET, or run:NAME for what a "
        "fine-tuned run made of one.",
    )
    weights: str = option("imagenet", help="imagenet, random, or a file.")
    image_size: int | None = option(None, help="Pixels.", least=1, default_words="the backbone's")
    layer: str | None = option(
        None,
        help="Whose output to take; top is the last below the classifier.",
        default_words="top, or the run's",
    )
    pooling: str | None = option(
        None,
        help="From the layer's map to one row; none if it is one.",
        choices=("avg", "max", "flatten", "none"),
        default_words="avg, or the run's",
    )
    limit: int | None = option(None, help="Use only N images, evenly spaced.", least=1)
    batch_size: int | None = option(
        None, help="Images per call.", least=1, default_words="4 on a CPU, 128 on a GPU"
    )
    jobs: int | None = option(
        None,
        help="Batches computed at once, or processes.",
        least=1,
        default_words="as many as cores",
    )
    parallel: str = option(
        "auto",
        help="Who decodes and embeds. decoders: processes that decode for the engine in this one; "
        "processes: each does both, with a network of its own; auto: decoders for a GPU, threads "
        "for a CPU.",
        choices=("auto", "threads", "decoders", "processes"),
        aliases=(("loky", "processes"),),
    )
    precision: str = option(
        "float32",
        help="Of the computation; bfloat16 also pays on CPUs with units for it (AMX).",
        choices=PRECISION_NAMES,
        aliases=FORMER_PRECISION_NAMES,
    )
    seed: int = option(0, help="Of random weights, and of views.", least=0, most=2**32 - 1)
    views: int = option(
        1, help="Of each image: itself, and N-1 augmented ones.", least=1, most=MOST_VIEWS
    )
    augment: str = option("light", help="How views are made.", choices=PRESETS)
    rehash: bool = option(False, help="Read every image, even if it looks unchanged.")
    retry_skipped: bool = option(False, help="Try images again that could not be decoded.")
    reuse: bool = option(True, help="Take no rows from other files in the folder.")
    prune: bool = option(False, help="Forget the features of images that are gone.")
    moved: bool = option(False, help="The data set was moved; keep the file's features.")
    class_depth: int = option(1, help="How many folders down the classes are.", least=1)
    label_from: str | None = option(
        None,
        help="Regular expression that finds the class in an image's path, where no folder tells it:"
        " what its brackets hold. '([a-z]+)[.][0-9]+[.]jpg' finds cat in cat.0.jpg.",
    )
    labels: str | None = option(
        None,
        help="A CSV with the columns path and label, in place of the labels of DATA. To be given "
        "each time.",
        default_words="those of DATA",
    )
    exclude: str | None = option(
        None,
        help="A CSV of images to leave out: its column path, or where it has a column exclude, "
        "those with yes in it. To be given each time.",
        default_words="none",
    )
    resize: str | None = option(
        None,
        help="How images become square.",
        choices=("stretch", "crop", "pad"),
        default_words="stretch, or the run's",
    )
    background: str | None = option(
        None,
        help="Behind transparent pixels and around padded images: a name or #rrggbb.",
        default_words="white, or the run's",
    )
    truncated: str | None = option(
        None,
        help="keep: use what is there of an image that was cut short.",
        choices=("skip", "keep"),
        default_words="skip, or the run's",
    )
    depth: str | None = option(
        None,
        help="Of 16-bit images. auto: white is what the brightest of them needs, not 65535.",
        choices=("auto", "full"),
        default_words="full, or the run's",
    )
    on_error: str = option(
        "skip",
        help="fail: stop at the first image that cannot be used.",
        choices=("skip", "fail"),
    )
    skipped_csv: bool = option(False, help="List skipped images in a CSV beside the file.")
    isolate: bool = option(
        False,
        help="Decode in processes of their own, so that an image that hangs or crashes the "
        "decoder costs nothing else.",
    )
    max_pixels: int | None = option(
        None, help="Skip images with more.", least=1, default_words="178,956,970"
    )
    max_bytes: int | None = option(
        None, help="Skip files with more.", least=1, default_words="536,870,912"
    )
    engine: str | None = option(
        None,
        help=f"What runs the network: {', '.join(ENGINES)}.",
        default_words="what suits the device",
    )
    device: str = option(
        "auto", help="Where to compute: auto, cpu, gpu, gpu:N, or all GPUs of this machine."
    )
    fast: bool = option(
        False,
        help="On a GPU: the fastest kernels, which may give other last bits in another process.",
    )
    shard: str | None = option(
        None,
        help="i/n: compute only the i-th of n shares of the images, to be merged later.",
        default_words="all images",
    )
    scheduler: str | None = option(
        None,
        help="Address of a Dask scheduler, such as tcp://10.0.0.1:8786: its workers compute.",
        default_words="this machine computes",
    )
    network_store: bool = option(True, help="Keep no converted network for the next command.")

    def check(self) -> None:
        """Raises a ParameterError for the first option that makes no sense."""
        check_options(self, "extract features")
        if self.background is not None:
            parse_colour(self.background)
        if self.device == ALL_DEVICES:
            self._require_one_machine_and_writer()
        if self.shard is not None:
            parse_shard(self.shard)

    def make_views(self, version: int) -> Views | None:
        """How views are made; None where view 0 alone is wanted.

        Args:
            version: of the augmentation.
        """
        return None if self.views == 1 else Views(self.views, self.augment, self.seed, version)

    def _require_one_machine_and_writer(self) -> None:
        if self.parallel == "processes":
            raise ParameterError(
                "Each GPU has a process already, and only one can hold its memory. Expected "
                "`parallel` to be auto, decoders or threads beside `device='all'`. "
                f"Received: `device={self.device}` and `parallel={self.parallel}`",
                "parallel",
            )
        if self.scheduler is not None:
            raise ParameterError(
                "The workers of a scheduler have one device each. Expected `device='all'` or "
                f"`scheduler`. Received: `device={self.device}` and `scheduler={self.scheduler}`\n"
                "Start a worker for each GPU.",
                "device",
            )

    def describe_idle(self) -> list[str]:
        """Names the options that were given and change nothing beside the others."""
        notes = []
        if self.seed != ExtractOptions.seed and self.weights != "random" and self.views == 1:
            notes.append(
                f"`seed={self.seed}` changes nothing: it draws random weights "
                f"(`weights='random'`) and views (`views=4`), and the weights asked for are "
                f"{self.weights}."
            )
        if self.augment != ExtractOptions.augment and self.views == 1:
            notes.append(
                f"`augment={self.augment}` changes nothing without views: `views=4` makes some."
            )
        if self.scheduler is not None:
            notes += [
                f"`{name}={getattr(self, name)}` changes nothing: the workers of "
                f"{self.scheduler} compute, each in as many threads as it was started with."
                for name in ("jobs", "parallel")
                if getattr(self, name) != getattr(ExtractOptions, name)
            ]
        return notes


@dataclass(frozen=True)
class SplitOptions:
    """How the images are divided where their source does not say; the same for all heads.

    Args:
        val_fraction, test_fraction: shares of the images, where the source gives no such split.
        group_by: a regular expression that finds an image's group in its path, None = no groups.
        split_rule: `exact` gives every class its shares to one image, `chance` only about; None =
            the rule of the feature file, which is `chance` in those of 0.1.0.
        drop_small: leave out classes with fewer different images, 0 = none.
        near_duplicates: `together` keeps images that an audit of the feature file found to show one
            picture in one split, `apart` does not; None = together, where there is an audit.
        seed: decides the splits, and what a head leaves to chance.
    """

    val_fraction: float = option(
        0.2, help="Share for validation, where DATA gives none.", above=0, below=1
    )
    test_fraction: float = option(
        0.0, help="Share for a test split, where DATA gives none.", least=0, below=1
    )
    group_by: str | None = option(
        None,
        help="Regular expression: images in whose paths it finds the same text share a split.",
    )
    split_rule: str | None = option(
        None,
        help="exact: every class has its shares to one image; chance: as 0.1.0 made splits.",
        choices=RULES,
        default_words="the one that FEATURES were made with",
    )
    drop_small: int = option(
        0, help="Leave out classes with fewer than N different images.", least=0
    )
    near_duplicates: str | None = option(
        None,
        help="together: near duplicates that the command audit found share a split; apart: each "
        "image is divided by itself.",
        choices=NEAR_DUPLICATES,
        default_words="together, where FEATURES were audited",
    )
    seed: int = option(0, help="Decides all that is left to chance.", least=0, most=2**32 - 1)


def parse_colour(text: str) -> tuple[int, int, int]:
    """RGB 0..255 of a colour's name or of `#rrggbb`.

    Raises:
        ParameterError: it is none.
    """
    from PIL import ImageColor

    colour: tuple[int, ...] = ()
    with suppress(ValueError):
        colour = ImageColor.getrgb(text)
    if len(colour) != 3:
        raise ParameterError(
            f"This is no colour. Expected `background` to be one such as white or #ff8000. "
            f"Received: {text!r}",
            "background",
        )
    red, green, blue = colour
    return red, green, blue
