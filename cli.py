"""The command line of Frostline: parse, call one function, print."""

import os
import sys
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path

import click

from pipeline.backbones.start_up import no_start_up_talk

# Before anything imports TensorFlow: its start-up talk is of no use to the people who read this.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

EXISTING = click.Path(path_type=Path)


class Command(click.Command):
    """A command that prints a FrostlineError as one message and leaves with exit code 1."""

    def invoke(self, ctx: click.Context):
        from pipeline.errors import FrostlineError
        from pipeline.found import printable_lines

        try:
            return super().invoke(ctx)
        except FrostlineError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"Error: {printable_lines(str(error))}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            how = " with --resume" if self.name == "finetune" else ""
            text = f"Stopped. What was finished is kept; the same command{how} goes on."
            click.echo(text, err=True)
            ctx.exit(130)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="frostline")
def main() -> None:
    """Transfer learning with cached embeddings: extract features once, fit heads in seconds,
    fine-tune what pays.

    \b
    A first try, with nothing to download:
      python cli.py fetch digits
      python cli.py extract data/digits --backbone efficientnet-lite0 --image-size 96
      python cli.py fit-head cache/digits-*.h5
      python cli.py finetune runs/digits-efficientnet-lite0-logreg-1
    """


def command(name: str) -> Callable:
    """A command of `main` with the options that all have."""

    def decorate(function: Callable) -> click.Command:
        quiet = click.option("--quiet", is_flag=True, help="Say nothing but results and errors.")
        debug = click.option("--debug", is_flag=True, help="Show the traceback of an error.")

        @wraps(function)
        def call(*, quiet: bool, debug: bool, **options):
            from pipeline.report.terminal import Terminal

            return function(Terminal(quiet=quiet), **options)

        return main.command(name, cls=Command)(quiet(debug(call)))

    return decorate


def _option(*names: str, **settings) -> Callable:
    settings.setdefault("show_default", True)
    return click.option(*names, **settings)


_output = click.option("--output", type=EXISTING, help="Where to write.  [default: a new name]")
_force = click.option("--force", is_flag=True, help="Overwrite what is there.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
_device = _option("--device", default="auto", help="Where to compute: auto, cpu, gpu or gpu:N.")
_recorded_weights = click.option(
    "--weights", help="Where the backbone's weights are now.  [default: where they came from]"
)
_seed = _option("--seed", default=0, help="Decides all that is left to chance.")
_class_weight = _option(
    "--class-weight",
    default="none",
    help="none; balanced: each class counts the same, however few its images; or a JSON or CSV "
    "FILE with a weight for each.",
)
_max_pixels = click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    help="Skip images with more.  [default: 178,956,970]",
)
_max_image_bytes = click.option(
    "--max-bytes", type=click.IntRange(min=1), help="Skip files with more.  [default: 536,870,912]"
)
_class_depth = _option(
    "--class-depth",
    default=1,
    type=click.IntRange(min=1),
    help="How many folders down the classes are.",
)


@command("fetch")
@click.argument("source")
@_option("--max-bytes", default=100 * 10**9, type=click.IntRange(min=1), help="Refuse an archive "
         "that expands to more.")  # fmt: skip
@_output
@_force
def fetch(terminal, source: str, output: Path | None, force: bool, max_bytes: int) -> None:
    """Make a data set under data/.

    \b
    SOURCE is one of
      digits      1,797 handwritten digits from scikit-learn; nothing is downloaded
      flowers     TensorFlow's 3,670 photos of five flowers, 229 MB to download
      tfds:NAME   a data set of TensorFlow Datasets (pip install '.[tfds]')
      ARCHIVE     a .zip, .tar or .tar.gz file, unpacked with care

    \b
    Examples:
      python cli.py fetch digits
      python cli.py fetch photos.zip
      python cli.py fetch tfds:cifar10 --output data/cifar
    """
    from pipeline.sources import fetch as fetch_source

    fetched = fetch_source(source, output, force=force, max_bytes=max_bytes)
    for note in fetched.notes:
        terminal.say(note)
    terminal.say(f"Wrote {fetched.n_files:,} files to {fetched.folder}/")
    terminal.result(str(fetched.folder))


