"""The command line of Frostline: parse, call one function, print."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import click

# Before anything imports TensorFlow: its start-up talk is of no use to the people who read this.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

EXISTING = click.Path(path_type=Path)


class Command(click.Command):
    """A command that prints a FrostlineError as one message and leaves with exit code 1."""

    def invoke(self, ctx: click.Context):
        from pipeline.errors import FrostlineError

        try:
            return super().invoke(ctx)
        except FrostlineError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"Error: {error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("Stopped. What was finished is kept; the same command goes on.", err=True)
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
    type=click.Choice(["none", "balanced"]),
    default="none",
    help="balanced: each class counts the same, however few its images.",
)


@command("fetch")
@click.argument("source", type=click.Choice(["digits"]))
@_output
@_force
def fetch(terminal, source: str, output: Path | None, force: bool) -> None:
    """Make a data set under data/.

    digits: 1,797 handwritten digits from scikit-learn as PNG files; nothing is downloaded.

    \b
    Example:
      python cli.py fetch digits
    """
    from pipeline.sources import fetch_digits

    del source  # the only one so far
    folder, n_images = fetch_digits(output, force=force)
    terminal.say(f"Wrote {n_images:,} images to {folder}/")
    terminal.result(str(folder))


@command("extract")
@click.argument("data", type=EXISTING)
@_option("--backbone", default="efficientnetb0", help="`cli.py backbones` lists them.")
@_option("--weights", default="imagenet", help="imagenet, random, or a file.")
@click.option("--image-size", type=click.IntRange(min=1), help="Pixels.  [default: the backbone's]")
@click.option("--limit", type=click.IntRange(min=1), help="Use only N images, evenly spaced.")
@_option("--batch-size", type=click.IntRange(min=1), help="Images per call.  [default: 8 on a CPU]")
@_option("--seed", default=0, help="Of random weights.")
@click.option("--rehash", is_flag=True, help="Read every image, even if size and time are old.")
@click.option("--retry-skipped", is_flag=True, help="Try images again that could not be decoded.")
@click.option("--no-reuse", is_flag=True, help="Take no rows from other files in the folder.")
@click.option("--prune", is_flag=True, help="Forget the features of images that are gone.")
@click.option("--moved", is_flag=True, help="The data set was moved; keep the file's features.")
@click.option("--output", type=EXISTING, help="Feature file.  [default: a name in cache/]")
@_device
def extract(terminal, data: Path, device: str, output: Path | None, **options) -> None:
    """Stage one: run a frozen backbone over the images in DATA and cache the features.

    DATA holds a folder per class, or train, val and test folders with a folder per class in
    each. What was extracted before is not computed again.

    \b
    Examples:
      python cli.py extract photos
      python cli.py extract photos --backbone efficientnet-lite0
      python cli.py extract photos --weights my.weights.h5 --image-size 160
    """
    from pipeline.dataset import scan_dataset
    from pipeline.extract import ExtractOptions, default_target, extract_features, make_recipe

    limit = options.pop("limit")
    dataset = scan_dataset(data).limited(limit)
    terminal.show_dataset(dataset)
    recipe, weights = make_recipe(
        options["backbone"],
        options["weights"],
        image_size=options["image_size"],
        seed=options["seed"],
    )

    with terminal.progress() as on_progress:
        summary = extract_features(
            dataset,
            recipe,
            output or default_target(data, recipe, limit),
            _embedder_maker(terminal, recipe, weights, device),
            ExtractOptions(
                rehash=options["rehash"],
                retry_skipped=options["retry_skipped"],
                reuse=not options["no_reuse"],
                prune=options["prune"],
                moved=options["moved"],
                batch_size=options["batch_size"],
                weights_source=weights.source,
            ),
            on_progress,
        )
    terminal.show_extraction(summary)
    terminal.result(str(summary.path))


@command("fit-head")
@click.argument("features", type=EXISTING, nargs=-1, required=True)
@_option("--head", type=click.Choice(["logreg", "dense"]), default="logreg", help="Kind of head.")
@_option("--C", "C", default="auto", help="Inverse regularisation of logreg: a number, or auto.")
@_option("--hidden", "hidden_units", default=0, help="Width of dense's hidden layer, 0 = none.")
@_option("--dropout", default=0.5, help="Of the dense head.")
@_option("--learning-rate", default=3e-4, help="Of the dense head.")
@_option("--epochs", default=200, help="Of the dense head, at most.")
@_class_weight
@_option("--val-fraction", default=0.2, help="Share for validation, where DATA gives none.")
@_option("--test-fraction", default=0.0, help="Share for a test split, where DATA gives none.")
@_seed
@_output
@_force
@_json
def fit_head(terminal, features: tuple[Path, ...], output, force, as_json, **options) -> None:
    """Stage two: train a head on cached features, in seconds. Writes a run per file.

    \b
    Examples:
      python cli.py fit-head cache/photos-efficientnetb0-*.h5
      python cli.py fit-head cache/photos-*.h5 --head dense --hidden 256 --class-weight balanced
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
    if settings.head == "dense":
        with terminal.quiet_start():
            import pipeline.heads.dense  # noqa: F401 - TensorFlow's start, out of sight
    for path in features:
        with terminal.progress() as on_progress:
            result = fit(path, settings, output=output, force=force, on_progress=on_progress)
        terminal.show_fit(result, as_json=as_json)


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
@click.option("--unfreeze", help="Frost line to train from.  [default: the top third of the work]")
@_option("--epochs", default=8, type=click.IntRange(min=1), help="At most.")
@_option("--learning-rate", default=3e-4, help="The highest, after the warm-up.")
@_option("--batch-size", default=32, type=click.IntRange(min=1), help="Images per step.")
@_option("--patience", default=5, help="Stop after so many epochs without a new best.")
@_option("--weight-decay", default=1e-2, help="AdamW's.")
@_option("--label-smoothing", default=0.1, help="Share of the target spread over all classes.")
@_option("--augment", type=click.Choice(["none", "light"]), default="light", help="light: small "
         "shifts and zooms.")  # fmt: skip
