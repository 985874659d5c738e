"""An image's split for ever: through extractions in which others come, go and are renamed."""

import hashlib
from dataclasses import replace

import h5py
import numpy as np
import pytest
from conftest import call, make_photos, save_image
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.stand_in import extract
from benchmarks.synthetic_features import write_synthetic_features
from pipeline.errors import FeatureFileError
from pipeline.features.enter_images import enter_images
from pipeline.features.entries import LabelledImages
from pipeline.features.feature_file import Contents, FeatureFile, ImageTable
from pipeline.features.file_stamps import no_stamps
from pipeline.features.options import SplitOptions
from pipeline.features.split_rows import divide_images
from pipeline.images.splits import TEST, TRAIN, VAL
from pipeline.system.sealed_hdf5 import seal_again, write_sealed

CLASSES = ["a", "b", "c"]
N_FIXED, N_FLOATING, N_STEPS = 24, 14, 4
# Of an image that comes and goes: its class (3 = no label yet) and a part of its name.
STATES = st.none() | st.tuples(st.integers(0, 3), st.sampled_from(["", "-new", "-moved"]))
HISTORIES = st.lists(
    st.lists(STATES, min_size=N_FLOATING, max_size=N_FLOATING), min_size=2, max_size=N_STEPS
)
OPTIONS = st.builds(
    SplitOptions,
    val_fraction=st.floats(0.02, 0.2),
    test_fraction=st.sampled_from([0.0, 0.05, 0.2]),
    seed=st.integers(0, 2**32 - 1),
)


NAMINGS = st.lists(  # of images in one extraction: digest, class (-1 = none), split that is given
    st.tuples(st.integers(0, 4), st.integers(-1, 2), st.sampled_from([-1, -1, -1, 1])), max_size=9
)


def _name(images, class_names) -> LabelledImages:
    digests = np.array([[number] * 32 for number, _, _ in images], np.uint8).reshape(-1, 32)
    labels = np.array([label for _, label, _ in images], np.int32)
    splits = np.array([split for _, _, split in images], np.int8)
    return LabelledImages([*map(str, range(len(images)))], digests, labels, splits, class_names)


def _enter_one_by_one(now, images, class_names, known):
    """As a person would: (digest, class) of each, and `known` with what is new in it."""
    names = [None if label < 0 else class_names[label] for _, label, _ in images]
    before = {digest for digest, _ in known}
    for (digest, label, split), name in zip(images, names, strict=True):
        if label >= 0 and split < 0 and digest not in before:
            known.setdefault((digest, name), now)
    came_as = {digest: [n for d, n in known if d == digest] for digest, _, _ in images}
    return [
        (digest, name if name in came_as[digest] else min(came_as[digest], default=None))
        for (digest, _, _), name in zip(images, names, strict=True)
    ]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAMINGS, st.permutations("abc")), min_size=1, max_size=4))
def test_an_image_keeps_the_class_and_the_time_in_which_it_came(history):
    entries, before, known = None, None, {}
    for now, (images, class_names) in enumerate(history):
        found = _name(images, class_names)
        entries, before = enter_images(found, now, entries, before), found
        came = _enter_one_by_one(now, images, class_names, known)
        is_in = entries.classes >= 0
        assert [
            entries.class_names[number] if number >= 0 else None
            for number in entries.classes.tolist()
        ] == [name for _, name in came]
        assert entries.arrivals[is_in].tolist() == [known[key] for key in came if key in known]
        gone = sorted(known.keys() - set(came))
        assert entries.gone.digests[:, 0].tolist() == [digest for digest, _ in gone]
        assert [entries.class_names[n] for n in entries.gone.classes] == [n for _, n in gone]
        assert entries.gone.arrivals.tolist() == [known[key] for key in gone]


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Contents:
    path = tmp_path_factory.mktemp("template") / "f.h5"
    write_synthetic_features(path, 4, 2, 2)
    with FeatureFile(path) as file:
        return file.contents


