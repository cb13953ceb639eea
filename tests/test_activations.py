"""Activations: values by hand, derivatives against differences, memory contracts, names and configs."""

import math

import numpy as np
import pytest

from fastconv import activations, layers
from fastconv.models import Sequential

VARIANTS = [
    activations.ReLU(negative_slope=0.1),
    activations.ReLU(max_value=2.0),
    activations.ReLU(negative_slope=0.2, max_value=2.5, threshold=0.75),
    activations.LeakyReLU(negative_slope=0.3),
    activations.ELU(alpha=0.4),
    activations.GELU(approximate=True),
    activations.CELU(alpha=0.7),
    activations.HardShrink(threshold=2),
    activations.SoftShrink(threshold=0.75),
    activations.Threshold(threshold=-1, default_value=-5),
    activations.SquarePlus(b=2),
    activations.Sparsemax(axis=0),
    activations.Softmax(axis=1),
    activations.LogSoftmax(axis=0),
]
ALL = [*(act for act in activations._DEFAULTS.values() if act.keeps_shape), *VARIANTS]
IDS = [f"{act.name}{act.get_config() or ''}" for act in ALL]
# Points at which some derivative jumps.
CORNERS = (-3, -1, -0.5, 0, 0.5, 0.75, 1, 2, 2.5, 3, 6)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def smooth_points(rng, shape):
    x = rng.normal(0, 3, shape)
    for corner in CORNERS:
        x[np.abs(x - corner) < 1e-3] += 0.01
    return x


@pytest.mark.parametrize("act", ALL, ids=IDS)
def test_backward_is_the_derivative(act, rng):
    x = smooth_points(rng, (5, 3, 4))
    grad = rng.normal(size=x.shape)
    y = act.forward(x, np.empty_like(x))
    got = act.backward(grad, y, x if act.needs_input else None, np.full_like(x, np.nan))
    want = np.empty_like(x)
    step = 1e-6
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        difference = act.forward(up, np.empty_like(x)) - act.forward(down, np.empty_like(x))
        want[index] = (grad * difference).sum() / (2 * step)
    np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("act", ALL, ids=IDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_contract(act, dtype, rng):
    """Working in place and writing into strided views give the same bits as new arrays."""
    x = smooth_points(rng, (5, 3, 4)).astype(dtype)
    grad = rng.normal(size=x.shape).astype(dtype)
    kept = x.copy(), grad.copy()
    y = act.forward(x, np.full_like(x, np.nan))
    passed = x if act.needs_input else None
    dx = act.backward(grad, y, passed, np.full_like(x, np.nan))
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(grad, kept[1])
    assert y.dtype == dx.dtype == dtype

    in_place = x.copy()
    assert act.forward(in_place, in_place) is in_place
    np.testing.assert_array_equal(in_place, y)
    in_place = grad.copy()
    assert act.backward(in_place, y, passed, in_place) is in_place
    np.testing.assert_array_equal(in_place, dx)

    wide = np.full((5, 3, 9), np.nan, dtype)
    act.forward(x, wide[..., 1::2])
    np.testing.assert_array_equal(wide[..., 1::2], y)
    assert np.isnan(wide[..., 0::2]).all()
    act.backward(grad, y, passed, wide[..., 1::2])
    np.testing.assert_array_equal(wide[..., 1::2], dx)


@pytest.mark.parametrize("act", ALL, ids=IDS)
def test_nan_stays(act):
    x = np.array([[1.0, np.nan], [np.nan, -1.0]], np.float32)
    y = act.forward(x, np.zeros_like(x))
    assert np.isnan(y[0, 1])
    assert np.isnan(y[1, 0])


@pytest.mark.parametrize("act", ALL, ids=IDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_inputs(act, dtype):
    """Neither overflow warnings nor NaN, except for exp itself, whose value is infinite."""
    x = np.array([[-1e4, 1e4], [1e4, -1e4], [-200.0, 200.0]], dtype)
    y = act.forward(x, np.empty_like(x))
    assert not np.isnan(y).any()
    assert np.isfinite(y).all() or act is activations.exponential
    if act is not activations.exponential:
        assert np.isfinite(act.backward(np.ones_like(x), y, x, np.empty_like(x))).all()


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("linear", -2.5, -2.5),
        ("relu", -2.0, 0.0),
        ("relu", 2.0, 2.0),
        ("relu6", 7.0, 6.0),
        ("leaky_relu", -2.0, -0.4),
        ("elu", -1.0, math.exp(-1) - 1),
        ("selu", 2.0, 2 * 1.0507009873554805),
        ("selu", -1.0, 1.0507009873554805 * 1.6732632423543772 * (math.exp(-1) - 1)),
        ("sigmoid", 1.0, 1 / (1 + math.exp(-1))),
        ("tanh", 0.5, math.tanh(0.5)),
        ("softplus", 1.0, math.log(1 + math.e)),
        ("softsign", -3.0, -0.75),
        ("exponential", 2.0, math.exp(2)),
        ("hard_sigmoid", 1.5, 0.75),
        ("celu", -1.0, math.exp(-1) - 1),
        ("hard_tanh", -1.5, -1.0),
        ("hard_shrink", 0.4, 0.0),
        ("hard_shrink", -0.6, -0.6),
        ("soft_shrink", -0.6, -0.1),
        ("threshold", -0.1, 0.0),
        ("sparse_plus", 0.5, 0.5625),
        ("sparse_plus", 3.0, 3.0),
        ("sparse_sigmoid", 0.5, 0.75),
        ("squareplus", 1.5, 2.0),
        ("log_sigmoid", -1.0, -math.log(1 + math.e)),
        ("tanh_shrink", 0.5, 0.5 - math.tanh(0.5)),
        ("hard_sigmoid", -4.0, 0.0),
        ("silu", 2.0, 2 / (1 + math.exp(-2))),
        ("swish", -1.0, -1 / (1 + math.e)),
        ("hard_silu", 1.5, 1.125),
        ("hard_swish", 4.0, 4.0),
        ("gelu", 1.0, 0.5 * (1 + math.erf(math.sqrt(0.5)))),
        ("mish", 1.0, math.tanh(math.log(1 + math.e))),
    ],
)
def test_values_by_hand(name, x, y):
    assert activations.get(name)(np.array([x]))[0] == pytest.approx(y, rel=1e-14, abs=1e-300)