@command("extract")
@click.argument("data", type=EXISTING)
@_option("--backbone", default="efficientnetb0", help="`cli.py backbones` lists them; or "
         "hub:PRESET.")  # fmt: skip
@_option("--weights", default="imagenet", help="imagenet, random, or a file.")
@click.option("--image-size", type=click.IntRange(min=1), help="Pixels.  [default: the backbone's]")
@_option("--layer", default="top", help="Whose output to take; top is the last below the "
         "classifier.")  # fmt: skip
@_option("--pooling", type=click.Choice(["avg", "max", "flatten", "none"]), default="avg",
         help="From the layer's map to one row; none if it is one.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="Use only N images, evenly spaced.")
@_option("--batch-size", type=click.IntRange(min=1), help="Images per call.  [default: 8 on a CPU]")
@click.option("--jobs", type=click.IntRange(min=1), help="Batches computed at once.  [default: as "
              "many as cores]")  # fmt: skip
@_option("--parallel", type=click.Choice(["threads", "loky"]), default="threads", help="loky: each "
         "job is a process with a network of its own.")  # fmt: skip
@_option("--precision", type=click.Choice(["float32", "mixed_float16", "mixed_bfloat16"]),
         default="float32", help="Of the computation; 16 bits are for GPUs.")  # fmt: skip
@_option("--seed", default=0, help="Of random weights.")
@click.option("--rehash", is_flag=True, help="Read every image, even if size and time are old.")
@click.option("--retry-skipped", is_flag=True, help="Try images again that could not be decoded.")
@click.option("--no-reuse", is_flag=True, help="Take no rows from other files in the folder.")
@click.option("--prune", is_flag=True, help="Forget the features of images that are gone.")
@click.option("--moved", is_flag=True, help="The data set was moved; keep the file's features.")
@_class_depth
@_option("--resize", type=click.Choice(["stretch", "crop", "pad"]), default="stretch",
         help="How images become square.")  # fmt: skip
@_option("--background", default="white", help="Behind transparent pixels and around padded "
         "images: a name or #rrggbb.")  # fmt: skip
@_option("--truncated", type=click.Choice(["skip", "keep"]), default="skip",
         help="keep: use what is there of an image that was cut short.")  # fmt: skip
@_option("--on-error", type=click.Choice(["skip", "fail"]), default="skip",
         help="fail: stop at the first image that cannot be used.")  # fmt: skip
@click.option("--skipped-csv", is_flag=True, help="List skipped images in a CSV beside the file.")
@click.option("--isolate", is_flag=True, help="Decode in processes of their own, so that an image "
              "that hangs or crashes the decoder costs nothing else.")  # fmt: skip
@_max_pixels
@_max_image_bytes
@click.option("--output", type=EXISTING, help="Feature file.  [default: a name in cache/]")
@_device
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
    from pipeline.dataset import scan_dataset
    from pipeline.extract import ExtractOptions, default_target, extract_features, make_recipe
    from pipeline.report.skipped import write_skipped_csv
    from pipeline.sources import unpack_if_archive

    limit = options.pop("limit")
    data, notes = unpack_if_archive(data)
    dataset = scan_dataset(data, options["class_depth"]).limited(limit)
    for note in notes:
        terminal.say(note)
    terminal.show_dataset(dataset)
    with terminal.hush():
        recipe, weights = make_recipe(
            options["backbone"],
            options["weights"],
            image_size=options["image_size"],
            seed=options["seed"],
            layer=options["layer"],
            pooling=options["pooling"],
            resize=options["resize"],
            background=_parse_colour(options["background"]),
            truncated=options["truncated"],
            precision=options["precision"],
        )

    make, n_processes = _choose_embedding(terminal, recipe, weights, device, options)
    with terminal.progress() as on_progress:
        summary = extract_features(
            dataset,
            recipe,
            output or default_target(dataset.name, recipe, limit),
            make,
            ExtractOptions(
                rehash=options["rehash"],
                retry_skipped=options["retry_skipped"],
                reuse=not options["no_reuse"],
                prune=options["prune"],
                moved=options["moved"],
                batch_size=options["batch_size"],
                weights_source=weights.source,
                limits=_make_limits(options["max_pixels"], options["max_bytes"])
                if options["max_pixels"] or options["max_bytes"]
                else None,
                isolate=options["isolate"],
                stop_at_failure=options["on_error"] == "fail",
                n_processes=n_processes,
            ),
            on_progress,
            terminal.say,
        )
    terminal.show_extraction(summary)
    if options["skipped_csv"]:
        terminal.say(f"Skipped images: {write_skipped_csv(summary.path, summary.skipped)}")
    terminal.result(str(summary.path))


def _choose_embedding(
    terminal, recipe, weights, device: str, options: dict
) -> tuple[Callable, int]:
    """What makes the embedder, and in how many worker processes (0 = in threads of this one)."""
    from pipeline.embedding import make_embedder
    from pipeline.parallel import count_cores

    jobs = options["jobs"]
    if options["parallel"] == "threads":
        return _embedder_maker(terminal, recipe, weights, device, jobs), 0
    return partial(make_embedder, recipe, weights, device, 1), jobs or count_cores()


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


def _make_limits(max_pixels: int | None, max_bytes: int | None):
    from pipeline.reading import Limits

    given = {"max_pixels": max_pixels, "max_bytes": max_bytes}
    given = {name: value for name, value in given.items() if value is not None}
    return Limits(**given)


@command("fit-head")
@click.argument("features", type=EXISTING, nargs=-1, required=True)
@_option("--head", type=click.Choice(["logreg", "dense"]), default="logreg", help="Kind of head.")
@_option("--C", "C", default="auto", help="Inverse regularisation of logreg: a number, or auto.")
@_option("--hidden", "hidden_units", default=0, help="Width of dense's hidden layer, 0 = none.")
@_option("--dropout", default=0.5, help="Of the dense head.")
@_option("--learning-rate", default=3e-4, help="Of the dense head.")
@_option("--epochs", default=200, help="Of the dense head, at most.")
@_class_weight
@_option("--memory", default="50%", help="For features: 2GB, 500MB, or a share of what is free. "
         "Larger files are read again and again.")  # fmt: skip
@_option("--val-fraction", default=0.2, help="Share for validation, where DATA gives none.")
@_option("--test-fraction", default=0.0, help="Share for a test split, where DATA gives none.")
@click.option("--group-by", help="Regular expression: images in whose paths it finds the same "
              "text share a split.")  # fmt: skip
@_seed
@_output
@_force
@_json
def fit_head(terminal, features: tuple[Path, ...], memory, output, force, as_json, **options):
    """Stage two: train a head on cached features, in seconds. Writes a run per file.

    \b
    Examples:
      python cli.py fit-head cache/photos-efficientnetb0-*.h5
      python cli.py fit-head cache/photos-*.h5 --head dense --hidden 256 --class-weight balanced
      python cli.py fit-head cache/scans-*.h5 --group-by '(patient[0-9]+)'
    """
    from pipeline.fit_head import FitOptions
    from pipeline.fit_head import fit_head as fit

    settings = FitOptions(
        **{
            **options,
            "C": _parse_c(options["C"]),
            "class_weight": _none_as_none(options["class_weight"]),
        }
    )
    n_bytes = _parse_memory(memory)
    if settings.head == "dense":
        with no_start_up_talk():
            import pipeline.heads.dense  # noqa: F401 - TensorFlow's start, out of sight
    for path in features:
        with terminal.progress() as on_progress:
            result = fit(
                path, settings, memory=n_bytes, output=output, force=force, on_progress=on_progress
            )
        terminal.show_fit(result, as_json=as_json)


def _parse_memory(text: str) -> int:
    from pipeline.memory import parse_memory

    try:
        return parse_memory(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--memory") from error


def _parse_c(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise click.BadParameter(f"expected auto or a number above 0, received {text!r}")
    return value


def _none_as_none(text: str) -> str | None:
    return None if text == "none" else text


@command("finetune")
@click.argument("run", type=EXISTING)
@click.option("--unfreeze", help="Frost line to train from, a number of blocks from the top, or "
              "all.  [default: by the number of images and classes]")  # fmt: skip
@_option("--epochs", default=8, type=click.IntRange(min=1), help="At most.")
@_option("--learning-rate", default=3e-4, help="The highest, after the warm-up.")
@click.option("--find-learning-rate", is_flag=True, help="Sweep the rate first; take the steepest "
              "safe one.")  # fmt: skip
@_option("--layer-decay", default=1.0, help="Each block further down learns and decays by this "
         "factor less.")  # fmt: skip
@_option("--batch-size", default=32, type=click.IntRange(min=1), help="Images per step.")
@_option("--patience", default=5, help="Stop after so many epochs without a new best.")
@_option("--weight-decay", default=1e-2, help="AdamW's.")
@_option("--label-smoothing", default=0.1, help="Share of the target spread over all classes.")
@_option("--average-weights", default=0.0, help="Momentum of the weights' moving average, "
         "such as 0.98; 0 = none.")  # fmt: skip
@_option("--augment", type=click.Choice(["none", "light", "strong"]), default="light",
         help="light: shifts, zooms, turns; strong: RandAugment, MixUp, CutMix.")  # fmt: skip
@click.option("--flip", is_flag=True, help="Mirror images at random. Not for digits or letters.")
@_class_weight
@_option("--precision", type=click.Choice(["float32", "mixed_float16", "mixed_bfloat16"]),
         default="float32", help="Of the computation while training.")  # fmt: skip
@click.option("--trunk-cache/--no-trunk-cache", default=None, help="Keep the frozen trunk's output "
              "on disk.  [default: where it saves time]")  # fmt: skip
@_option("--views", default=4, type=click.IntRange(min=1), help="Augmented versions of an image in "
         "the trunk cache.")  # fmt: skip
@_option("--strategy", type=click.Choice(["single", "mirrored"]), default="single",
         help="mirrored: all devices of the kind at once.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on after an interruption of the same command.")
@click.option("--tensorboard", type=EXISTING, help="Folder for TensorBoard's logs.")
@click.option("--data", type=EXISTING, help="Where the images are now.")
@_recorded_weights
@_seed
@_device
@_output
@_force
@_json
def finetune(terminal, run: Path, data, device, as_json, **options) -> None:
    """Stage three: unfreeze the top blocks of RUN's backbone and train end to end.

    The result is a run of its own and never worse on validation than the head it started from.

    \b
    Examples:
      python cli.py finetune runs/photos-efficientnetb0-logreg-1
      python cli.py finetune runs/photos-efficientnetb0-logreg-1 --unfreeze block5a --flip
      python cli.py finetune runs/photos-efficientnetb0-logreg-1 --resume
    """
    from pipeline.finetune_options import FinetuneOptions
    from pipeline.runs import open_run, require_model

    how = {name: options.pop(name) for name in ("weights", "output", "force", "resume")}
    how["tensorboard"] = options.pop("tensorboard")
    options["class_weight"] = _none_as_none(options["class_weight"])
    opened = open_run(run)
    require_model(opened)
    with no_start_up_talk():
        from pipeline.embedder import choose_device
        from pipeline.finetune import Watch
        from pipeline.finetune import finetune as tune

        chosen = choose_device(device)
    terminal.say(f"Computing on {chosen.description}.")
    with terminal.progress() as on_progress:
        watch = Watch(on_progress, terminal.show_epoch, terminal.say)
        result = tune(
            opened, FinetuneOptions(**options), chosen, data_root=data, watch=watch, **how
        )
    terminal.show_finetuning(result, as_json=as_json)


@command("evaluate")
@click.argument("run", type=EXISTING)
@click.argument("data", type=EXISTING)
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Only this split of "
              "DATA.")  # fmt: skip
@_class_depth
@_max_pixels
@_max_image_bytes
@_recorded_weights
@_device
@_json
def evaluate(
    terminal,
    run: Path,
    data: Path,
    split,
    class_depth,
    max_pixels,
    max_bytes,
    weights,
    device,
    as_json,
) -> None:
    """Score RUN on the labelled images in DATA.

    \b
    Example:
      python cli.py evaluate runs/photos-efficientnetb0-logreg-1 new-photos
    """
    from pipeline.dataset import scan_dataset
    from pipeline.runs import open_run, require_model

    opened = open_run(run)
    require_model(opened)
    dataset = scan_dataset(data, class_depth).of_split(split)
    with no_start_up_talk():
        from pipeline.embedder import choose_device, use_one_thread_per_operation
        from pipeline.predict import evaluate_run

        use_one_thread_per_operation()
        chosen = choose_device(device)
    with terminal.progress() as on_progress:
        evaluation = evaluate_run(
            opened,
            dataset,
            chosen,
            weights=weights,
            limits=_make_limits(max_pixels, max_bytes),
            on_progress=on_progress,
        )
    terminal.show_evaluation(evaluation, as_json=as_json)


@command("predict")
@click.argument("run", type=EXISTING)
@click.argument("paths", type=EXISTING, nargs=-1, required=True)
@_option("--top", default=1, type=click.IntRange(min=1), help="So many classes per image.")
@_option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table",
         help="How to print.")  # fmt: skip
@_max_pixels
@_max_image_bytes
@_recorded_weights
@_device
def predict(
    terminal, run: Path, paths: tuple[Path, ...], top, form, max_pixels, max_bytes, weights, device
) -> None:
    """Classify images, or all images in folders, with RUN's model.

    \b
    Examples:
      python cli.py predict runs/photos-efficientnetb0-logreg-1 new.jpg
      python cli.py predict runs/photos-efficientnetb0-logreg-1 inbox --top 3 --format csv
    """
    from pipeline.dataset import expand_images
    from pipeline.runs import open_run, require_model

    opened = open_run(run)
    require_model(opened)
    images, notes = expand_images(paths)
    for note in notes:
        terminal.say(note)
    with no_start_up_talk():
        from pipeline.embedder import choose_device, use_one_thread_per_operation
        from pipeline.predict import classify_images

        use_one_thread_per_operation()
        chosen = choose_device(device)
    with terminal.progress() as on_progress:
        predictions = list(
            classify_images(
                opened,
                images,
                chosen,
                weights=weights,
                limits=_make_limits(max_pixels, max_bytes),
                on_progress=on_progress,
            )
        )
    terminal.show_predictions(predictions, opened.class_names, top, form)


@command("runs")
@click.argument("folder", type=EXISTING, default=Path("runs"))
@_json
def runs(terminal, folder: Path, as_json: bool) -> None:
    """List the runs in FOLDER, the best first.

    \b
    Example:
      python cli.py runs
    """
    from pipeline.runs import list_runs

    terminal.show_runs(list_runs(folder), as_json=as_json)


@command("backbones")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--image-size", type=click.IntRange(min=1), help="Pixels.  [default: the backbone's]")
@click.option("--download", is_flag=True, help="Fetch the weights of each NAME ahead.")
@_option("--layer", default="top", help="With --download: fetch the file that this layer needs.")
@_json
def backbones(terminal, names: tuple[str, ...], image_size, download, layer, as_json) -> None:
    """List the backbones; with NAME, its frost lines from the top.

    \b
    Examples:
      python cli.py backbones
      python cli.py backbones efficientnet-lite0
      python cli.py backbones --download efficientnetb0 resnet50
      python cli.py backbones --download vgg16 --layer fc2
    """
    if layer != "top" and not download:
        raise click.UsageError(
            "--layer needs --download here; extract --layer takes features of it."
        )
    if download:
        _download_weights(terminal, names, layer, as_json)
    elif names:
        _show_frost_lines(terminal, names, image_size, as_json)
    else:
        from pipeline.backbones.registry import BACKBONES

        terminal.show_backbones(list(BACKBONES.values()), as_json=as_json)


def _download_weights(terminal, names: tuple[str, ...], layer: str, as_json: bool) -> None:
    from pipeline.backbones.presets import find_backbone
    from pipeline.backbones.weights import resolve_weights

    if not names:
        raise click.UsageError("Missing argument: --download needs the NAME of a backbone.")
    fetched = []
    for backbone in [find_backbone(name) for name in names]:
        with terminal.hush():
            weights = resolve_weights(backbone, "imagenet", layer=layer)
        path = str(weights.path or weights.source)
        fetched.append({"name": backbone.name, "weights": weights.key, "path": path})
        terminal.say(f"{backbone.name}: {weights.key}")
        if not as_json:
            terminal.result(path)
    if as_json:
        terminal.result_json(fetched)


def _show_frost_lines(terminal, names: tuple[str, ...], image_size, as_json: bool) -> None:
    from pipeline.backbones.presets import find_backbone

    if len(names) > 1:
        raise click.UsageError("Expected one NAME, or --download.")
    with no_start_up_talk():
        from pipeline.backbones.build import build_untrained
        from pipeline.backbones.frost_lines import find_frost_lines

        backbone = find_backbone(names[0])
        lines = find_frost_lines(build_untrained(backbone, image_size))
    terminal.show_frost_lines(backbone, lines, as_json=as_json)


@command("features")
@click.argument("path", type=EXISTING, required=False)
@click.option("--verify", is_flag=True, help="Check every byte of the file.")
@click.option("--recompute", type=click.IntRange(min=1), help="Embed N random rows again.")
@click.option("--data", type=EXISTING, help="Where the images are now, for --recompute.")
@_recorded_weights
@_device
@_json
def features(terminal, path: Path | None, verify, recompute, data, weights, device, as_json):
    """Show what is in a feature file; without PATH, list those in cache/.

    \b
    Examples:
      python cli.py features
      python cli.py features cache/photos-efficientnetb0-1a2b3c4d.h5 --verify --recompute 20
    """
    from pipeline.backbones.weights import resolve_recorded_weights
    from pipeline.cache import FeatureFile, find_feature_files
    from pipeline.extract import CACHE_FOLDER
    from pipeline.recompute import recompute_rows
    from pipeline.sealed import verify_seal

    if path is None:
        terminal.show_feature_files(find_feature_files(CACHE_FOLDER), as_json=as_json)
        return
    if verify:
        verify_seal(path)
    with FeatureFile(path) as file:
        terminal.show_features(file, as_json=as_json)
        if verify:
            terminal.say("Every byte is as it was written.")
        if recompute:
            contents = file.contents
            resolved = resolve_recorded_weights(contents.recipe, weights or contents.weights_source)
            make = _embedder_maker(terminal, contents.recipe, resolved, device)
            terminal.show_recomputed(recompute_rows(file, recompute, make, data_root=data))


def _embedder_maker(terminal, recipe, weights, device: str, n_streams: int | None = None):
    """A function of the batch size that makes the embedder and says what it computes on."""

    def make(batch_size: int | None):
        from pipeline.embedding import make_embedder

        embedder = make_embedder(recipe, weights, device, n_streams, batch_size)
        for note in (f"Computing on {embedder.device.description}.", *embedder.notes):
            terminal.say(note)
        return embedder

    return make


if __name__ == "__main__":
    sys.exit(main())
