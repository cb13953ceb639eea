"""Regularizers and constraints: values by hand, gradients against differences, names and configs."""

import math

import numpy as np
import pytest

from fastconv import constraints, regularizers

X = np.array([[1.0, -2.0, 2.0], [0.0, 3.0, -4.0]])
ALL = [
    regularizers.L1(0.1),
    regularizers.L2(0.2),
    regularizers.L1L2(0.1, 0.3),
    regularizers.OrthogonalRegularizer(0.5),
    regularizers.OrthogonalRegularizer(0.5, mode="columns"),
]


@pytest.mark.parametrize(
    ("regularizer", "penalty"),
    [
        (regularizers.L1(0.5), 6.0),
        (regularizers.L2(0.5), 17.0),
        (regularizers.L1L2(l1=0.5, l2=0.25), 14.5),
        (regularizers.L1L2(), 0.0),
        # Rows (1, -2, 2) / 3 and (0, 3, -4) / 5: cosine -14 / 15, and there is one pair.
        (regularizers.OrthogonalRegularizer(0.3), 0.28),
    ],
)
def test_penalty_by_hand(regularizer, penalty):
    assert regularizer(X) == pytest.approx(penalty, rel=1e-14)
    assert isinstance(regularizer(X.astype(np.float32)), float)


@pytest.mark.parametrize("regularizer", ALL, ids=str)
def test_gradient_is_the_derivative(regularizer):
    x = np.random.default_rng(2).normal(size=(4, 3))
    want, step = np.empty_like(x), 1e-6
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        want[index] = (regularizer(up) - regularizer(down)) / (2 * step)
    np.testing.assert_allclose(regularizer.gradient(x), want, rtol=1e-7, atol=1e-9)
    assert regularizer.gradient(x.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("regularizer", ALL, ids=str)
def test_regularizer_serialization(regularizer):
    config = regularizers.serialize(regularizer)
    assert config["module"] == "keras.regularizers"
    assert regularizers.serialize(regularizers.deserialize(config)) == config


def test_get_regularizer():
    assert regularizers.get(None) is None
    assert regularizers.get("l1").l1 == 0.01
    assert regularizers.get("l2").get_config() == {"l2": 0.01}
    assert regularizers.get("L2").l2 == 0.01
    assert isinstance(regularizers.get("l1l2"), regularizers.L1L2)
    assert regularizers.get("orthogonal_regularizer").mode == "rows"
    with pytest.raises(ValueError, match="Unknown regularizer 'l1_l2'. Known: .*l1l2"):
        regularizers.get("l1_l2")
    with pytest.raises(TypeError, match="gradient"):
        regularizers.get(lambda w: 0.0)


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan, "0.1"])
def test_bad_factor(value):
    with pytest.raises(ValueError, match="l2 must be a finite non-negative number"):
        regularizers.L2(value)


def test_orthogonal_needs_a_matrix():
    with pytest.raises(ValueError, match=r"two rows or more, not \(2, 3, 4\)"):
        regularizers.OrthogonalRegularizer()(np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match="mode must be"):
        regularizers.OrthogonalRegularizer(mode="row")


def norms(w, axis):
    return np.sqrt((w**2).sum(axis=axis))


def test_max_norm():
    w = np.array([[3.0, 0.3], [4.0, 0.4]])
    np.testing.assert_allclose(constraints.MaxNorm(2.5)(w), [[1.5, 0.3], [2.0, 0.4]], rtol=1e-6)
    kernel = np.random.default_rng(0).normal(size=(3, 2, 4, 5))
    assert (norms(constraints.MaxNorm(1.0, axis=[0, 1, 2])(kernel), (0, 1, 2)) <= 1).all()


def test_unit_norm_and_non_neg():
    w = np.array([[3.0, -1.0], [4.0, 0.0]], np.float32)
    got = constraints.UnitNorm()(w)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [[0.6, -1], [0.8, 0]], rtol=1e-6)
    np.testing.assert_array_equal(constraints.NonNeg()(w), [[3, 0], [4, 0]])
    np.testing.assert_array_equal(constraints.UnitNorm()(np.zeros((2, 2))), 0)


def test_min_max_norm():
    w = np.array([[3.0, 0.3], [4.0, 0.4]])
    got = constraints.MinMaxNorm(1.0, 3.0, rate=0.5)(w)
    np.testing.assert_allclose(norms(got, 0), [4.0, 0.75], rtol=1e-6)


@pytest.mark.parametrize("name", ["max_norm", "min_max_norm", "non_neg", "unit_norm", "MaxNorm"])
def test_constraint_serialization(name):
    config = constraints.serialize(constraints.get(name))
    assert config["module"] == "keras.constraints"
    assert constraints.serialize(constraints.deserialize(config)) == config


def test_get_constraint():
    assert constraints.get(None) is None
    assert constraints.get(np.abs) is np.abs
    with pytest.raises(ValueError, match="Unknown constraint 'maxnorm'"):
        constraints.get("maxnorm")
    with pytest.raises(TypeError, match="cannot serve as constraint"):
        constraints.get(2.0)
