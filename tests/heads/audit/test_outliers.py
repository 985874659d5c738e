"""Images of something else."""

import numpy as np
from audited import make_rows

from pipeline.heads.audit.outliers import find_fence, find_outliers


def make_crowd(random, n_images):
    """Features of one kind of images: a few directions, and noise."""
    directions = random.standard_normal((6, 60))
    inner = random.standard_normal((n_images, 6)) @ directions
    return np.maximum(inner + 0.5 * random.standard_normal((n_images, 60)) + 2, 0)


def test_images_of_something_else_come_first_and_few_others_are_listed():
    crowd = make_crowd(np.random.default_rng(0), 300)
    other = make_crowd(np.random.default_rng(1), 300)[[5, 50]]
    features = np.vstack([crowd, other])
    issues, (finding,) = find_outliers(make_rows(features, np.zeros(302)))
    assert {issue.row for issue in issues[:2]} == {300, 301}
    assert len(issues) <= 2 + 0.03 * 300
    assert finding.n_rows == len(issues)
    assert all(0 < issue.score < 1 for issue in issues)


def test_equal_copies_of_an_image_are_no_company():
    crowd = make_crowd(np.random.default_rng(0), 200)
    other = np.repeat(make_crowd(np.random.default_rng(1), 9)[[5]], 5, axis=0)
    known = [*range(200), *[200] * 5]
    issues, _ = find_outliers(
        make_rows(np.vstack([crowd, other]), np.zeros(205), contents_of=known)
    )
    assert {200, 201, 202, 203, 204} <= {issue.row for issue in issues[:5]}


def test_the_fence_is_set_on_the_logarithm():
    values = np.exp(np.random.default_rng(0).standard_normal(100_000))
    usual, far = find_fence(values)
    # Quartiles of a normal distribution are at 0.6745 deviations: the fence is at three times that.
    assert abs(np.log(usual)) < 0.02
    assert abs(np.log(far) - 3 * 0.6745) < 0.03