def _digest(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def _found(states) -> LabelledImages:
    """What an extraction finds: 24 images that stay as they are, and those of these states."""
    fixed = [(n, n % 3, f"{CLASSES[n % 3]}/fixed{n}.png") for n in range(N_FIXED)]
    floating = [
        (100 + n, state[0], f"{(*CLASSES, 'unsorted')[state[0]]}/p{n % 5}-{n}{state[1]}.png")
        for n, state in enumerate(states)
        if state is not None
    ]
    images = sorted([*fixed, *floating], key=lambda image: image[2])
    labels = np.array([label if label < 3 else -1 for _, label, _ in images], np.int32)
    return LabelledImages(
        [path for _, _, path in images],
        np.frombuffer(b"".join(_digest(n) for n, _, _ in images), np.uint8).reshape(-1, 32),
        labels,
        np.full(len(images), -1, np.int8),
        CLASSES,
    )


def _extract_all(template, history) -> list[Contents]:
    """What the feature file says after each extraction."""
    contents, entries, before = [], None, None
    for now, states in enumerate(history):
        found = _found(states)
        entries = enter_images(found, now, entries, before)
        n = len(found.paths)
        zeros = np.zeros(n, np.int64)
        contents.append(
            replace(
                template,
                images=ImageTable(found.paths, found.digests, zeros, zeros, no_stamps(n)),
                labels=found.labels,
                splits=found.splits,
                arrivals=zeros,
                class_names=CLASSES,
                entries=entries,
                split_rule="exact",
            )
        )
        before = found
    return contents


def _splits_of(contents, options):
    splits = divide_images(contents, options).splits.tolist()
    keys = map(bytes, contents.images.digests)
    return {key: split for key, split in zip(keys, splits, strict=True) if split >= 0}


@settings(max_examples=60, deadline=None, database=None)
@given(HISTORIES, OPTIONS, st.sampled_from([None, r"p\d"]))
def test_no_image_moves_whatever_comes_goes_returns_is_renamed_or_relabelled(
    template, history, options, group_by
):
    options = replace(options, group_by=group_by)
    if group_by and any(all(state is None for state in states) for states in history):
        return  # there is no group to be found
    known: dict[bytes, int] = {}
    for contents in _extract_all(template, history):
        splits = _splits_of(contents, options)
        assert {key: known.get(key, split) for key, split in splits.items()} == splits
        known |= splits


@settings(max_examples=40, deadline=None, database=None)
@given(HISTORIES, OPTIONS)
def test_with_nothing_removed_or_relabelled_each_class_has_its_shares_to_one_image(
    template, history, options
):
    grown, present = [], [None] * N_FLOATING
    for states in history:
        present = [old or new for old, new in zip(present, states, strict=True)]
        grown.append([state and (state[0] % 3, state[1]) for state in present])
        present = grown[-1]
    for contents in _extract_all(template, grown):
        division = divide_images(contents, options)
        for label in range(3):
            held = division.splits[contents.labels == label].tolist()
            assert abs(held.count(VAL) - options.val_fraction * len(held)) < 1
            assert abs(held.count(TEST) - options.test_fraction * len(held)) < 1
            assert held.count(TRAIN) >= (1 - options.val_fraction - options.test_fraction) * len(
                held
            ) - (2 if options.test_fraction else 1)


def _divide_file(path, **options):
    with FeatureFile(path) as file:
        splits = divide_images(file.contents, SplitOptions(test_fraction=0.2, **options)).splits
        digests = map(bytes, file.contents.images.digests)
        return dict(zip(digests, splits.tolist(), strict=True))


def test_through_extractions_and_prune_no_image_moves(tmp_path):
    """Pictures are removed, pruned, put back, added, renamed, and a class is taken apart."""
    photos, target = make_photos(tmp_path / "photos", n_per_class=12), tmp_path / "f.h5"
    extract(photos, target)
    before = [_divide_file(target, seed=seed) for seed in range(8)]

    def require_the_same():
        for seed, splits in enumerate(before):
            after = _divide_file(target, seed=seed)
            assert {key: after[key] for key in after.keys() & splits.keys()} == {
                key: splits[key] for key in after.keys() & splits.keys()
            }

    kept = {path: path.read_bytes() for path in sorted((photos / "red").glob("*.png"))[:5]}
    for path in kept:
        path.unlink()
    extract(photos, target)
    require_the_same()
    extract(photos, target, prune=True)
    with FeatureFile(target) as file:
        assert len(file.contents.retired) == 0
        gone = file.contents.entries.gone
        assert sorted(gone.paths) == [f"red/{n:03d}.png" for n in range(5)]
    require_the_same()
    for number in range(9):
        save_image(photos / "green" / f"more{number}.png", 7000 + number)
    extract(photos, target)
    require_the_same()
    for path, data in kept.items():
        path.write_bytes(data)
    (photos / "azure").mkdir()
    for path in sorted((photos / "blue").glob("*.png"))[:6]:
        path.rename(photos / "azure" / f"renamed-{path.name}")
    extract(photos, target)
    require_the_same()
    assert set(before[0]) <= set(_divide_file(target))


def test_image_that_gets_its_label_later_is_divided_then_and_moves_none(tmp_path):
    photos, target = make_photos(tmp_path / "photos", n_per_class=10), tmp_path / "f.h5"
    rows = [f"{path.relative_to(photos)},{path.parent.name}" for path in photos.rglob("*.png")]
    waiting = [row.split(",")[0] + "," for row in rows[::5]]
    labelled = [row for number, row in enumerate(rows) if number % 5]
    (photos / "labels.csv").write_text("path,label\n" + "\n".join([*labelled, *waiting]) + "\n")
    extract(photos / "labels.csv", target)
    before = _divide_file(target)
    assert sorted(before.values()).count(-1) == len(waiting)
    (photos / "labels.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    extract(photos / "labels.csv", target)
    after = _divide_file(target)
    assert {key: after[key] for key, split in before.items() if split >= 0} == {
        key: split for key, split in before.items() if split >= 0
    }
    assert min(after.values()) >= 0
    for split in (VAL, TEST):
        assert abs(list(after.values()).count(split) - 0.2 * 30) < 3


def test_a_class_whose_validation_images_are_removed_is_named_and_nothing_moves(tmp_path):
    photos, target = make_photos(tmp_path / "photos", n_per_class=10), tmp_path / "f.h5"
    extract(photos, target)
    with FeatureFile(target) as file:
        paths = file.contents.images.paths
        splits = divide_images(file.contents, SplitOptions()).splits
    for path, split in zip(paths, splits, strict=True):
        if split == VAL and path.startswith("red/"):
            (photos / path).unlink()
    extract(photos, target)
    outcome = call("fit-head", target, "--C", 1, "--output", tmp_path / "run")
    assert outcome.exit_code == 0, outcome.stderr
    assert "No val image is left of 'red': those that were are gone" in outcome.stderr
    assert "try another --seed" in outcome.stderr
    lines = (tmp_path / "run/predictions.csv").read_text().splitlines()[1:]
    after = {line.split(",")[0]: line.split(",")[1] for line in lines}
    names = ("train", "val", "test")
    expected = {path: names[s] for path, s in zip(paths, splits, strict=True) if path in after}
    assert after == expected


def test_feature_file_of_0_1_0_keeps_its_rule_unless_the_new_one_is_asked_for(tmp_path):
    """As 0.1.0 wrote it: without a rule and without entries; then brought up to date."""
    photos, target = make_photos(tmp_path / "photos", n_per_class=20), tmp_path / "f.h5"
    extract(photos, target)

    def copy(file, output):
        del output
        with h5py.File(target) as source:
            for name in source:
                if name != "entry":
                    source.copy(name, file)
            for name, value in source.attrs.items():
                if name not in ("tables_sha256", "split_rule"):
                    file.attrs[name] = value

    old = tmp_path / "old.h5"
    write_sealed(old, copy)
    by_chance = _divide_file(target, split_rule="chance", seed=3)
    assert _divide_file(old, seed=3) == by_chance
    assert _divide_file(old, seed=3, split_rule="exact") == _divide_file(target, seed=3)
    assert by_chance != _divide_file(target, seed=3)
    save_image(photos / "red/new.png", 9000)
    extract(photos, old)
    after = _divide_file(old, seed=3)
    assert {key: after[key] for key in by_chance} == by_chance
    exact = _divide_file(old, seed=3, split_rule="exact")
    assert {key: exact[key] for key in by_chance} == _divide_file(target, seed=3)


WRONG_ENTRIES = {
    "entry/class": (np.full(24, 7, np.int32), "a class in entry has no name"),
    "entry/arrival": (np.zeros(23, np.int32), r"should be int32 \[n_samples\], here \[24\]"),
    "entry/gone/digest": (np.zeros((2, 32), np.uint8), r"'entry/gone/(class|digest)' should be "),
    "entry/gone/class": (np.zeros(0, np.float32), "should be int32"),
}


@pytest.mark.parametrize("name", [*WRONG_ENTRIES, "never", "split_rule"])
def test_entries_that_make_no_sense_are_said_to_be_damaged(name, photos, tmp_path):
    extract(photos, target := tmp_path / "f.h5")
    with h5py.File(target, "r+") as file:
        if name == "split_rule":
            file.attrs[name], words = "tomorrow's", "one of exact, chance"
        elif name == "never":
            words = "an image that is to be divided is missing in entry"
            for column in ("entry/class", "entry/arrival"):
                file[column][3] = -1
        else:
            values, words = WRONG_ENTRIES[name]
            del file[name]
            file[name] = values
    seal_again(target)
    with pytest.raises(FeatureFileError, match=words):
        FeatureFile(target)
