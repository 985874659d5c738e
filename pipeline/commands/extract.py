"""`cli.py extract`: stage one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from pipeline.commands.shared import (
    EXISTING,
    class_depth_option,
    command,
    device_option,
    embedder_maker,
    make_limits,
    max_bytes_option,
    max_pixels_option,
    option,
)

_OF_THE_RECIPE = ("image_size", "seed", "layer", "pooling", "resize", "truncated", "precision")


@command("extract")
@click.argument("data", type=EXISTING)
@option("--backbone", default="efficientnetb0", help="`cli.py backbones` lists them; or "
         "hub:PRESET.")  # fmt: skip
@option("--weights", default="imagenet", help="imagenet, random, or a file.")
@click.option("--image-size", type=click.IntRange(min=1), help="Pixels.  [default: the backbone's]")
@option("--layer", default="top", help="Whose output to take; top is the last below the "
         "classifier.")  # fmt: skip
@option("--pooling", type=click.Choice(["avg", "max", "flatten", "none"]), default="avg",
         help="From the layer's map to one row; none if it is one.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="Use only N images, evenly spaced.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images per call.  [default: 1 on a "
              "CPU, 128 on a GPU]")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), help="Batches computed at once.  [default: as "
              "many as cores]")  # fmt: skip
@option("--parallel", type=click.Choice(["threads", "loky"]), default="threads", help="loky: each "
         "job is a process with a network of its own.")  # fmt: skip
@option("--precision", type=click.Choice(["float32", "mixed_float16", "mixed_bfloat16"]),
         default="float32", help="Of the computation; 16 bits are for GPUs.")  # fmt: skip
@option("--seed", default=0, help="Of random weights.")
@click.option("--rehash", is_flag=True, help="Read every image, even if size and time are old.")
@click.option("--retry-skipped", is_flag=True, help="Try images again that could not be decoded.")
@click.option("--no-reuse", is_flag=True, help="Take no rows from other files in the folder.")
@click.option("--prune", is_flag=True, help="Forget the features of images that are gone.")
@click.option("--moved", is_flag=True, help="The data set was moved; keep the file's features.")
@class_depth_option
@option("--resize", type=click.Choice(["stretch", "crop", "pad"]), default="stretch",
         help="How images become square.")  # fmt: skip
@option("--background", default="white", help="Behind transparent pixels and around padded "
         "images: a name or #rrggbb.")  # fmt: skip
@option("--truncated", type=click.Choice(["skip", "keep"]), default="skip",
         help="keep: use what is there of an image that was cut short.")  # fmt: skip
@option("--on-error", type=click.Choice(["skip", "fail"]), default="skip",
         help="fail: stop at the first image that cannot be used.")  # fmt: skip
@click.option("--skipped-csv", is_flag=True, help="List skipped images in a CSV beside the file.")
@click.option("--isolate", is_flag=True, help="Decode in processes of their own, so that an image "
              "that hangs or crashes the decoder costs nothing else.")  # fmt: skip
@max_pixels_option
@max_bytes_option
@click.option("--output", type=EXISTING, help="Feature file.  [default: a name in cache/]")
@device_option
def extract(terminal, data: Path, device: str, output: Path | None, **options) -> None:
    """Stage one: run a frozen backbone over the images in DATA and cache the features.

    DATA holds a folder per class, or train, val and test folders with a folder per class in
    each; or it is a CSV with the columns path, label and perhaps split, or an archive, which is
    unpacked under data/ first. What was extracted before is not computed again.

    \b
    Examples:
      python cli.py extract photos
      python cli.py extract photos --backbone efficientnet-lite0
      python cli.py extract photos --weights my.weights.h5 --image-size 160
      python cli.py extract labels.csv --resize pad --background black
      python cli.py extract photos --backbone vgg16 --layer fc2 --pooling none
    """
    from pipeline.features.extract import default_target, extract_features, make_recipe
    from pipeline.features.skipped import write_skipped_csv
    from pipeline.images.dataset import scan_dataset
    from pipeline.images.fetch import unpack_if_archive

    data, notes = unpack_if_archive(data)
    dataset = scan_dataset(data, options["class_depth"]).limited(options["limit"])
    for note in notes:
        terminal.say(note)
    terminal.show_dataset(dataset)
    settings = {name: options[name] for name in _OF_THE_RECIPE}
    with terminal.hush():
        recipe, weights = make_recipe(
            options["backbone"],
            options["weights"],
            background=_parse_colour(options["background"]),
            **settings,
        )
    make, n_processes = _choose_embedding(terminal, recipe, weights, device, options)
    with terminal.progress() as on_progress:
        summary = extract_features(
            dataset,
            recipe,
            output or default_target(dataset.name, recipe, options["limit"]),
            make,
            _make_options(options, weights.source, n_processes),
            on_progress,
            terminal.say,
        )
    terminal.show_extraction(summary)
    if options["skipped_csv"]:
        terminal.say(f"Skipped images: {write_skipped_csv(summary.path, summary.skipped)}")
    terminal.result(str(summary.path))


def _make_options(options: dict, weights_source: str, n_processes: int):
    from pipeline.features.extract import ExtractOptions

    has_limits = options["max_pixels"] or options["max_bytes"]
    return ExtractOptions(
        rehash=options["rehash"],
        retry_skipped=options["retry_skipped"],
        reuse=not options["no_reuse"],
        prune=options["prune"],
        moved=options["moved"],
        batch_size=options["batch_size"],
        weights_source=weights_source,
        limits=make_limits(options["max_pixels"], options["max_bytes"]) if has_limits else None,
        isolate=options["isolate"],
        stop_at_failure=options["on_error"] == "fail",
        n_processes=n_processes,
    )


def _choose_embedding(
    terminal, recipe, weights, device: str, options: dict
) -> tuple[Callable, int]:
    """What makes the embedder, and in how many worker processes (0 = in threads of this one)."""
    from pipeline.features.embed import make_embedder
    from pipeline.system.parallel import count_cores

    jobs = options["jobs"]
    if options["parallel"] == "threads":
        return embedder_maker(terminal, recipe, weights, device, jobs), 0
    return partial(make_embedder, recipe, weights, device, None, 1), jobs or count_cores()


def _parse_colour(text: str) -> tuple[int, int, int]:
    from PIL import ImageColor

    try:
        colour = ImageColor.getrgb(text)
    except ValueError:
        colour = ()
    if len(colour) != 3:
        raise click.BadParameter(
            f"expected a colour such as white or #ff8000, received {text!r}",
            param_hint="--background",
        )
    return colour
