"""Writes a data set of TensorFlow Datasets as class folders, with its own image bytes and splits.

Imports TensorFlow; the package comes with the extra `tfds`.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from pipeline.errors import DatasetError, MissingExtraError
from pipeline.images.sources.candidates import ARCHIVE_NOTE, is_hidden, was_fetched
from pipeline.system.atomic_folder import atomic_folder

_EXTENSIONS = {b"\xff\xd8\xff": ".jpg", b"\x89PN": ".png", b"GIF": ".gif", b"BM": ".bmp"}


def fetch_tfds(name: str, folder: Path, *, force: bool = False) -> tuple[int, list[str]]:
    """Writes `SPLIT/CLASS/NUMBER.EXTENSION`, or `CLASS/...` where there is one split only.

    Args:
        name: `mnist`, `cifar10:3.0.2`, `imagenet_resized/64x64`, ...

    Returns:
        The number of images, and what to say.

    Raises:
        MissingExtraError: the package is not installed.
        DatasetError: no such data set, it cannot be downloaded, or it holds no labelled images.
    """
    builder = _prepare(name)
    image_key, label_key = _find_keys(name, builder.info)
    folder_names = _name_folders(builder.info.features[label_key])
    splits = sorted(builder.info.splits)
    counts: Counter[str] = Counter()
    with atomic_folder(folder, may_replace=lambda there: force and was_fetched(there)) as temporary:
        for split in splits:
            place = temporary / split if len(splits) > 1 else temporary
            for image, label in _read_examples(builder, split, image_key, label_key):
                if label < 0:
                    counts["without a label, left out"] += 1
                    continue
                class_folder = place / folder_names[label]
                class_folder.mkdir(parents=True, exist_ok=True)
                extension = _find_extension(image)
                (class_folder / f"{counts[split]:07d}{extension}").write_bytes(image)
                counts[split] += 1
        (temporary / ARCHIVE_NOTE).write_text(json.dumps({"source": f"tfds:{name}"}))
    words = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    n_images = sum(counts[split] for split in splits)
    return n_images, [f"{builder.info.full_name}: {words}."]


def _prepare(name: str) -> Any:
    """The builder of a data set that lies ready, downloaded if need be."""
    try:
        import tensorflow_datasets
    except ImportError:
        raise MissingExtraError(
            "This needs the package tensorflow-datasets, which is not installed. Expected the "
            f"extra `tfds`. Received: tfds:{name}\nInstall it: pip install '.[tfds]'"
        ) from None
    try:
        with redirect_stdout(sys.stderr):  # it talks there, and stdout belongs to results
            builder = tensorflow_datasets.builder(name)
            builder.download_and_prepare()
    except Exception as error:  # from the data set's own code anything may come
        text = " ".join(str(error).split())[:400]
        raise DatasetError(
            f"TensorFlow Datasets cannot make {name!r} ready: {text}\nExpected the name of a data "
            "set that it knows (https://www.tensorflow.org/datasets/catalog) and can download, or "
            "that lies in the folder that the environment variable TFDS_DATA_DIR names."
        ) from error
    return builder


def _find_keys(name: str, info: Any) -> tuple[str, str]:
    """The names of the one image and of the one label of an example."""
    from tensorflow_datasets.core.features import ClassLabel, Image

    features = dict(info.features.items()) if hasattr(info.features, "items") else {}
    found = [
        [key for key, feature in features.items() if isinstance(feature, kind)]
        for kind in (Image, ClassLabel)
    ]
    image_key, label_key = [
        next((key for key in info.supervised_keys or () if key in of_kind), None)
        or (of_kind[0] if len(of_kind) == 1 else None)
        for of_kind in found
    ]
    if image_key is None or label_key is None:
        raise DatasetError(
            f"{name!r} is no data set for image classification. Expected one image and one class "
            f"label an example. Received: {features or info.features}"
        )
    return image_key, label_key


def _read_examples(
    builder: Any, split: str, image_key: str, label_key: str
) -> Iterator[tuple[bytes, int]]:
    """Encoded image and label of each example, in the order in which they are stored."""
    import tensorflow_datasets

    examples = builder.as_dataset(
        split=split,
        shuffle_files=False,
        decoders={image_key: tensorflow_datasets.decode.SkipDecoding()},
    )
    for example in examples:
        yield example[image_key].numpy(), int(example[label_key].numpy())


def _find_extension(image: bytes) -> str:
    return next((ext for start, ext in _EXTENSIONS.items() if image.startswith(start)), "")


def _name_folders(label_feature: Any) -> list[str]:
    """Class names as names of visible folders, one each: `Apple/scab` -> `Apple_scab`."""
    folder_names: list[str] = []
    for label in range(label_feature.num_classes):
        name = re.sub(r"[/\\\0]", "_", label_feature.int2str(label))
        if not name or is_hidden(name):
            name = f"_{name}"
        folder_names.append(f"{name}-{label}" if name in folder_names else name)
    return folder_names
