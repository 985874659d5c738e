"""`cli.py backbones`: list them, their frost lines, fetch their weights."""

from typing import TYPE_CHECKING

import click

from pipeline.commands.options import options_of
from pipeline.commands.shared import command, json_option, option
from pipeline.features.options import ExtractOptions
from pipeline.system.quiet_start import no_start_up_talk

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


@command("backbones")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@options_of(ExtractOptions, only=("image_size",))
@click.option("--download", is_flag=True, help="Fetch the weights of each NAME ahead.")
@option("--layer", default="top", help="With --download: fetch the file that this layer needs.")
@json_option
def backbones(
    terminal: "Terminal",
    names: tuple[str, ...],
    image_size: int | None,
    download: bool,
    layer: str,
    as_json: bool,
) -> None:
    """List the backbones; with NAME, its frost lines from the top.

    \b
    Examples:
      python cli.py backbones
      python cli.py backbones efficientnet-lite0
      python cli.py backbones run:photos-efficientnetb0-logreg-1-finetuned-1
      python cli.py backbones --download efficientnetb0 resnet50
      python cli.py backbones --download vgg16 --layer fc2
    """
    if image_size is not None and (download or not names):
        raise click.UsageError("--image-size needs one NAME here, to show its frost lines.")
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


def _download_weights(
    terminal: "Terminal", names: tuple[str, ...], layer: str, as_json: bool
) -> None:
    from pipeline.backbones.presets import find_backbone
    from pipeline.backbones.weights.resolve import resolve_weights

    if not names:
        raise click.UsageError("Missing argument: --download needs the NAME of a backbone.")
    fetched = []
    for backbone in [find_backbone(name) for name in names]:
        if layer != "top":
            with no_start_up_talk():
                from pipeline.backbones.build import require_layer
            require_layer(backbone, layer)
        with terminal.hush():
            weights = resolve_weights(backbone, "imagenet", layer=layer)
        path = str(weights.path or weights.source)
        fetched.append({"name": backbone.name, "weights": weights.key, "path": path})
        terminal.say(f"{backbone.name}: {weights.key}")
        if not as_json:
            terminal.result(path)
    if as_json:
        terminal.result_json(fetched)


def _show_frost_lines(
    terminal: "Terminal", names: tuple[str, ...], image_size: int | None, as_json: bool
) -> None:
    from pipeline.backbones.presets import find_backbone

    if len(names) > 1:
        raise click.UsageError("Expected one NAME, or --download.")
    with no_start_up_talk():
        from pipeline.backbones.build import build_untrained
        from pipeline.backbones.frost_lines import find_frost_lines

        backbone = find_backbone(names[0])
        lines = find_frost_lines(build_untrained(backbone, image_size))
    terminal.show_frost_lines(backbone, lines, as_json=as_json)
