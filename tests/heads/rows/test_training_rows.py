"""Tests of what is asked of rows before a head is fitted: one pass, block by block."""

import numpy as np
import pytest

from pipeline.errors import ParameterError, SplitError
from pipeline.heads.rows import training_rows
from pipeline.heads.rows.training_rows import check_rows, split_rows, survey_rows


@pytest.fixture
def features():
    random = np.random.default_rng(0)
    return (5 + random.standard_normal((1000, 6)) * [1, 2, 3, 1e-5, 1e5, 0]).astype(np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(training_rows, "BLOCK_BYTES", 64 * 4 * 6)


def test_mean_and_spread_are_those_of_all_train_rows_at_once(features):
    is_train = np.arange(1000) % 4 > 0
    is_train[64:192] = False  # blocks without any
    survey = survey_rows(features, is_train)
    rows = features[is_train].astype(np.float64)
    np.testing.assert_allclose(survey.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(survey.spread, rows.std(axis=0), rtol=1e-9, atol=1e-12)


def test_the_sample_is_of_train_rows_all_over_the_file(features, monkeypatch):
    is_train = np.arange(1000) % 4 > 0
    survey = survey_rows(features, is_train)
    np.testing.assert_array_equal(survey.sample, np.flatnonzero(is_train))
    np.testing.assert_array_equal(survey.sample_rows, features[is_train])
    monkeypatch.setattr(training_rows, "SAMPLE_BYTES", 100 * 4 * 6)
    survey = survey_rows(features, is_train)
    assert len(survey.sample) == 100
    assert is_train[survey.sample].all()
    assert (survey.sample[0], survey.sample[-1]) == (1, 999)
    assert np.diff(survey.sample).max() <= 12
    np.testing.assert_array_equal(survey.sample_rows, features[survey.sample])


@pytest.mark.parametrize("row", [0, 63, 64, 999])
def test_a_feature_that_is_no_number_is_named_by_its_row(features, row):
    features[row, 2] = np.nan
    with pytest.raises(ParameterError, match=f"in row {row}$") as caught:
        survey_rows(features, np.ones(1000, bool))
    assert caught.value.parameter == "features"


def test_of_many_classes_without_train_rows_some_are_named(features):
    labels, names = np.zeros(1000, int), [f"c{n}" for n in range(40)]
    with pytest.raises(SplitError, match=r"none of c1, .*, c10 and 29 more\. Add") as caught:
        check_rows(features, labels, np.ones(1000, bool), np.zeros(1000, bool), names)
    assert "c11" not in str(caught.value)


def test_blocks_hold_each_row_once_in_order(features):
    blocks = split_rows(features)
    assert len(blocks) == 16
    np.testing.assert_array_equal(np.concatenate([features[block] for block in blocks]), features)
