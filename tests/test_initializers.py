"""Initializers: ranges, variances and shapes worked out by hand, seeds, names and configs."""

import math

import numpy as np
import pytest

import fastconv.random
from fastconv import initializers

# Kernel (3, 5, 4, 7): 60 inputs and 105 outputs of a unit.
CONV = (3, 5, 4, 7)
NAMES = (
    "zeros ones constant random_normal random_uniform truncated_normal variance_scaling glorot_uniform "
    "glorot_normal he_uniform he_normal lecun_uniform lecun_normal orthogonal"
).split()


@pytest.mark.parametrize(
    ("shape", "fans"),
    [((), (1, 1)), ((5,), (5, 5)), ((3, 7), (3, 7)), (CONV, (60, 105)), ((2, 0, 7), (0, 14))],
)
def test_fans(shape, fans):
    assert initializers.compute_fans(shape) == fans


def test_fans_of_named_axes():
    assert initializers.compute_fans((2, 3, 5), input_axes=[0, 1], output_axes=[2]) == (6, 5)


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("glorot_uniform", 2 / 165),
        ("glorot_normal", 2 / 165),
        ("he_uniform", 2 / 60),
        ("he_normal", 2 / 60),
        ("lecun_uniform", 1 / 60),
        ("lecun_normal", 1 / 60),
    ],
)
def test_scaled_variances_and_bounds(name, variance):
    initializer = type(initializers.get(name))(seed=3)
    # 5 * 3 * 4 = 60 inputs again, with more samples: (60, 105) as a matrix has the same fans.
    values = initializer((60, 105), "float64")
    assert values.mean() == pytest.approx(0, abs=5 * math.sqrt(variance / values.size))
    assert values.var() == pytest.approx(variance, rel=0.06)
    limit = math.sqrt(3 * variance) if "uniform" in name else 2 * math.sqrt(variance) / 0.8796256610342398
    assert 0.97 * limit < np.abs(values).max() <= limit


def test_conv_kernel_uses_the_receptive_field():
    limit = math.sqrt(6 / 165)
    values = initializers.GlorotUniform(seed=1)(CONV)
    assert values.dtype == np.float32
    assert 0.95 * limit < np.abs(values).max() <= limit


def test_truncated_normal_redraws_what_is_outside():
    values = initializers.TruncatedNormal(mean=1.0, stddev=0.5, seed=2)((200, 50), "float64")
    assert np.abs(values - 1).max() <= 1.0
    assert values.std() == pytest.approx(0.5 * 0.87962566, rel=0.03)


def test_untruncated_normal_has_tails():
    scaling = initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal", seed=4)
    values = scaling((100, 50), "float64")
    assert values.std() == pytest.approx(0.2, rel=0.03)
    assert np.abs(values).max() > 3 * 0.2


def test_random_uniform_range():
    values = initializers.RandomUniform(2.0, 3.0, seed=1)((1000,))
    assert 2 <= values.min() < 2.01
    assert 2.99 < values.max() <= 3


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (2, 3, 5, 7)])
def test_orthogonal(shape):
    values = initializers.Orthogonal(gain=2.0, seed=5)(shape, "float64").reshape(-1, shape[-1])
    gram = values.T @ values if values.shape[0] >= values.shape[1] else values @ values.T
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-12)


def test_orthogonal_needs_a_matrix():
    with pytest.raises(ValueError, match=r"rank 2 or more, not \(3,\)"):
        initializers.Orthogonal()((3,))


def test_constants_and_identity():
    np.testing.assert_array_equal(initializers.Constant(2.5)((2, 3)), np.full((2, 3), 2.5))
    np.testing.assert_array_equal(initializers.Ones()((2,)), [1, 1])
    np.testing.assert_array_equal(initializers.Zeros()((2,)), [0, 0])
    np.testing.assert_array_equal(initializers.Identity(gain=3)((2, 3)), [[3, 0, 0], [0, 3, 0]])
    with pytest.raises(ValueError, match=r"rank 2, not \(2, 2, 2\)"):
        initializers.Identity()((2, 2, 2))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("zeros", "ones", "constant")])
def test_seeds(name):
    seeded = type(initializers.get(name))(seed=7)
    np.testing.assert_array_equal(seeded((6, 5)), seeded((6, 5)))
    unseeded = initializers.get(name)
    fastconv.random.set_seed(11)
    first, second = unseeded((6, 5)), unseeded((6, 5))
    assert not np.array_equal(first, second)
    fastconv.random.set_seed(11)
    np.testing.assert_array_equal(unseeded((6, 5)), first)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shape_and_dtype(name, dtype):
    values = initializers.get(name)(CONV, dtype)
    assert values.shape == CONV
    assert values.dtype == dtype
    assert values.flags.c_contiguous


@pytest.mark.parametrize("name", [*NAMES, "identity"])
def test_serialization(name):
    config = initializers.serialize(initializers.get(name))
    assert config["module"] == "keras.initializers"
    assert config["registered_name"] is None
    again = initializers.deserialize(config)
    assert type(again) is type(initializers.get(name))
    assert initializers.serialize(again) == config


def test_keras_config():
    assert initializers.serialize(initializers.GlorotUniform(seed=3)) == {
        "module": "keras.initializers",
        "class_name": "GlorotUniform",
        "config": {"seed": 3, "input_axes": None, "output_axes": None},
        "registered_name": None,
    }


def test_get():
    assert initializers.get(None) is None
    assert isinstance(initializers.get("HeNormal"), initializers.HeNormal)
    assert isinstance(initializers.get(initializers.Ones), initializers.Ones)
    ones = initializers.Ones()
    assert initializers.get(ones) is ones
    assert initializers.get(np.full)((2,), 3.0)[1] == 3.0
    given = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(initializers.get(given)((2, 3)), given)
    with pytest.raises(ValueError, match=r"shape \(2, 3\) cannot fill shape \(3, 2\)"):
        initializers.get(given)((3, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: initializers.get("glorot"), "Unknown initializer 'glorot'. Known: .*glorot_uniform"),
        (lambda: initializers.get({"class_name": "os.system", "config": {}}), "Unknown initializer"),
        (lambda: initializers.get({"class_name": "Ones", "config": {"x": 1}}), "'Ones' cannot be made from"),
        (lambda: initializers.get({"class_name": ["Ones"]}), "class_name"),
        (lambda: initializers.VarianceScaling(scale=0), "scale must be positive, not 0"),
        (lambda: initializers.VarianceScaling(mode="fan"), "mode must be"),
        (lambda: initializers.VarianceScaling(distribution="cauchy"), "distribution must be"),
        (lambda: initializers.VarianceScaling(input_axes=[0]), "together"),
        (lambda: initializers.HeNormal(seed=-1), "seed must be a non-negative integer"),
        (lambda: initializers.HeNormal(seed=1.5), "seed must be a non-negative integer"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_not_an_initializer():
    with pytest.raises(TypeError, match="3 cannot serve as initializer"):
        initializers.get(3)
