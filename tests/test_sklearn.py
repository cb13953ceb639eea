"""`CNNClassifier` and `CNNRegressor` as scikit-learn's tools use them.

All of `check_estimator` takes a minute or two: FASTCONV_TEST_EVERYTHING=1.
"""

import os
import pickle

import numpy as np
import pytest

from fastconv import layers, optimizers, random
from fastconv.models import Sequential

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'fastconv[sklearn]'")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from fastconv.sklearn import CNNClassifier, CNNRegressor

FAST = {"epochs": 6, "batch_size": 8, "learning_rate": 0.01, "random_state": 3}
BY_BATCHES = (
    "weights count within a minibatch, and which samples share one differs where samples are left out or repeated"
)


def images(count=40, seed=0):
    """Images that are brighter on one side, which side, and by how much."""
    rng = np.random.default_rng(seed)
    x = rng.random((count, 6, 5))
    right = np.arange(count) % 2 == 0
    x[right, :, 3:] += 1
    x[~right, :, :2] += 1
    return x, np.where(right, "right", "left"), x[:, :, 3:].mean(axis=(1, 2)) - x[:, :, :2].mean(axis=(1, 2))


def tiny(image_shape, outputs):
    return Sequential(
        [
            layers.Input(image_shape),
            layers.Conv2D(2, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(1 if outputs == 2 else outputs, activation="sigmoid" if outputs == 2 else "softmax"),
        ]
    )


@pytest.mark.parametrize("shape", ["images", "channels", "rows"])
def test_a_classifier(shape):
    x, y, _ = images()
    given = {"images": x, "channels": x[..., None], "rows": x.reshape(len(x), -1)}[shape]
    classifier = CNNClassifier(**FAST, image_shape=(6, 5) if shape == "rows" else None)
    assert classifier.fit(given, y) is classifier
    assert classifier.score(given, y) == 1
    assert classifier.classes_.tolist() == ["left", "right"]
    proba = classifier.predict_proba(given)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(classifier.predict(given), classifier.classes_[proba.argmax(axis=1)])
    assert (classifier.n_iter_, len(classifier.history_["loss"])) == (6, 6)
    assert [tuple(weight.shape) for weight in classifier.model_.weights][0] == (3, 3, 1, 16)


def test_the_same_seed_gives_the_same_bits_and_leaves_the_generator_alone():
    x, y, _ = images()
    state = random.generator().bit_generator.state
    one, two = (CNNClassifier(**FAST).fit(x, y).predict_proba(x) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert random.generator().bit_generator.state == state
    other = CNNClassifier(**{**FAST, "random_state": 4}).fit(x, y).predict_proba(x)
    assert (one != other).any()


def test_clone_parameters_and_pickle():
    x, y, _ = images()
    optimizer = optimizers.SGD(0.1, momentum=0.5)
    classifier = CNNClassifier(tiny, optimizer=optimizer, epochs=2, random_state=0)
    again = clone(classifier).set_params(epochs=4)
    assert again.get_params()["epochs"] == 4
    assert again.get_params()["model"] is tiny
    again.fit(x, y)
    assert not optimizer.built
    assert again.model_.output_shape == (None, 1)  # one sigmoid for two classes
    assert again.predict_proba(x).shape == (40, 2)
    kept = pickle.loads(pickle.dumps(again))
    np.testing.assert_array_equal(kept.predict_proba(x), again.predict_proba(x))
    with pytest.raises(NotFittedError):
        classifier.predict(x)


def test_weights():
    x, y, _ = images()
    one_sided = np.where(y == "left", 1e3, 1e-3)
    noise = np.random.default_rng(1).random(x.shape)
    for options, fit in (
        ({}, {"sample_weight": one_sided}),
        ({"class_weight": {"left": 1e3, "right": 1e-3}}, {}),
    ):
        classifier = CNNClassifier(**FAST, **options).fit(noise, y, **fit)
        assert set(classifier.predict(noise)) == {"left"}
    rare = np.where(np.arange(40) < 4, "a", "b")
    balanced = CNNClassifier(**{**FAST, "epochs": 1, "optimizer": "sgd"}, class_weight="balanced").fit(noise, rare)
    plain = CNNClassifier(**{**FAST, "epochs": 1, "optimizer": "sgd"}).fit(noise, rare)
    assert balanced.predict_proba(noise)[:, 0].mean() > plain.predict_proba(noise)[:, 0].mean()


def test_in_searches_and_pipelines():
    x, y, _ = images()
    classifier = CNNClassifier(tiny, **{**FAST, "epochs": 3})
    assert cross_val_score(classifier, x, y, cv=2).shape == (2,)
    search = GridSearchCV(classifier, {"epochs": [1, 12], "optimizer": ["adam"]}, cv=2).fit(x, y)
    assert search.best_params_["epochs"] == 12
    rows = x.reshape(len(x), -1)
    pipeline = make_pipeline(StandardScaler(), CNNClassifier(image_shape=(6, 5, 1), **FAST)).fit(rows, y)
    assert pipeline.score(rows, y) == 1


def test_a_regressor():
    x, _, share = images()
    regressor = CNNRegressor(**{**FAST, "epochs": 25}).fit(x, share)
    assert regressor.predict(x).shape == (40,)
    assert regressor.score(x, share) > 0.8
    both = CNNRegressor(**{**FAST, "epochs": 25}).fit(x, np.stack([share, -share], axis=1))
    assert both.predict(x).shape == (40, 2)
    assert both.score(x, np.stack([share, -share], axis=1)) > 0.8


def test_rescale():
    x, y, _ = images()
    scaled = CNNClassifier(**FAST, rescale=0.5).fit(x, y)
    by_hand = CNNClassifier(**FAST).fit((x.astype(np.float32) * np.float32(0.5)), y)
    np.testing.assert_array_equal(scaled.predict_proba(x), by_hand.predict_proba(x.astype(np.float32) / 2))


def test_what_does_not_fit_is_refused():
    x, y, _ = images()
    with pytest.raises(ValueError, match=r"received X of shape \(40, 30\) and image_shape=\(7, 5\)"):
        CNNClassifier(image_shape=(7, 5)).fit(x.reshape(40, -1), y)
    with pytest.raises(ValueError, match="received X of shape"):
        CNNClassifier().fit(np.zeros((4, 2, 2, 2, 2)), y[:4])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        CNNClassifier().fit(x, y[:5])


@pytest.mark.skipif("FASTCONV_TEST_EVERYTHING" not in os.environ, reason="takes long: FASTCONV_TEST_EVERYTHING=1")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", [CNNClassifier(), CNNRegressor()], ids=lambda estimator: type(estimator).__name__)
def test_every_check_of_scikit_learn(estimator):
    expected = {"check_sample_weight_equivalence_on_dense_data": BY_BATCHES}
    results = check_estimator(estimator, expected_failed_checks=expected, on_fail="raise")
    assert sum(result["status"] == "passed" for result in results) > 50
