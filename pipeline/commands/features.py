"""`cli.py features`: what is in feature files, and other files made of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.options import given_options, whole_number
from pipeline.commands.shared import (
    EXISTING,
    command,
    device_option,
    expand_patterns,
    force_option,
    json_option,
    option,
    weights_option,
)

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal

# What each option needs; without it, it would do nothing, and its user believe that it did.
_NEEDS = {
    **dict.fromkeys(("verify", "recompute", "to_parquet"), "path"),
    **dict.fromkeys(("data", "weights", "device"), "recompute"),
    "merge": "paths",
    "output": "merge",
    "clear": "networks",
    "force": "to_parquet",
}
_NAMES = {"path": "the PATH of a feature file", "paths": "the PATHs of all shards"}
_WHOLE_TASKS = ("merge", "to_parquet", "networks")  # each is the one thing that the command does


@command("features")
@click.argument("paths", metavar="[PATH]...", type=EXISTING, nargs=-1, callback=expand_patterns)
@click.option("--verify", is_flag=True, help="Check every byte of the file.")
@click.option("--recompute", type=whole_number(least=1), help="Embed N random rows again.")
@click.option("--data", type=EXISTING, help="Where the images are now, for --recompute.")
@weights_option
@device_option
@click.option("--merge", is_flag=True, help="Make one feature file of all shards of a data set.")
@option("--output", type=EXISTING, help="The merged file.", default_words="a name in cache/")
@click.option("--to-parquet", type=EXISTING, help="Write the rows as a Parquet file of this name.")
@click.option(
    "--networks", is_flag=True, help="List the converted networks that are kept for the next start."
)
@click.option("--clear", is_flag=True, help="Delete the converted networks, with --networks.")
@force_option
@json_option
def features(
    terminal: "Terminal",
    paths: tuple[Path, ...],
    merge: bool,
    to_parquet: Path | None,
    output: Path | None,
    networks: bool,
    clear: bool,
    force: bool,
    **options: Any,
) -> None:
    """Show what is in a feature file; without PATH, list those in cache/.

    \b
    Examples:
      python cli.py features
      python cli.py features cache/photos-efficientnetb0-1a2b3c4d.h5 --verify --recompute 20
      python cli.py features cache/photos-efficientnetb0-1a2b3c4d.h5 --to-parquet photos.parquet
      python cli.py features cache/photos-efficientnetb0-1a2b3c4d-shard-*-of-3.h5 --merge
      python cli.py features --networks --clear
    """
    _require_what_it_is_for(paths, merge=merge)
    if networks:
        _show_networks(terminal, clear=clear, as_json=options["as_json"])
    elif merge:
        _merge(terminal, paths, output, as_json=options["as_json"])
    elif to_parquet is not None:
        how = {"force": force, "as_json": options["as_json"]}
        _write_parquet(terminal, paths[0], to_parquet, **how)
    else:
        _show(terminal, paths[0] if paths else None, **options)


def _show_networks(terminal: "Terminal", *, clear: bool, as_json: bool) -> None:
    from pipeline.backbones.engines.network_store import clear_networks, list_networks

    if clear:
        terminal.show_cleared(clear_networks(), as_json=as_json)
    else:
        terminal.show_networks(list_networks(), as_json=as_json)


def _merge(
    terminal: "Terminal", paths: tuple[Path, ...], output: Path | None, *, as_json: bool
) -> None:
    from pipeline.features.spread.merge import merge

    with terminal.progress() as on_progress:
        merged = merge(paths, output=output, on_progress=on_progress, on_note=terminal.say)
    terminal.show_extraction(merged.summary, as_json=as_json)


def _write_parquet(
    terminal: "Terminal", path: Path, target: Path, *, force: bool, as_json: bool
) -> None:
    from pipeline.features.parquet import to_parquet

    with terminal.progress() as on_progress:
        written = to_parquet(
            path, target, force=force, on_progress=on_progress, on_note=terminal.say
        )
    terminal.show_parquet(written, as_json=as_json)


def _show(
    terminal: "Terminal",
    path: Path | None,
    *,
    verify: bool,
    recompute: int | None,
    data: Path | None,
    weights: str | None,
    device: str,
    as_json: bool,
) -> None:
    from pipeline.features.extract import CACHE_FOLDER
    from pipeline.features.feature_file import FeatureFile, find_feature_files
    from pipeline.features.verify import recompute as recompute_rows
    from pipeline.system.sealed_hdf5 import verify_seal

    if path is None:
        terminal.show_feature_files(*find_feature_files(CACHE_FOLDER), as_json=as_json)
        return
    if verify:
        verify_seal(path)
        terminal.say("Every byte is as it was written.")
    recomputed = None
    if recompute:
        recomputed = recompute_rows(
            path, recompute, weights=weights, data_root=data, device=device,
            is_alone=True, on_note=terminal.say,
        )  # fmt: skip
    with FeatureFile(path) as file:
        terminal.show_features(file, recomputed, as_json=as_json)


def _require_what_it_is_for(paths: tuple[Path, ...], *, merge: bool) -> None:
    """Refuses an option that would do nothing, or its user would believe that it did something."""
    given = given_options(click.get_current_context())
    there = {*given, "path", "paths"} if paths else {*given} - {"paths"}
    for name, needed in _NEEDS.items():
        if name in given and needed not in there:
            what = _NAMES.get(needed) or _spell(needed)
            raise click.UsageError(f"{_spell(name)} needs {what}. Received: none")
    if len(paths) > 1 and not merge:
        raise click.UsageError(
            f"Several files are merged, one is looked at. Expected one PATH, or --merge. "
            f"Received: {len(paths):,} of them"
        )
    if paths and "networks" in given:
        raise click.UsageError(
            "--networks lists all that are kept. Expected no PATH beside it. "
            f"Received: {len(paths):,} of them"
        )
    for task in _WHOLE_TASKS:
        others = set(given) & {"verify", "recompute", *_WHOLE_TASKS} - {task}
        if task in given and others:
            raise click.UsageError(
                f"{_spell(task)} is done by itself. Expected no other task beside it. "
                f"Received: {', '.join(sorted(map(_spell, others)))}"
            )


def _spell(name: str) -> str:
    return "--" + name.replace("_", "-")
