"""Labels that are likely wrong."""

from dataclasses import replace

import numpy as np
from audited import make_rows

from benchmarks.stand_in import RECIPE
from pipeline.heads.audit.audit import find_issues
from pipeline.heads.audit.out_of_sample import leave_each_out
from pipeline.heads.audit.wrong_labels import find_wrong_labels

N_FEATURES = 24


def make_data(n_classes=4, n_images=60, seed=0, distance=1.0):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_classes), n_images)
    centers = distance * random.standard_normal((n_classes, N_FEATURES))
    return centers[labels] + random.standard_normal((len(labels), N_FEATURES)), labels


def test_flipped_labels_come_first_with_their_class_and_neighbours_that_speak_for_it():
    features, true = make_data(distance=2.0)
    random = np.random.default_rng(1)
    flipped = random.choice(len(true), 12, replace=False)
    labels = true.copy()
    labels[flipped] = (true[flipped] + random.integers(1, 4, 12)) % 4
    rows = make_rows(features, labels)
    issues, (finding,) = find_wrong_labels(rows)
    found = [issue for issue in issues if issue.row in set(flipped.tolist())]
    assert found == issues[: len(found)]
    assert len(found) >= 11
    assert len(issues) <= 13
    for issue in found:
        assert issue.suggestion == f"class {true[issue.row]}"
        assert len(issue.related) > 0
        assert all(labels[row] == true[issue.row] for row in issue.related)
    scores = [issue.score for issue in issues]
    assert scores == sorted(scores, reverse=True)
    assert finding.n_rows == len(issues)


def test_equal_images_with_the_same_wrong_label_do_not_speak_for_each_other():
    features, true = make_data()
    labels, known = true.copy(), list(range(len(true)))
    for copy in (1, 2, 3):  # four equal images of the first class, all labelled as the second
        features[copy], known[copy] = features[0], 0
    labels[:4] = 1
    issues, _ = find_wrong_labels(make_rows(features, labels, contents_of=known))
    assert {0, 1, 2, 3} <= {issue.row for issue in issues if issue.suggestion == "class 0"}


def test_labels_of_one_class_are_not_looked_at_and_that_is_said():
    audit = find_issues(make_rows(np.random.default_rng(0).random((40, 5)), [0] * 40))
    assert not [issue for issue in audit.issues if issue.kind == "wrong label"]
    assert any(note.startswith("Labels were not looked at") for note in audit.left_out)


def test_a_network_that_was_fine_tuned_on_labels_is_no_judge_of_them():
    tuned = replace(RECIPE, backbone="tuned:efficientnet-lite0")
    said = [
        any("it has learnt them, wrong ones too" in note for note in find_issues(rows).left_out)
        for rows in (make_rows(*make_data(), recipe=tuned), make_rows(*make_data()))
    ]
    assert said == [True, False]


def test_scores_are_those_of_scikit_learn_without_the_image():
    from sklearn.linear_model import Ridge

    features, labels = make_data(3, 10)
    found = leave_each_out(features.astype(np.float32), labels, np.arange(30), 3)
    features = features.astype(np.float32).astype(np.float64)
    targets = np.eye(3)[labels]
    kept = np.arange(30) != 7
    distances = [
        np.abs(
            Ridge(alpha).fit(features[kept], targets[kept]).predict(features[[7]]) - found.scores[7]
        ).max()
        for alpha in np.linalg.norm(features - features.mean(0), 2) ** 2 * np.logspace(-6, 0.5, 100)
    ]
    assert min(distances) < 1e-2  # the strength is the head's own choice
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
