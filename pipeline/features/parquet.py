"""A feature file as a Parquet file, for whoever goes on with Spark, DuckDB, Polars or pandas."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import MissingExtraError, StorageError
from pipeline.features.feature_file import Contents, FeatureFile
from pipeline.images.splits import SPLITS
from pipeline.system.atomic_files import atomic_path
from pipeline.system.locks import hold_lock_for_now
from pipeline.system.paths import as_path
from pipeline.system.progress import OnProgress

if TYPE_CHECKING:
    import pyarrow

# Bytes of features in a row group: readers take a group at a time, and so does the writer.
ROW_GROUP_BYTES = 32 * 2**20


def to_parquet(
    features: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    force: bool = False,
    on_progress: OnProgress = lambda stage, done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Path:
    """Writes the rows of a feature file as Parquet, a row group at a time.

    Columns, in the order of the file's rows: `path`, text (bytes, where a name is no UTF-8);
    `label`, the class's name, and `split`, what the source itself says, both dictionary-encoded
    and null where there is none; `digest`, 32 bytes; `size`, int64, bytes; `features`, a list of
    `n_features` floats (float32). What decided the features, and what computed them, is in the
    file's key-value metadata under `frostline`, as JSON.

    Args:
        features: the feature file.
        output: the Parquet file.
        force: overwrite what is there.
        on_progress: called with a stage, the number done and the number to do.
        on_note: called with what people should know: the augmented views of a file are left out.

    Returns:
        The Parquet file.

    Raises:
        FeatureFileError: no feature file, or a damaged one; nothing is written then.
        MissingExtraError: pyarrow is not installed.
        StorageError: the output is there already, or cannot be written.
        LockedError: another process writes the same output.
    """
    source, target = as_path(features, "features"), as_path(output, "output")
    parquet = _import_parquet()
    with hold_lock_for_now(target), FeatureFile(source) as file:
        if os.path.lexists(target) and not force:
            raise StorageError(
                f"The output exists. Expected a new name. Received: {target}\n"
                "Choose another name, or overwrite it with `force=True`."
            )
        if file.contents.views is not None:
            on_note(
                f"The file has {file.contents.views}; the rows of view 0, the images as they are, "
                "are written."
            )
        schema = _make_schema(file)
        with (
            atomic_path(target) as temporary,
            parquet.ParquetWriter(
                temporary, schema, compression=_compress(schema), use_dictionary=["label", "split"]
            ) as writer,
        ):
            for done, batch in _read_batches(file, schema):
                writer.write_batch(batch, row_group_size=max(1, batch.num_rows))
                on_progress("Writing", done, len(file.contents.images))
    return target


def _import_parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(
            "Parquet files need the package pyarrow, which is not installed. Expected the extra "
            "`parquet`. Received: none\nInstall it: pip install '.[parquet]'"
        ) from None
    return pyarrow.parquet


def _make_schema(file: FeatureFile) -> "pyarrow.Schema":
    import pyarrow

    contents = file.contents
    word = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    return pyarrow.schema(
        [
            ("path", pyarrow.string() if _are_utf8(contents.images.paths) else pyarrow.binary()),
            ("label", word),
            ("split", word),
            ("digest", pyarrow.binary(32)),
            ("size", pyarrow.int64()),
            ("features", pyarrow.list_(pyarrow.float32(), file.n_features)),
        ],
        metadata={"frostline": json.dumps(_describe(contents))},
    )


def _are_utf8(paths: list[str]) -> bool:
    try:
        return all(path.encode() is not None for path in paths)
    except UnicodeEncodeError:  # a file name of stray bytes
        return False


def _describe(contents: Contents) -> dict[str, Any]:
    return {
        "recipe": asdict(contents.recipe),
        "recipe_id": contents.recipe.id,
        "class_names": [_plain(name) for name in contents.class_names],
        "engines": [asdict(engine) for engine in contents.engines],
        "data_root": _plain(contents.data_root),
        "created": contents.created,
        "software": contents.software,
        "features_sha256": contents.features_sha256,
        "left_out_views": None if contents.views is None else asdict(contents.views),
    }


def _plain(text: str) -> str:
    """Without a file name's stray bytes, for which JSON and Parquet's texts have no letters."""
    return os.fsencode(text).decode("utf-8", "replace")


def _compress(schema: "pyarrow.Schema") -> dict[str, str]:
    """Paths get much smaller; digests and features do not, and are written as they are."""
    names = {name: "zstd" if name in ("path", "label", "split", "size") else "none"
             for name in schema.names if name != "features"}  # fmt: skip
    return {**names, "features.list.element": "none"}


def _read_batches(
    file: FeatureFile, schema: "pyarrow.Schema"
) -> Iterator[tuple[int, "pyarrow.RecordBatch"]]:
    """A batch for each row group and the number of rows up to its end; at the end the features
    are compared with their sha256.
    """
    n_rows = max(1, ROW_GROUP_BYTES // (4 * file.n_features))
    done, kept, n_kept = 0, [], 0
    for block in file.read_blocks():
        kept.append(block)
        n_kept += len(block)
        if n_kept >= n_rows:
            yield done + n_kept, _to_batch(file.contents, schema, done, np.concatenate(kept))
            done, kept, n_kept = done + n_kept, [], 0
    if n_kept:
        yield done + n_kept, _to_batch(file.contents, schema, done, np.concatenate(kept))


def _to_batch(
    contents: Contents, schema: "pyarrow.Schema", start: int, features: np.ndarray
) -> "pyarrow.RecordBatch":
    import pyarrow

    rows = slice(start, start + len(features))
    images, n_features = contents.images, features.shape[1]
    is_text = pyarrow.types.is_string(schema.field("path").type)
    paths = images.paths[rows]
    names = [_plain(name) for name in contents.class_names]
    values = pyarrow.array(features.ravel(), pyarrow.float32())
    columns = [
        pyarrow.array(paths if is_text else [*map(os.fsencode, paths)], schema.field("path").type),
        _to_words(contents.labels[rows], names),
        _to_words(contents.splits[rows], list(SPLITS)),
        pyarrow.array([bytes(digest) for digest in images.digests[rows]], pyarrow.binary(32)),
        pyarrow.array(images.sizes[rows], pyarrow.int64()),
        pyarrow.FixedSizeListArray.from_arrays(values, n_features),
    ]
    return pyarrow.record_batch(columns, schema=schema)


def _to_words(numbers: np.ndarray, words: list[str]) -> "pyarrow.DictionaryArray":
    """Names in the place of numbers; null in the place of -1."""
    import pyarrow

    indices = pyarrow.array(numbers.astype(np.int32), mask=numbers < 0)
    return pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array(words, pyarrow.string()))
