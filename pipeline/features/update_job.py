"""What bringing a feature file up to date is given: the options, and whom to tell."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.errors import DatasetError
from pipeline.features.embed import MakeEmbedder
from pipeline.features.finished_rows import parts_folder_of
from pipeline.features.open_ahead import OpenedAhead
from pipeline.features.open_embedding import Workers
from pipeline.features.row_keys import RowKeys
from pipeline.features.spread.shard_number import Shard
from pipeline.images.augmentation.views import Views
from pipeline.images.dataset import Dataset
from pipeline.images.decoding.isolated_worker import ISOLATE_SECONDS
from pipeline.images.decoding.read_images import Limits
from pipeline.recipe import Recipe
from pipeline.system.progress import OnProgress


@dataclass(frozen=True)
class UpdateOptions:
    """How to bring a feature file up to date.

    Args:
        rehash: read every image anew, even where its file looks unchanged.
        retry_skipped: try images again that could not be decoded before.
        reuse: take rows from other feature files of the same recipe in the same folder.
        prune: forget the rows of images that are no longer there.
        moved: accept a file that was made from another folder.
        batch_size: images per call of the network; an existing file keeps its own as long as the
            same engine computes.
        weights_source: where the weights came from, for people and for later stages.
        limits: what an image may be at most, None = the defaults. Where they are given, images
            that were too large before are tried again.
        isolate: decode in worker processes; an image that takes `isolate_seconds` is given up.
        stop_at_failure: raise at the first image that cannot be used, instead of skipping it.
        workers: who reads, decodes and embeds.
        engine: that was asked for, None for none in particular; rows of another are then taken
            from no other file.
        shard: compute only the images that fall to it; None = all.
        views: of each image; None = view 0 alone.
        opens_ahead: open the network as soon as there seems to be something to compute, in a thread
            beside all that comes before.
    """

    rehash: bool = False
    retry_skipped: bool = False
    reuse: bool = True
    prune: bool = False
    moved: bool = False
    batch_size: int | None = None
    weights_source: str = ""
    limits: Limits | None = None
    isolate: bool = False
    isolate_seconds: float = ISOLATE_SECONDS
    stop_at_failure: bool = False
    workers: Workers = field(default_factory=Workers)
    engine: str | None = None
    shard: Shard | None = None
    views: Views | None = None
    opens_ahead: bool = False


DEFAULT_OPTIONS = UpdateOptions()


@dataclass(frozen=True)
class UpdateJob:
    """One update: what was asked for, and whom to tell."""

    dataset: Dataset
    recipe: Recipe
    target: Path
    make_embedder: MakeEmbedder
    options: UpdateOptions
    tell: Callable[[str], None]
    on_progress: OnProgress

    @property
    def parts_folder(self) -> Path:
        return parts_folder_of(self.target)

    @property
    def keys(self) -> RowKeys:
        return RowKeys(self.options.views)

    def opening_ahead(self) -> "UpdateJob":
        """The same, with its network being opened already."""
        ahead = OpenedAhead(self.make_embedder, self.options.batch_size)
        ahead.begin()
        return replace(self, make_embedder=ahead)

    def path_of(self, row: int) -> Path:
        return self.dataset.root / self.dataset.paths[row]

    def stop_if_asked(self, path: Path, reason: str) -> None:
        """Raises a DatasetError for an image that cannot be used, where that is to end it all."""
        if self.options.stop_at_failure:
            raise DatasetError(
                f"Stopped at the first image that cannot be used. Expected an image that Pillow "
                f"can decode. Received: {path}: {reason}\nWhat was finished is kept. Repair or "
                "remove the image, or say `on_error='skip'`."
            )
