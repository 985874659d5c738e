"""FrozenFeatures: scikit-learn's tools work with images, and no image is embedded twice."""

import warnings

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import frostline
from pipeline.classifier import frozen_features
from pipeline.errors import BackboneError, DatasetError, ParameterError

# Those that feed no table of numbers to it, which are no images.
CHECKS = (
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_valid_tag_types",
    "check_do_not_raise_errors_in_init_or_set_params",
)


@pytest.fixture
def embedded(monkeypatch):
    """Counts of the images that a network was asked for, one for each call."""
    counts = []
    real = frozen_features.embed_files

    def count(batch, *rest):
        counts.append(len(batch))
        return real(batch, *rest)

    monkeypatch.setattr(frozen_features, "embed_files", count)
    return counts


def make(**changes):
    return frostline.FrozenFeatures("efficientnet-lite0", image_size=32, **changes)


@pytest.fixture
def images(extracted):
    paths = sorted((extracted / "photos").rglob("*.png"))
    return paths, [path.parent.name for path in paths]


def test_features_are_those_of_extract_whatever_form_an_image_comes_in(images, extracted):
    paths, _ = images
    expected, _, _ = frostline.features(extracted / "features.h5").arrays()
    tolerance = 1e-5 * np.abs(expected).max()
    forms = [
        *(paths[0], str(paths[1]), paths[2].read_bytes()),
        *(Image.open(paths[3]), np.asarray(Image.open(paths[4]))),
    ]
    found = make().fit_transform(forms)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected[:5], atol=tolerance)


def test_rows_of_a_feature_file_are_taken_and_nothing_is_computed(images, extracted, embedded):
    paths, _ = images
    expected, _, _ = frostline.features(extracted / "features.h5").arrays()
    transformer = make(cache=extracted)
    np.testing.assert_array_equal(transformer.fit_transform(paths[::-1]), expected[::-1])
    assert embedded == []
    names = transformer.get_feature_names_out()
    assert (len(names), names[1]) == (1280, "efficientnet-lite0_1")


def test_a_grid_search_over_images_embeds_each_once(images, embedded):
    paths, labels = images
    pipeline = make_pipeline(make(), RidgeClassifier())
    grid = {"ridgeclassifier__alpha": [0.1, 10.0]}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(paths, labels)
    assert search.best_score_ > 0.9
    assert sum(embedded) == len(paths)
    # Another object, in another process too, finds the rows in the folder.
    found = cross_val_predict(clone(pipeline), np.array(list(map(str, paths))), labels, cv=3)
    assert np.mean(found == np.array(labels)) > 0.9
    assert sum(embedded) == len(paths)


def test_equal_images_are_embedded_once_and_other_parameters_have_other_rows(images, embedded):
    paths, _ = images
    found = make().fit_transform([paths[0], paths[0].read_bytes(), paths[0]])
    np.testing.assert_array_equal(found, found[[0, 0, 0]])
    assert sum(embedded) == 1
    Image.open(paths[0]).resize((40, 16)).save("wide.png")
    stretched, padded = (make(resize=how).fit_transform(["wide.png"]) for how in ("stretch", "pad"))
    assert np.abs(stretched - padded).max() > 1e-3 * np.abs(stretched).max()


def test_an_image_that_cannot_be_used_is_named(images, tmp_path):
    paths, _ = images
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DatasetError) as caught:
        make().fit([paths[0], tmp_path / "bad.png", tmp_path / "missing.png"])
    assert "missing.png" in str(caught.value)
    with pytest.raises(DatasetError, match=r"1 of 2 images cannot be used.*bad\.png"):
        make().fit([paths[0], tmp_path / "bad.png"])


def test_what_makes_no_sense_is_named_by_fit(images):
    paths, _ = images
    with pytest.raises(ParameterError, match="`images` to be paths, bytes of image files"):
        make().fit(np.ones((3, 4)))
    with pytest.raises(ParameterError, match="one image or more"):
        make().fit([])
    with pytest.raises(ParameterError, match="`resize` to be one of stretch, crop, pad"):
        make(resize="squeeze").fit(paths[:1])
    with pytest.raises(BackboneError):
        frostline.FrozenFeatures("nothing-of-the-kind").fit(paths[:1])


@pytest.mark.parametrize("name", CHECKS)
def test_it_passes_the_checks_of_scikit_learn_that_feed_it_nothing(name):
    getattr(estimator_checks, name)("FrozenFeatures", make())


def test_it_says_by_its_tags_that_it_takes_no_tables():
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        mark = parametrize_with_checks([make()])
    assert mark.args[1] is not None
    assert not make().__sklearn_tags__().input_tags.two_d_array
