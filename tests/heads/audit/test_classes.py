"""What an audit says of whole classes, and of splits."""

import numpy as np
import pytest
from audited import make_rows

from pipeline.heads.audit.classes.alike import find_alike_classes
from pipeline.heads.audit.classes.small import find_small_classes
from pipeline.heads.audit.classes.two_groups import find_two_groups
from pipeline.heads.audit.unlike_splits import compare_ranks, find_unlike_splits

N_FEATURES = 48


def make_classes(random, n_classes, n_images, distance):
    """Clouds of skewed, correlated features, as pooled layers have them."""
    mixing = random.standard_normal((N_FEATURES, N_FEATURES)) / np.sqrt(N_FEATURES)
    centers = distance * random.standard_normal((n_classes, N_FEATURES))
    labels = np.repeat(np.arange(n_classes), n_images)
    inner = centers[labels] + random.standard_normal((len(labels), N_FEATURES))
    return np.maximum(inner @ mixing + 0.3, 0).astype(np.float32), labels


def test_two_classes_that_are_one_are_named_and_no_others():
    random = np.random.default_rng(0)
    features, labels = make_classes(random, 3, 120, 1.5)
    one = np.flatnonzero(labels == 2)
    labels[random.permutation(one)[:60]] = 3  # the third class is given two names at random
    _, findings = find_alike_classes(make_rows(features, labels))
    assert [finding.heading for finding in findings] == [
        "class 2 and class 3 can hardly be told apart"
    ]
    assert set(labels[list(findings[0].rows)].tolist()) <= {2, 3}


def test_of_many_pairs_that_are_alike_five_are_told_of_and_the_others_are_summed_up():
    random = np.random.default_rng(4)
    features = random.standard_normal((600, 8)).astype(np.float32)
    labels = random.integers(0, 5, 600).astype(np.int32)  # names that mean nothing: ten pairs
    _, findings = find_alike_classes(make_rows(features, labels))
    assert [finding.heading for finding in findings[5:]] == [
        "5 further pairs of classes can hardly be told apart"
    ]
    told = [finding.heading for finding in findings[:5]]
    pairs = {f"class {a} and class {b}" for a in range(5) for b in range(a + 1, 5)}
    first = {heading.removesuffix(" can hardly be told apart") for heading in told}
    assert first | set(findings[5].text.removesuffix(".").split("; ")) == pairs


def test_of_few_images_nothing_is_claimed():
    random = np.random.default_rng(1)
    features, labels = make_classes(random, 1, 12, 1)
    labels[:6] = 1
    assert find_alike_classes(make_rows(features, labels)) == ([], [])


def test_a_class_of_two_things_is_told_of_and_its_groups_are_shown_apart():
    random = np.random.default_rng(2)
    features, things = make_classes(random, 4, 100, 1.5)
    labels = np.minimum(things, 2)  # the third class is two things
    rows = make_rows(features, labels)
    _, (finding,) = find_two_groups(rows)
    assert finding.heading == "class 2 is two groups"
    assert len(set(things[list(finding.rows[:6])].tolist())) == 1
    assert len(set(things[list(finding.rows)].tolist())) == 2


@pytest.mark.parametrize("tail", ["normal", "long", "skewed"])
def test_classes_of_one_thing_are_not_called_two_groups(tail):
    random = np.random.default_rng(3)
    drawn = {
        "normal": random.standard_normal,
        "long": lambda shape: random.standard_t(3, shape),
        "skewed": lambda shape: random.exponential(size=shape),
    }[tail]((360, N_FEATURES))
    scale = np.arange(1, N_FEATURES + 1) ** -0.7
    labels = np.repeat(np.arange(6), 60)
    assert find_two_groups(make_rows(drawn * scale, labels)) == ([], [])


def test_small_classes_are_counted_by_different_images():
    labels = np.repeat([0, 1, 2], [200, 200, 14])
    known = [*range(400), *(400 + place % 7 for place in range(14))]
    features = np.random.default_rng(4).standard_normal((414, 4))
    _, (finding,) = find_small_classes(make_rows(features, labels, contents_of=known))
    assert finding.heading == "1 class is too small"
    assert finding.text.startswith("class 2 (7). The median class has 200 different images.")
    assert find_small_classes(make_rows(features[:400], labels[:400])) == ([], [])


def test_a_split_from_elsewhere_is_told_of_and_another_mixture_of_classes_is_not():
    random = np.random.default_rng(5)
    features, labels = make_classes(random, 3, 100, 1.0)
    share = np.array([0.2, 0.4, 0.6])[labels]  # val holds more of the third class
    splits = (random.random(len(labels)) < share).astype(np.int8)
    assert find_unlike_splits(make_rows(features, labels, splits=splits)) == ([], [])
    brighter = features + 0.5 * (splits == 1)[:, None]
    _, (finding,) = find_unlike_splits(make_rows(brighter, labels, splits=splits))
    assert finding.heading == "train and val are unlike"


def test_ranks_within_classes_are_compared_as_scipy_does():
    from scipy.stats import mannwhitneyu

    random = np.random.default_rng(6)
    scores, is_second = random.standard_normal(60), random.random(60) < 0.4
    found = mannwhitneyu(scores[is_second], scores[~is_second], method="asymptotic",
                         use_continuity=False)  # fmt: skip
    area, deviation = compare_ranks(scores, is_second, np.zeros(60, int))
    n_pairs = int(is_second.sum()) * int((~is_second).sum())
    assert area == pytest.approx(found.statistic / n_pairs)
    from scipy.stats import norm

    assert 2 * norm.sf(abs(deviation)) == pytest.approx(found.pvalue)
