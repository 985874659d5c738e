"""Several feature files as one: which rows meet, what is left out, what does not fit together."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.stand_in import RECIPE
from benchmarks.synthetic_features import write_synthetic_features
from pipeline.errors import FeatureFileError, ParameterError
from pipeline.features.cached_rows import CachedRows, join_cached_rows
from pipeline.features.feature_file import FeatureFile, write_features
from pipeline.features.file_stamps import no_stamps
from pipeline.features.image_table import ImageTable
from pipeline.features.joined_features import JoinedFeatures, open_features_to_fit
from pipeline.features.options import SplitOptions
from pipeline.features.sliced_rows import FeatureRows
from pipeline.features.split_rows import divide_images

N_FEATURES = {8: 5, 10: 3, 12: 2}  # by image size


@pytest.fixture(scope="module")
def like(tmp_path_factory):
    """The contents of some feature file."""
    path = tmp_path_factory.mktemp("like") / "f.h5"
    write_synthetic_features(path, 4, n_features=2, n_classes=2)
    with FeatureFile(path) as file:
        return file.contents


def digest_of(image: int) -> bytes:
    return hashlib.sha256(str(image).encode()).digest()


def feature_of(image: int, size: int) -> np.ndarray:
    """What a backbone of that size makes of an image."""
    return np.random.default_rng([image, size]).normal(size=N_FEATURES[size]).astype(np.float32)


def write_file(path, like, images, size=8, *, labels=None, splits=None, names=None, probes=None):
    """A feature file of images by number; an image's path has its number unless `names` says it."""
    n = len(images)
    rows = range(n) if probes is None else probes
    nothing = np.zeros(n, np.int64)
    contents = replace(
        like,
        recipe=replace(RECIPE, image_size=size),
        images=ImageTable(
            names or [f"{image:03d}.png" for image in images],
            np.frombuffer(b"".join(map(digest_of, images)), np.uint8).reshape(-1, 32),
            nothing,
            nothing,
            no_stamps(n),
        ),
        labels=np.array([i % 2 for i in images] if labels is None else labels, np.int32),
        splits=np.full(n, -1, np.int8) if splits is None else np.array(splits, np.int8),
        arrivals=np.zeros(n, np.int32),
        probe_rows=np.array(rows, np.int64),
        probe_pixels=np.array(
            [np.full((size, size, 3), images[row] % 256) for row in rows], np.uint8
        ),
        entries=None,
    )
    features = np.stack([feature_of(image, size) for image in images])
    write_features(path, contents, [features], [], N_FEATURES[size])
    return path


numbers = st.lists(st.integers(0, 30), min_size=8, max_size=20)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(numbers, numbers, st.randoms(use_true_random=False))
def test_each_image_meets_its_own_features_whatever_the_order_and_the_copies(
    tmp_path, like, first, second, random
):
    common = [*range(40, 48)]
    first, second = [*first, *common], [*second, *common]
    random.shuffle(second)
    names = [[f"{place:03d}-{side}.png" for place in range(len(images))]
             for side, images in (("a", first), ("b", second))]  # fmt: skip
    paths = [
        write_file(tmp_path / "a.h5", like, first, 8, names=names[0]),
        write_file(tmp_path / "b.h5", like, second, 12, names=names[1]),
    ]
    expected = [image for image in first if image in second]
    wanted = np.stack([np.append(feature_of(i, 8), feature_of(i, 12)) for i in expected])
    with JoinedFeatures(paths) as joined:
        rows, again = FeatureRows(joined, 10**9), FeatureRows(joined, 1)
        np.testing.assert_array_equal(rows[:], wanted)
        np.testing.assert_array_equal(again[1:7], wanted[1:7])
        np.testing.assert_array_equal(again[np.array([5, 0, 5])], wanted[[5, 0, 5]])
        names_left = [n for n, i in zip(names[0], first, strict=True) if i in second]
        assert joined.contents.images.paths == names_left
        assert joined.contents.labels.tolist() == [image % 2 for image in expected]
        for file, images in zip(joined.files, (first, second), strict=True):
            shown = file.probe_pixels[:, 0, 0, 0].tolist()
            assert shown == [image for image in images if image in expected]
            assert [expected[row] for row in file.probe_rows] == shown
        whole = divide_images(FeatureFile(paths[0]).contents, SplitOptions())
        of_path = dict(zip(names[0], whole.splits.tolist(), strict=True))
        division = divide_images(joined.contents, SplitOptions())
        assert division.splits.tolist() == [of_path[name] for name in names_left]


def test_what_is_left_out_is_counted_for_each_file(tmp_path, like):
    a = write_file(tmp_path / "a.h5", like, [*range(1000, 1012), 7, 7])
    b = write_file(tmp_path / "b.h5", like, [*range(1002, 1020), 7], 12)
    c = write_file(tmp_path / "c.h5", like, [*range(1000, 1010), 7], 10)
    with JoinedFeatures([a, b, c]) as joined:
        assert joined.shape == (10, 5 + 2 + 3)  # eight, and an image that is there twice
        assert joined.notes == [
            "Joined: 10 images, 5 + 2 + 3 = 10 features.",
            f"Left out: 4 images of {a} that not all of the other files have.",
            f"Left out: 10 images of {b} that not all of the other files have.",
            f"Left out: 2 images of {c} that not all of the other files have.",
        ]


