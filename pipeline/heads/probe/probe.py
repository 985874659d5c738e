"""Which backbone at which image size, before a whole data set is paid for, as one call."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.backbones.engines.device import require_device_name
from pipeline.backbones.engines.opening import require_device
from pipeline.backbones.engines.registry import find_engine
from pipeline.errors import BackboneError, EngineError, OutOfMemoryError, ParameterError
from pipeline.features.extract import CACHE_FOLDER, default_target
from pipeline.features.options import ALL_DEVICES, ExtractOptions, SplitOptions, parse_colour
from pipeline.heads.probe.candidates import check_names, list_candidates
from pipeline.heads.probe.embed_sample import EmbedSample, SampleFiles
from pipeline.heads.probe.judge import Judge
from pipeline.heads.probe.measured import Measured
from pipeline.heads.probe.options import EXTRACT_OPTIONS, SPLIT_OPTIONS, ProbeOptions
from pipeline.heads.probe.probed import Probe, Tried, describe_all, recommend
from pipeline.heads.probe.sample import draw_sample
from pipeline.heads.probe.search import Embed, Search
from pipeline.images.dataset import Dataset, scan_dataset
from pipeline.images.fetch import unpack_if_archive
from pipeline.images.mend import mend
from pipeline.system.options import build_options, check_options
from pipeline.system.paths import as_path
from pipeline.system.progress import OnProgress

_RESERVE = 0.03  # of the seconds: for the last scores and the table


@dataclass(frozen=True)
class _Wanted:
    """What was asked for, checked."""

    probe: ProbeOptions
    extract: ExtractOptions
    split: SplitOptions
    backbones: Sequence[str] | None
    image_sizes: Sequence[int] | None

    @property
    def recipe_options(self) -> dict[str, Any]:
        """For `make_recipe`."""
        wanted = self.extract
        return {
            "resize": wanted.resize,
            "background": None if wanted.background is None else parse_colour(wanted.background),
            "precision": wanted.precision,
            "truncated": wanted.truncated,
        }

    def list_extract_options(self, chosen: Tried) -> dict[str, Any]:
        """Those of an extraction with what was chosen; what is as by default is left out."""
        options: dict[str, Any] = {"backbone": chosen.backbone, "weights": chosen.weights}
        options |= {"image_size": chosen.image_size}
        options |= {name: getattr(self.extract, name) for name in EXTRACT_OPTIONS}
        defaults = ExtractOptions()
        return {name: v for name, v in options.items() if v != getattr(defaults, name)}


def probe(
    data: str | os.PathLike[str],
    *,
    backbones: Sequence[str] | None = None,
    image_sizes: Sequence[int] | None = None,
    on_dataset: Callable[[Dataset], None] = lambda dataset: None,
    on_progress: OnProgress = lambda stage, done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
    **options: Any,
) -> Probe:
    """Tries backbones at several image sizes on a sample of the images, and recommends one.

    Each image of the sample is scored by a ridge regression on the others (exact leave-one-out).
    What was embedded is kept where `extract` of the same data looks for it.

    Args:
        data: as `extract` takes it.
        backbones: names, `NAME=FILE` for weights of a file; None = all whose weights are here.
            Those of a named one are downloaded where they are not.
        image_sizes: pixels; None = each backbone's own, and some from 0.7 to 1.4 of it.
        on_dataset: called with the data set when its images are known.
        on_progress: called with a stage, the number done and the number to do.
        on_note: called with what people should know while they wait.
        **options: fields of `ProbeOptions`, such as `seconds`; those of `ExtractOptions` that are
            no matter of backbone and size, such as `resize`, `precision` and `engine`; and of
            `SplitOptions` `group_by`, `test_fraction` and the like: images that will be tested
            on are not looked at.

    Returns:
        What was tried, and the recommendation.

    Raises:
        FrostlineError: an option makes no sense, or something is not as it must be; `errors.py`
            lists the kinds.

    Example:
        >>> found = probe("photos", seconds=60)  # doctest: +SKIP
        >>> extract("photos", **found.extract_options)  # doctest: +SKIP
    """
    started = time.monotonic()
    wanted = _read_options(backbones, image_sizes, options)
    notes: list[str] = []

    def tell(note: str) -> None:
        if note not in notes:
            notes.append(note)
            on_note(note)

    folder, unpacked = unpack_if_archive(as_path(data, "data"))
    for note in unpacked:
        tell(note)
    dataset = _find_images(folder, wanted.extract, on_progress)
    on_dataset(dataset)
    candidates = list_candidates(wanted.backbones, wanted.image_sizes, wanted.recipe_options, tell)
    sample = draw_sample(
        dataset, wanted.probe.images, wanted.split, CACHE_FOLDER, on_progress, tell
    )
    contenders = [Measured(one, default_target(dataset.name, one.recipe)) for one in candidates]
    files = SampleFiles([dataset.root / dataset.paths[row] for row in sample.rows], sample.digests)
    embed = EmbedSample(
        files, wanted.extract.device, wanted.extract.engine, wanted.extract.network_store
    )
    judge = Judge(sample)
    deadline = started + (1 - _RESERVE) * wanted.probe.seconds
    Search(
        contenders,
        len(sample),
        len(sample.class_names),
        _passing_over(embed, len(contenders), tell),
        judge,
        deadline,
        on_progress=on_progress,
    ).run()
    tried = describe_all(contenders, judge, len(dataset))
    chosen, reason = recommend(tried)
    return Probe(
        tried=tried,
        recommended=chosen,
        reason=reason,
        data=os.fspath(data),
        extract_options=wanted.list_extract_options(chosen),
        n_images=len(sample),
        n_classes=len(sample.class_names),
        n_total=len(dataset),
        seconds=time.monotonic() - started,
        notes=notes,
    )


def _read_options(
    backbones: Sequence[str] | None, image_sizes: Sequence[int] | None, options: dict[str, Any]
) -> _Wanted:
    given = {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in options.items()
    }
    of_extract = {name: given.pop(name) for name in EXTRACT_OPTIONS if name in given}
    of_split = {name: given.pop(name) for name in SPLIT_OPTIONS if name in given}
    purpose = "probe backbones"
    how = build_options(ProbeOptions, given, purpose)
    extraction = build_options(ExtractOptions, of_extract, purpose)
    division = build_options(SplitOptions, of_split, purpose)
    check_options(how, purpose)
    check_options(division, purpose)
    extraction.check()
    if extraction.device == ALL_DEVICES:
        raise ParameterError(
            "A probe computes on one device. Expected `device` to be auto, cpu, gpu or gpu:N. "
            f"Received: `device={extraction.device}`",
            "device",
        )
    require_device_name(extraction.device)
    if extraction.engine is not None:
        find_engine(extraction.engine)
    require_device(extraction.device, extraction.engine)
    check_names(backbones, image_sizes)
    return _Wanted(how, extraction, division, backbones, image_sizes)


def _find_images(folder: Path, wanted: ExtractOptions, on_progress: OnProgress) -> Dataset:
    dataset = scan_dataset(folder, wanted.class_depth, wanted.label_from, on_progress)
    labels, exclude = (
        None if name is None else Path(name) for name in (wanted.labels, wanted.exclude)
    )
    return mend(dataset, labels, exclude)


def _passing_over(embed: EmbedSample, n_candidates: int, tell: Callable[[str], None]) -> Embed:
    """Embeds; a network that cannot be made for a size is passed over, where there are others."""
    n_problems = 0

    def embed_or_pass_over(one: Measured, n_images: int, deadline: float) -> None:
        nonlocal n_problems
        try:
            embed(one, n_images, deadline)
        except (BackboneError, EngineError, OutOfMemoryError) as error:
            n_problems += 1
            if n_problems == n_candidates:
                raise
            one.problem = str(error).partition("\n")[0]
            tell(f"Left out {one.candidate}: {error}")

    return embed_or_pass_over