@click.option("--flip", is_flag=True, help="Mirror images at random. Not for digits or letters.")
@_class_weight
@click.option("--data", type=EXISTING, help="Where the images are now.")
@_recorded_weights
@_seed
@_device
@_output
@_force
@_json
def finetune(terminal, run: Path, data, weights, device, output, force, as_json, **options) -> None:
    """Stage three: unfreeze the top blocks of RUN's backbone and train end to end.

    The result is a run of its own and never worse on validation than the head it started from.

    \b
    Examples:
      python cli.py finetune runs/photos-efficientnetb0-logreg-1
      python cli.py finetune runs/photos-efficientnetb0-logreg-1 --unfreeze block5a --flip
    """
    from pipeline.runs import open_run, require_model

    opened = open_run(run)
    require_model(opened)
    with terminal.quiet_start():
        from pipeline.embedder import choose_device
        from pipeline.finetune import finetune as tune
        from pipeline.training import FinetuneOptions

        chosen = choose_device(device)
    terminal.say(f"Computing on {chosen.description}.")
    settings = FinetuneOptions(
        **{**options, "class_weight": _none_as_none(options["class_weight"])}
    )
    with terminal.progress() as on_progress:
        result = tune(
            opened,
            settings,
            chosen,
            data_root=data,
            weights=weights,
            output=output,
            force=force,
            on_progress=on_progress,
            on_epoch=terminal.show_epoch,
        )
    terminal.show_finetuning(result, as_json=as_json)


@command("evaluate")
@click.argument("run", type=EXISTING)
@click.argument("data", type=EXISTING)
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Only this split of "
              "DATA.")  # fmt: skip
@_recorded_weights
@_device
@_json
def evaluate(terminal, run: Path, data: Path, split, weights, device, as_json) -> None:
    """Score RUN on the labelled images in DATA.

    \b
    Example:
      python cli.py evaluate runs/photos-efficientnetb0-logreg-1 new-photos
    """
    from pipeline.dataset import scan_dataset
    from pipeline.runs import open_run, require_model

    opened = open_run(run)
    require_model(opened)
    dataset = scan_dataset(data).of_split(split)
    with terminal.quiet_start():
        from pipeline.embedder import choose_device, use_one_thread_per_operation
        from pipeline.predict import evaluate_run

        use_one_thread_per_operation()
        chosen = choose_device(device)
    with terminal.progress() as on_progress:
        evaluation = evaluate_run(opened, dataset, chosen, weights=weights, on_progress=on_progress)
    terminal.show_evaluation(evaluation, as_json=as_json)


@command("predict")
@click.argument("run", type=EXISTING)
@click.argument("paths", type=EXISTING, nargs=-1, required=True)
@_option("--top", default=1, type=click.IntRange(min=1), help="So many classes per image.")
@_option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table",
         help="How to print.")  # fmt: skip
@_recorded_weights
@_device
def predict(terminal, run: Path, paths: tuple[Path, ...], top, form, weights, device) -> None:
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
    images = expand_images(paths)
    with terminal.quiet_start():
        from pipeline.embedder import choose_device, use_one_thread_per_operation
        from pipeline.predict import classify_images

        use_one_thread_per_operation()
        chosen = choose_device(device)
    with terminal.progress() as on_progress:
        predictions = list(
            classify_images(opened, images, chosen, weights=weights, on_progress=on_progress)
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
@click.argument("name", required=False)
@click.option("--image-size", type=click.IntRange(min=1), help="Pixels.  [default: the backbone's]")
@_json
def backbones(terminal, name: str | None, image_size: int | None, as_json: bool) -> None:
    """List the backbones; with NAME, its frost lines from the top.

    \b
    Examples:
      python cli.py backbones
      python cli.py backbones efficientnet-lite0
    """
    from pipeline.backbones.registry import BACKBONES, get_backbone

    if name is None:
        terminal.show_backbones(list(BACKBONES.values()), as_json=as_json)
        return
    backbone = get_backbone(name)
    with terminal.quiet_start():
        from pipeline.backbones.build import build_backbone
        from pipeline.backbones.frost_lines import find_frost_lines
        from pipeline.backbones.weights import resolve_weights

        model = build_backbone(
            backbone, resolve_weights(backbone, "random"), image_size or backbone.image_size
        )
    terminal.show_frost_lines(backbone, find_frost_lines(model), as_json=as_json)


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


def _embedder_maker(terminal, recipe, weights, device: str) -> Callable:
    """A function of the batch size that starts TensorFlow and builds the embedder."""

    def make(batch_size: int | None):
        with terminal.quiet_start():
            from pipeline.backbones.build import build_embedding_model
            from pipeline.embedder import Embedder, choose_device, use_one_thread_per_operation

            use_one_thread_per_operation()
            chosen = choose_device(device)
        terminal.say(f"Computing on {chosen.description}.")
        return Embedder(build_embedding_model(recipe, weights), chosen, batch_size)

    return make


if __name__ == "__main__":
    sys.exit(main())
