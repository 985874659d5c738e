"""The feature file: one HDF5 file per data set and recipe, replaced whole, readable with h5py.

`docs/feature-file.md` describes it for readers in other languages.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import h5py
import msgspec
import numpy as np

from pipeline.errors import FeatureFileError
from pipeline.features.entries import (
    Entries,
    LabelledImages,
    enter_all,
    read_entries,
    read_split_rule,
    write_entries,
)
from pipeline.features.file_contents import (
    FEATURE_TABLES,
    check_contents,
    read_text,
    read_whole_number,
)
from pipeline.features.image_table import ImageTable, read_images, write_images
from pipeline.features.part_file import read_engines
from pipeline.features.spread.shards import ShardRecord, read_shard, write_shard
from pipeline.features.view_table import ViewTable
from pipeline.images.augmentation.views import Views
from pipeline.images.split_rules import CHANCE
from pipeline.recipe import EngineRecord, Recipe
from pipeline.system.disk import OutputFile
from pipeline.system.hdf5_damage import damage_named, damaged
from pipeline.system.hdf5_tables import (
    check_tables,
    read_rows,
    read_strings,
    require_finite,
    write_rows,
    write_strings,
)
from pipeline.system.sealed_hdf5 import VERSION, open_sealed, read_seal, write_sealed

FORMAT = "frostline-features"
_BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Contents:
    """Everything in a feature file but the features: what is small enough for memory."""

    recipe: Recipe
    images: ImageTable
    labels: np.ndarray  # int32, index into class_names, -1 = none
    splits: np.ndarray  # int8, what the source says, -1 = nothing
    arrivals: np.ndarray  # int32, number of the extraction that first saw the image, from 0
    class_names: list[str]
    skipped: ImageTable
    reasons: list[str]
    retired: np.ndarray  # uint8 (n_retired, 32): digests of rows whose image is gone
    data_root: str
    weights_source: str  # imagenet, random, or the file the weights came from
    batch_size: int  # of the engine that computed last
    created: str
    software: dict[str, str]
    engines: list[EngineRecord] = field(default_factory=lambda: [EngineRecord()])  # in time's order
    retired_arrivals: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    probe_rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    probe_pixels: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 3), np.uint8))
    features_sha256: str = ""
    data_name: str = ""  # what runs are called that are made of it
    entries: Entries | None = None  # None in files from before they were kept
    split_rule: str = CHANCE  # by which splits are made, unless another is asked for
    shard: ShardRecord | None = None  # None where the file is no shard
    views: Views | None = None  # None where there is view 0 alone
    views_sha256: str = ""

    @property
    def engine(self) -> EngineRecord:
        """What computed the rows; of several engines the one with the widest tolerance."""
        return max(reversed(self.engines), key=lambda record: record.tolerance)

    @property
    def labelled_images(self) -> LabelledImages:
        """What the division of the images into splits goes by."""
        images = self.images
        return LabelledImages(
            images.paths, images.digests, self.labels, self.splits, self.class_names
        )

    @property
    def known_entries(self) -> Entries:
        """When each image was first to be divided; in a file that does not say, when it arrived."""
        return self.entries or enter_all(self.labelled_images, self.arrivals)

    def says_the_same(self, other: "Contents") -> bool:
        """Whether two files with these contents would tell the same, time and software apart."""
        return (
            self.recipe == other.recipe
            and self.images.equals(other.images)
            and np.array_equal(self.labels, other.labels)
            and np.array_equal(self.splits, other.splits)
            and self.class_names == other.class_names
            and self.skipped.equals(other.skipped)
            and self.reasons == other.reasons
            and np.array_equal(self.retired, other.retired)
            and self.data_root == other.data_root
            and self.data_name == other.data_name
            and self.engines == other.engines
            and self.views == other.views
            and (self.shard.equals(other.shard) if self.shard else other.shard is None)
        )


def write_features(
    target: Path,
    contents: Contents,
    blocks: Iterable[np.ndarray],
    retired_blocks: Iterable[np.ndarray],
    n_features: int,
    *,
    view_blocks: Iterable[np.ndarray] = (),
    retired_view_blocks: Iterable[np.ndarray] = (),
) -> None:
    """Writes a whole feature file and gives it its name at the end.

    Args:
        blocks: float32 (any number of rows, n_features) each, all rows in order.
        retired_blocks: the same for the retired rows.
        view_blocks, retired_view_blocks: float32 (any number of rows, n_views - 1, n_features), the
            augmented views of the same rows; not used where the contents have none.

    Raises:
        StorageError: the file cannot be written; what was there before still is.
    """

    def fill(file: h5py.File, output: OutputFile) -> None:
        if contents.views is not None:  # first: who watches the features has then seen all blocks
            of_row = (len(contents.views.augmented), n_features)
            view_hasher = hashlib.sha256()
            shape = (len(contents.images), *of_row)
            write_rows(file, "views", view_blocks, shape, output, view_hasher)
            file.attrs["views"] = json.dumps(asdict(contents.views))
            file.attrs["views_sha256"] = view_hasher.hexdigest()
        hasher = hashlib.sha256()
        write_rows(file, "features", blocks, (len(contents.images), n_features), output, hasher)
        write_images(file, contents.images)
        file["label"] = contents.labels.astype(np.int32)
        file["split"] = contents.splits.astype(np.int8)
        file["arrival"] = contents.arrivals.astype(np.int32)
        skipped = file.create_group("skipped")
        write_images(skipped, contents.skipped)
        write_strings(skipped, "reason", contents.reasons)
        retired = file.create_group("retired")
        retired["digest"] = contents.retired
        retired["arrival"] = contents.retired_arrivals.astype(np.int32)
        write_rows(
            file, "retired/features", retired_blocks, (len(contents.retired), n_features), output
        )
        if contents.views is not None:
            shape = (len(contents.retired), len(contents.views.augmented), n_features)
            write_rows(file, "retired/views", retired_view_blocks, shape, output)
        if contents.entries is not None:
            write_entries(file, contents.entries)
        if contents.shard is not None:
            write_shard(file, contents.shard)
        probe = file.create_group("probe")
        probe["row"] = contents.probe_rows.astype(np.int64)
        probe["pixels"] = contents.probe_pixels
        file.attrs.update(
            {
                "format": FORMAT,
                "version": VERSION,
                "recipe": contents.recipe.to_json(),
                "recipe_id": contents.recipe.id,
                "class_names": json.dumps(contents.class_names, ensure_ascii=True),
                "data_root": os.fsencode(contents.data_root),
                "data_name": os.fsencode(contents.data_name),
                "weights_source": os.fsencode(contents.weights_source),
                "batch_size": contents.batch_size,
                "engines": _to_json(contents.engines),
                "created": contents.created,
                "software": json.dumps(contents.software),
                "features_sha256": hasher.hexdigest(),
                "split_rule": contents.split_rule,
            }
        )

    write_sealed(target, fill)


def find_feature_files(folder: Path) -> tuple[list[tuple[Path, Contents, int]], list[str]]:
    """The feature files of a folder.

    Returns:
        Path, contents and number of features of each, and a sentence for each that cannot be read.
    """
    found, problems = [], []
    for path in sorted(folder.glob("*.h5")):
        try:
            with FeatureFile(path) as file:
                found.append((path, file.contents, file.n_features))
        except FeatureFileError as error:
            problems.append(str(error))
    return found, problems


class FeatureFile:
    """A feature file open for reading.

    Example:
        with FeatureFile(path) as file:
            features = file.read_rows(np.arange(10))

    Args:
        path: of the file. Another that takes its name meanwhile is not seen.

    Attributes:
        shape: (n_samples, n_features).
        seal: sha256 of the file's bytes after the first 512, hex.
        contents: all but the features.
        views: of the rows, None where there is view 0 alone.

    Raises:
        FeatureFileError: it is no feature file, of a newer format, or its tables are damaged.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._opened = open_sealed(self.path, FORMAT)
        self._file = self._opened.__enter__()
        try:
            with damage_named(self.path, "the small tables"):
                lengths = check_tables(self._file, FEATURE_TABLES)
                self.shape = lengths["n_samples"], lengths["n_features"]
                self.seal = read_seal(self._file)
                self.contents = _read_contents(self._file)
                check_contents(self.contents, lengths)
                self.views = self._open_views()
        except FeatureFileError:
            self.close()
            raise

    def __enter__(self) -> "FeatureFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._opened.__exit__(None, None, None)

    @property
    def n_features(self) -> int:
        return self.shape[1]

    def _open_views(self) -> ViewTable | None:
        if self.contents.views is None:
            return None
        return ViewTable(self.path, self._file["views"], self.contents.views_sha256)

    def read_all(self) -> np.ndarray:
        """All features, float32 (n_samples, n_features), checked against their sha256.

        Raises:
            FeatureFileError: they are damaged.
        """
        features, start = np.empty(self.shape, np.float32), 0
        for block in self.read_blocks():
            features[start : start + len(block)] = block
            start += len(block)
        return features

    def read_blocks(self) -> Iterator[np.ndarray]:
        """All features in order, block by block; at the end checked against their sha256.

        Raises:
            FeatureFileError: they are damaged.
        """
        hasher = hashlib.sha256()
        n_samples, n_features = self.shape
        rows_per_block = max(1, _BLOCK_BYTES // (4 * max(1, n_features)))
        for start in range(0, max(1, n_samples), rows_per_block):
            block = self.read_span(start, min(n_samples, start + rows_per_block))
            hasher.update(block.data)
            yield block
        if hasher.hexdigest() != self.contents.features_sha256:
            raise damaged(self.path, "the features", "their sha256 is not the recorded one")

    def read_span(self, start: int, stop: int) -> np.ndarray:
        """Features of the rows from `start` to below `stop`, checked by fletcher32."""
        with damage_named(self.path, "the features"):
            return require_finite(self._file["features"][start:stop])

    def read_rows(self, rows: np.ndarray) -> np.ndarray:
        """Features of some rows, in the order asked for, each block checked by fletcher32."""
        with damage_named(self.path, "the features"):
            return require_finite(read_rows(self._file["features"], rows))


def _to_json(engines: list[EngineRecord]) -> str:
    return json.dumps([asdict(engine) for engine in engines], sort_keys=True)


def _read_contents(file: h5py.File) -> Contents:
    attributes = file.attrs

    def read_arrivals(name: str, n_rows: int) -> np.ndarray:
        # Files of the first days have no such column: all images came at once.
        return file[name][:] if name in file else np.zeros(n_rows, np.int32)

    class_names = msgspec.convert(json.loads(read_text(file, "class_names")), list[str])
    return Contents(
        recipe=Recipe.from_json(read_text(file, "recipe")),
        images=read_images(file),
        labels=file["label"][:],
        splits=file["split"][:],
        arrivals=read_arrivals("arrival", len(file["label"])),
        class_names=class_names,
        skipped=read_images(file["skipped"]),
        reasons=read_strings(file["skipped/reason"]),
        retired=file["retired/digest"][:],
        retired_arrivals=read_arrivals("retired/arrival", len(file["retired/digest"])),
        data_root=os.fsdecode(attributes["data_root"]),
        weights_source=os.fsdecode(attributes["weights_source"]),
        batch_size=read_whole_number(file, "batch_size"),
        created=read_text(file, "created"),
        software=msgspec.json.decode(read_text(file, "software"), type=dict[str, str]),
        engines=read_engines(file),
        probe_rows=file["probe/row"][:],
        probe_pixels=file["probe/pixels"][:],
        features_sha256=read_text(file, "features_sha256"),
        data_name=_read_data_name(file),
        entries=read_entries(file, file["label"][:], file["split"][:]),
        split_rule=read_split_rule(file),
        shard=read_shard(file, len(class_names)),
        views=_read_views(file),
        views_sha256=read_text(file, "views_sha256") if "views" in file.attrs else "",
    )


def _read_views(file: h5py.File) -> Views | None:
    if "views" not in file.attrs:
        return None
    return msgspec.convert(json.loads(read_text(file, "views")), Views)


def _read_data_name(file: h5py.File) -> str:
    """Files of the first days do not say: data sets were called after their folder."""
    root = os.fsdecode(file.attrs["data_root"])
    return os.fsdecode(file.attrs.get("data_name", b"")) or Path(root).name or "data"