def test_the_first_image_with_another_label_or_split_is_shown(tmp_path, like):
    images = [*range(1000, 1010)]
    a = write_file(tmp_path / "a.h5", like, images)
    labels = [i % 2 for i in images]
    labels[3], labels[5] = 0, -1
    b = write_file(tmp_path / "b.h5", like, images, 12, labels=labels)
    with pytest.raises(FeatureFileError) as caught:
        JoinedFeatures([a, b])
    assert (
        f"1003.png is of class 'class-1' in {a}, and 1003.png is of class 'class-0' in {b}; it is "
        "the first of 2 such images.\n" in str(caught.value)
    )
    splits = [-1] * 9 + [2]
    c = write_file(tmp_path / "c.h5", like, images, 10, splits=splits)
    with pytest.raises(FeatureFileError) as caught:
        JoinedFeatures([a, c])
    assert (
        f"1009.png is of class 'class-1', in test in {c}; it is the first of 1 such image.\n"
        in (str(caught.value))
    )


def test_classes_are_compared_by_their_names(tmp_path, like):
    images = [*range(1000, 1010)]
    a = write_file(tmp_path / "a.h5", like, images)
    turned = replace(like, class_names=like.class_names[::-1])
    b = write_file(tmp_path / "b.h5", turned, images, 12, labels=[1 - i % 2 for i in images])
    with JoinedFeatures([a, b]) as joined:
        assert joined.contents.labels.tolist() == [i % 2 for i in images]


def test_copies_with_different_labels_meet_by_their_paths(tmp_path, like):
    """As each file alone allows it: the labels of copies are reported, not refused."""
    images, names = [1000, 1001, 7, 7], ["a.png", "b.png", "c.png", "d.png"]
    a = write_file(tmp_path / "a.h5", like, images, labels=[0, 1, 0, 1], names=names)
    turned = write_file(
        tmp_path / "b.h5", like, images[::-1], 12, labels=[1, 0, 1, 0], names=names[::-1]
    )
    with JoinedFeatures([a, turned]) as joined:
        assert joined.contents.labels.tolist() == [0, 1, 0, 1]


def test_files_that_cannot_be_joined_are_refused_with_the_reason(tmp_path, like):
    images = [*range(1000, 1010)]
    a = write_file(tmp_path / "a.h5", like, images)
    same = write_file(tmp_path / "same.h5", like, images)
    other = write_file(tmp_path / "other.h5", like, [*range(2000, 2010)], 12)
    unproven = write_file(tmp_path / "unproven.h5", like, [*images, 3000], 12, probes=[10])
    for files, words in (
        ([a, same], f"have the same recipe, .*\n  {a}\n  {same}"),
        ([a, other], f"Not one image is in all of these files.*{a}.*\n.*{other}"),
        ([a, unproven], "Not one of this file's probe images"),
    ):
        with pytest.raises(FeatureFileError, match=f"(?s){words}"):
            JoinedFeatures(files)


def test_rows_that_are_cached_meet_where_each_recipe_has_one():
    def cached(rows, width, name):
        features = np.array(rows, np.float32)[:, None] + np.arange(width) / 10
        digests = np.array([[row] * 32 for row in rows], np.uint8)
        return CachedRows(np.array(rows), digests, features.astype(np.float32), [Path(name)])

    found = join_cached_rows([cached([4, 1, 9, 2], 2, "a.h5"), cached([2, 9, 7, 4], 1, "b.h5")])
    assert found.rows.tolist() == [2, 4, 9]
    assert found.digests[:, 0].tolist() == [2, 4, 9]
    expected = [[2, 2.1, 2], [4, 4.1, 4], [9, 9.1, 9]]
    np.testing.assert_array_equal(found.features, np.array(expected, np.float32))
    assert found.files == [Path("a.h5"), Path("b.h5")]
    nothing = CachedRows(np.zeros(0, int), np.zeros((0, 32)), np.zeros((0, 0), np.float32), [])
    assert not len(join_cached_rows([cached([1], 2, "a.h5"), nothing]).rows)


def test_several_files_and_join_belong_together(tmp_path, like):
    a = write_file(tmp_path / "a.h5", like, [*range(1000, 1010)])
    with pytest.raises(ParameterError, match=r"`join=True`.* 2 files\n  .*a\.h5\n  .*b\.h5"):
        open_features_to_fit([a, tmp_path / "b.h5"])
    for one in (a, [a], str(a)):
        with pytest.raises(ParameterError, match="Expected two feature files or more with it"):
            open_features_to_fit(one, join=True)
        with open_features_to_fit(one) as file:
            assert isinstance(file, FeatureFile)