def test_softmax_by_hand():
    x = np.log(np.array([[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]]))
    np.testing.assert_allclose(activations.softmax(x), [[0.125, 0.25, 0.625], [0.375, 0.375, 0.25]], rtol=1e-15)
    np.testing.assert_allclose(activations.softmax(x, axis=0)[:, 0], [0.25, 0.75], rtol=1e-15)
    np.testing.assert_allclose(np.exp(activations.log_softmax(x)), activations.softmax(x), rtol=1e-14)
    # exp(1000) alone would overflow.
    np.testing.assert_allclose(activations.softmax([[1000.0, 1000.0 + math.log(3)]]), [[0.25, 0.75]], rtol=1e-12)


def test_relu_parameters_by_hand():
    x = np.array([-2.0, 0.5, 1.0, 1.5, 9.0])
    got = activations.relu(x, negative_slope=0.1, max_value=3.0, threshold=1.0)
    np.testing.assert_allclose(got, [-0.3, -0.05, 0, 1.5, 3], rtol=1e-15)
    np.testing.assert_array_equal(activations.relu([-np.inf, 2.0], threshold=1.0), [0, 2])


def test_call_makes_a_float_array():
    got = activations.relu([-1, 2])
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [0, 2])
    assert activations.relu(np.zeros(2, np.float64)).dtype == np.float64


@pytest.mark.parametrize("name", activations._NAMES)
def test_names(name):
    act = activations.get(name)
    assert act is getattr(activations, name)
    assert activations.deserialize(activations.serialize(act)) is act
    assert activations.serialize(act) == act.name


@pytest.mark.parametrize("act", VARIANTS, ids=[str(act) for act in VARIANTS])
def test_parameters_survive_serialization(act):
    config = activations.serialize(act)
    again = activations.deserialize(config)
    assert type(again) is type(act)
    assert again.get_config() == act.get_config()


def test_keras_layer_as_activation():
    config = {
        "module": "keras.layers",
        "class_name": "LeakyReLU",
        "config": {"name": "leaky", "trainable": True, "dtype": "float32", "negative_slope": 0.25},
        "registered_name": None,
    }
    assert activations.get(config).negative_slope == 0.25
    assert activations.get({"class_name": "function", "config": "relu"}) is activations.relu


def test_get():
    assert activations.get(None) is activations.linear

    class Squared:
        name = "squared"

        def forward(self, x, out):
            return np.multiply(x, x, out=out)

        def backward(self, grad, y, x, out):
            return np.multiply(grad, 2 * x, out=out)

    squared = Squared()
    assert activations.get(squared) is squared
    assert isinstance(activations.get(Squared), Squared)
    with pytest.raises(TypeError, match=r"forward\(x, out\) and backward\(grad, y, x, out\)"):
        activations.get(np.tanh)
    with pytest.raises(ValueError, match="Unknown activation 'rely'. Known: .*relu"):
        activations.get("rely")


@pytest.mark.parametrize(
    "make",
    [
        lambda: activations.ReLU(negative_slope=-0.1),
        lambda: activations.ReLU(max_value=-1.0),
        lambda: activations.ReLU(threshold=math.nan),
        lambda: activations.ELU(alpha=-1.0),
    ],
)
def test_negative_parameters(make):
    with pytest.raises(ValueError, match="must not be negative"):
        make()


@pytest.mark.parametrize("axis", [-1, 1])
def test_glu_halves_an_axis(axis, rng):
    x = rng.normal(size=(3, 4, 6))
    half = x.shape[axis] // 2
    values, gates = np.split(x, [half], axis)
    want = values / (1 + np.exp(-gates))
    np.testing.assert_allclose(activations.glu(x, axis=axis), want, rtol=1e-12)
    layer = layers.Activation(activations.GLU(axis), dtype="float64")
    assert layer.compute_output_shape((None, 4, 6)) == (None, *want.shape[1:])
    grad = rng.normal(size=want.shape)
    layer(x)
    got, step = layer.backward(grad), 1e-6
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        difference = (activations.glu(up, axis=axis) - activations.glu(down, axis=axis)) / (2 * step)
        np.testing.assert_allclose(got[index], (grad * difference).sum(), rtol=1e-6, atol=1e-8)


def test_glu_in_a_model(rng):
    made = [layers.Input((5,)), layers.Dense(6), layers.Activation("glu"), layers.Dense(2)]
    model = Sequential([*made])
    assert model.layers[1].output_shape == (None, 3)
    model.compile("adam", "mse")
    x, y = rng.normal(size=(16, 5)), rng.normal(size=(16, 2))
    losses = model.fit(x, y, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    again = Sequential.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_glu_is_refused_where_it_does_not_fit():
    with pytest.raises(ValueError, match="Activation.'glu'. behind the Dense"):
        layers.Dense(4, activation="glu")
    with pytest.raises(ValueError, match="must be even"):
        layers.Activation("glu").build((None, 5))
