"""Layers: values, gradients, shapes, options, errors."""

import json

import numpy as np
import pytest

from fastconv import activations, config, layers, random
from fastconv.buffers import FRESH, ReusedBuffers
from fastconv.layers import (
    Activation,
    AveragePooling2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    InputLayer,
    Layer,
    MaxPooling2D,
    ReLU,
    Softmax,
)
from fastconv.testing import check_layer
from fastconv.utils import clear_session

FIRST = {"data_format": "channels_first"}


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def distinct(rng, shape, dtype="float32"):
    """Numbers without ties, so that every maximum is one element."""
    return rng.permutation(np.linspace(-1, 1, int(np.prod(shape)))).reshape(shape).astype(dtype)


CASES = {
    "conv": (Conv2D(5, (3, 2)), (2, 7, 6, 3)),
    "conv-strides-same": (Conv2D(4, (2, 3), strides=(1, 2), padding="same", activation="relu"), (2, 6, 7, 3)),
    "conv-dilation-groups": (Conv2D(6, 2, dilation_rate=(2, 3), groups=3, activation="tanh"), (1, 7, 6, 3)),
    "conv-explicit": (Conv2D(3, (2, 3), padding=((1, 0), (2, 1)), use_bias=False), (2, 3, 4, 2)),
    "conv-depthwise": (Conv2D(8, 3, groups=4, padding="same", activation="gelu"), (2, 5, 4, 4)),
    "conv-first": (Conv2D(5, (3, 2), strides=(2, 1), activation="softmax", **FIRST), (2, 3, 7, 6)),
    "conv-penalties": (
        Conv2D(3, 2, kernel_regularizer="l2", bias_regularizer="l1", activity_regularizer="l2", activation="elu"),
        (3, 4, 5, 2),
    ),
    "dense": (Dense(5, activation="sigmoid"), (3, 7)),
    "dense-axes": (Dense(4, use_bias=False, activation="silu", activity_regularizer="l2"), (2, 3, 5)),
    "dense-penalties": (Dense(3, kernel_regularizer="l1l2", bias_regularizer="l2"), (5, 4)),
    "max": (MaxPooling2D((2, 3)), (2, 5, 7, 3)),
    "max-overlap": (MaxPooling2D((3, 2), strides=(2, 1), padding="same"), (2, 6, 5, 3)),
    "max-first": (MaxPooling2D(2, padding="same", **FIRST), (2, 3, 5, 7)),
    "average": (AveragePooling2D((3, 2), strides=(1, 2), padding="same"), (2, 6, 5, 3)),
    "average-first": (AveragePooling2D((2, 3), **FIRST), (1, 3, 5, 7)),
    "flatten": (Flatten(), (3, 4, 5, 2)),
    "flatten-first": (Flatten(**FIRST), (3, 4, 5, 2)),
    "flatten-flat": (Flatten(), (3,)),
    "dropout": (Dropout(0.4), (3, 5)),
    "activation": (Activation("swish"), (3, 4, 2)),
    "activation-config": (Activation(activations.LeakyReLU(0.3)), (3, 4)),
    "relu": (ReLU(max_value=0.8, negative_slope=0.1, threshold=0.05), (4, 6)),
    "softmax": (Softmax(axis=[1, 2]), (2, 3, 4)),
}


@pytest.mark.parametrize("case", CASES)
def test_check_layer(case):
    layer, shape = CASES[case]
    check_layer(layer, shape)


def by_loops(x, w, b, strides, pads, dilation, groups):
    """A convolution written for its definition alone; channels last."""
    (top, bottom), (left, right) = pads
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    R, S, per_group, K = w.shape
    rows = (x.shape[1] - (R - 1) * dilation[0] - 1) // strides[0] + 1
    columns = (x.shape[2] - (S - 1) * dilation[1] - 1) // strides[1] + 1
    y = np.zeros((len(x), rows, columns, K))
    for k in range(K):
        group = k // (K // groups)
        for p in range(rows):
            for q in range(columns):
                window = x[
                    :,
                    p * strides[0] : p * strides[0] + (R - 1) * dilation[0] + 1 : dilation[0],
                    q * strides[1] : q * strides[1] + (S - 1) * dilation[1] + 1 : dilation[1],
                    group * per_group : (group + 1) * per_group,
                ]
                y[:, p, q, k] = (window * w[..., k]).sum(axis=(1, 2, 3)) + b[k]
    return y


@pytest.mark.parametrize(
    ("options", "pads"),
    [
        ({}, ((0, 0), (0, 0))),
        ({"strides": (2, 1), "padding": "same"}, ((0, 1), (0, 1))),  # 8 rows, 6 columns
        ({"dilation_rate": (1, 2), "groups": 2, "padding": "SAME"}, ((1, 1), (1, 1))),
        ({"padding": [[2, 1], [0, 3]], "groups": 4}, ((2, 1), (0, 3))),
    ],
)
def test_conv_values(rng, options, pads):
    layer = Conv2D(8, (3, 2), **options)
    x = rng.standard_normal((2, 8 if options.get("strides") else 7, 6, 4))
    y = layer(x)
    layer.bias.assign(rng.standard_normal(8))
    strides, dilation = options.get("strides", (1, 1)), options.get("dilation_rate", (1, 1))
    expected = by_loops(x, layer.kernel.value, layer.bias.value, strides, pads, dilation, options.get("groups", 1))
    assert y.dtype == np.float32
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_conv_by_hand():
    layer = Conv2D(1, 2, padding="same", bias_initializer="ones")
    layer.build((None, 2, 3, 1))
    layer.kernel.assign(np.reshape([1, 10, 100, 1000], (2, 2, 1, 1)))
    y = layer(np.reshape([1, 2, 3, 4, 5, 6], (1, 2, 3, 1)))
    np.testing.assert_array_equal(y[0, :, :, 0], [[5422, 6533, 604], [55, 66, 7]])
    gx = layer.backward(np.reshape([0, 0, 1, 0, 2, 0], (1, 2, 3, 1)).astype("float32"))
    np.testing.assert_array_equal(gx[0, :, :, 0], [[0, 0, 1], [0, 2, 120]])
    np.testing.assert_array_equal(layer.kernel.gradient[..., 0, 0], [[3 + 2 * 5, 2 * 6], [6, 0]])
    np.testing.assert_array_equal(layer.bias.gradient, [3])


def test_dense_is_a_matrix_product(rng):
    layer = Dense(4, activation="relu", bias_initializer="normal")
    x = rng.standard_normal((3, 5, 2))
    y = layer(x)
    np.testing.assert_allclose(y, np.maximum(x @ layer.kernel.value + layer.bias.value, 0), rtol=1e-5, atol=1e-6)


def test_pooling_by_hand():
    x = np.arange(12.0).reshape(1, 3, 4, 1)
    np.testing.assert_array_equal(MaxPooling2D(2, padding="same")(x)[0, :, :, 0], [[5, 7], [9, 11]])
    np.testing.assert_array_equal(AveragePooling2D(2, padding="same")(x)[0, :, :, 0], [[2.5, 4.5], [8.5, 10.5]])
    layer = MaxPooling2D((1, 3), strides=1)
    np.testing.assert_array_equal(layer(np.reshape([1, 5, 5, 2], (1, 1, 4, 1)))[0, 0, :, 0], [5, 5])
    gx = layer.backward(np.reshape([1, 2], (1, 1, 2, 1)).astype("float32"))
    np.testing.assert_array_equal(gx[0, 0, :, 0], [0, 3, 0, 0])


@pytest.mark.parametrize(
    "make",
    [
        lambda **kw: Conv2D(4, (3, 2), strides=(1, 2), padding="same", activation="relu", **kw),
        lambda **kw: Conv2D(6, 2, groups=3, activation="gelu", **kw),
        lambda **kw: MaxPooling2D((2, 3), strides=(1, 2), padding="same", **kw),
        lambda **kw: AveragePooling2D(2, **kw),
        lambda **kw: Flatten(**kw),
    ],
    ids=["conv", "conv-groups", "max", "average", "flatten"],
)
def test_channels_first_is_channels_last(rng, make):
    x = distinct(rng, (2, 5, 6, 3))
    last, first = make(), make(**FIRST)
    y = last(x)
    y_first = first(x.transpose(0, 3, 1, 2).copy())
    first.set_weights(last.get_weights())
    y_first = first(x.transpose(0, 3, 1, 2).copy())
    gy = rng.standard_normal(y.shape).astype("float32")
    gx = last.backward(gy)
    if y.ndim == 4:
        y_first, gy = y_first.transpose(0, 2, 3, 1), gy.transpose(0, 3, 1, 2).copy()
    np.testing.assert_array_equal(y_first, y)
    np.testing.assert_array_equal(first.backward(gy).transpose(0, 2, 3, 1), gx)
    for a, b in zip(first.weights, last.weights, strict=True):
        np.testing.assert_array_equal(a.gradient, b.gradient)
    assert first.compute_output_shape((None, 3, None, 6))[0] is None


def test_a_channels_first_tensor_is_a_view_of_channels_last_memory(rng):
    y = Conv2D(4, 3, **FIRST)(rng.random((2, 3, 6, 5)))
    assert y.shape == (2, 4, 4, 3)
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    for layer in (Activation("relu"), Dropout(0.5), MaxPooling2D(2, **FIRST)):
        assert layer(y, training=True).transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(Flatten()(y), np.ascontiguousarray(y).reshape(2, -1))


def test_the_default_data_format():
    config.set_image_data_format("channels_first")
    try:
        assert Conv2D(4, 3).compute_output_shape((None, 1, 8, 9)) == (None, 4, 6, 7)
        assert MaxPooling2D().compute_output_shape((None, 1, 8, 9)) == (None, 1, 4, 4)
    finally:
        config.set_image_data_format("channels_last")


def test_shapes_that_are_not_known():
    assert Conv2D(4, 3).compute_output_shape((None, None, 9, 2)) == (None, None, 7, 4)
    assert Conv2D(4, 3, padding="same", strides=2).compute_output_shape((7, None, 9, 2)) == (7, None, 5, 4)
    assert AveragePooling2D().compute_output_shape((None, 5, None, 2)) == (None, 2, None, 2)
    assert Flatten().compute_output_shape((None, None, 2)) == (None, None)
    layer = Conv2D(4, 3)
    layer.build((None, None, None, 2))
    assert layer(np.zeros((1, 5, 4, 2))).shape == (1, 3, 2, 4)
    assert layer(np.zeros((1, 4, 5, 2))).shape == (1, 2, 3, 4)


def test_an_empty_batch():
    for layer, shape in ((Conv2D(2, 3), (0, 5, 5, 1)), (Dense(3), (0, 4)), (MaxPooling2D(), (0, 4, 4, 1))):
        y = layer(np.zeros(shape))
        assert len(y) == 0
        assert layer.backward(y).shape == shape


def test_dropout_in_training(rng):
    random.set_seed(3)
    layer, x = Dropout(0.25), rng.uniform(1, 2, (200, 50)).astype("float32")
    np.testing.assert_array_equal(layer(x), x)
    y = layer(x, training=True)
    kept = y != 0
    assert 0.73 < kept.mean() < 0.77
    np.testing.assert_allclose(y[kept], x[kept] / 0.75, rtol=1e-6)
    gy = rng.uniform(1, 2, x.shape).astype("float32")
    np.testing.assert_allclose(layer.backward(gy), np.where(kept, gy / 0.75, 0), rtol=1e-6)
    assert (layer(x, training=True) != y).any()
    random.set_seed(3)  # from which a layer takes its seed when it is made
    np.testing.assert_array_equal(Dropout(0.25)(x, training=True), y)


def test_dropout_options(rng):
    x = np.ones((6, 4, 3), "float32")
    np.testing.assert_array_equal(Dropout(1)(x, training=True), np.zeros_like(x))
    np.testing.assert_array_equal(Dropout(0)(x, training=True), x)
    random.set_seed(1)
    first = Dropout(0.5, seed=7)(x, training=True)
    np.testing.assert_array_equal(Dropout(0.5, seed=7)(x, training=True), first)
    y = Dropout(0.5, noise_shape=(None, 1, 3), seed=1)(x, training=True)
    assert (y == y[:, :1]).all()
    assert 0 < (y == 0).mean() < 1
    for rate in (-0.1, 1.1, "half", True):
        with pytest.raises(ValueError, match="rate must be a number from 0 to 1"):
            Dropout(rate)
    with pytest.raises(ValueError, match="seed must be an integer or None; received 0.5"):
        Dropout(0.5, seed=0.5)


def test_an_activity_penalty_is_per_sample():
    layer = Dense(2, use_bias=False, kernel_initializer="ones", activity_regularizer="l2")
    layer(np.array([[1.0, 2], [3, 4], [0, 0]]))
    assert layer.losses == pytest.approx([0.01 * (2 * 3**2 + 2 * 7**2) / 3])
    assert layer.output_activation is None
    assert Dense(2, activation="softmax").output_activation == "softmax"
    assert Activation(activations.LeakyReLU(0.3)).output_activation is None


def test_frozen_layers_pay_no_penalty():
    layer = Dense(2, kernel_regularizer="l2", trainable=False)
    layer.build((None, 3))
    assert layer.losses == [] and layer.trainable_weights == []
    assert layer.non_trainable_weights == layer.weights
    layer.trainable = True
    assert len(layer.losses) == 1 and layer.trainable_weights == layer.weights


@pytest.mark.parametrize("name", ["cpu_im2col", "reference"])
def test_algorithms_agree(rng, name):
    x = rng.standard_normal((2, 6, 5, 3)).astype("float32")
    plain, named = Conv2D(4, 3, padding="same"), Conv2D(4, 3, padding="same", algorithm=name)
    y = plain(x)
    named(x)
    named.set_weights(plain.get_weights())
    np.testing.assert_allclose(named(x), y, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(named.backward(y), plain.backward(y), rtol=1e-4, atol=1e-4)
    assert named.get_config()["algorithm"] == name and "algorithm" not in plain.get_config()


def test_an_unknown_algorithm():
    for layer in (Conv2D(2, 3, algorithm="cpu_magic"), MaxPooling2D(algorithm="cpu_magic")):
        with pytest.raises(ValueError, match="no algorithm 'cpu_magic'; there are .*reference"):
            layer.build((None, 5, 5, 1))
        assert not layer.built and layer.weights == []


def test_a_fused_relu_has_the_bits_of_a_separate_one(rng):
    x = rng.standard_normal((2, 6, 5, 3)).astype("float32")
    fused, plain = Conv2D(9, 3, activation="relu"), Conv2D(9, 3)
    y = fused(x)
    plain(x)
    plain.set_weights(fused.get_weights())
    np.testing.assert_array_equal(y, ReLU()(plain(x)))


def test_reused_buffers(rng):
    stack = [Conv2D(3, 2, activation="relu"), MaxPooling2D(), Dropout(0.5), Activation("tanh"), Flatten(), Dense(2)]
    batches = [distinct(rng, (size, 7, 7, 2)) for size in (6, 6, 5)]
    y = batches[0]
    for layer in stack:
        y = layer(y)

    def run(batch, buffers):
        stack[2]._calls = 0  # draw the first mask again
        kept = []
        for layer in stack:
            batch = layer.forward(batch, True, buffers)
            kept.append(batch)
        grad = np.copy(batch)
        for layer in reversed(stack):
            grad = layer.backward(grad, buffers)
        gradients = [weight.gradient.copy() for layer in stack for weight in layer.weights]
        return [*kept, grad], [batch.copy(), grad.copy(), *gradients]

    buffers = ReusedBuffers()
    runs = [run(batch, buffers) for batch in batches]
    for batch, (_, values) in zip(batches, runs, strict=True):
        for got, expected in zip(values, run(batch, FRESH)[1], strict=True):
            np.testing.assert_array_equal(got, expected)
    for first, *others in zip(*(arrays for arrays, _ in runs), strict=True):
        assert all(np.shares_memory(first, other) for other in others)


def test_what_a_caller_gives_is_left_alone(rng):
    x, gy = rng.standard_normal((2, 4, 4, 2)), rng.standard_normal((2, 3, 3, 3)).astype("float32")
    before = x.copy(), gy.copy()
    layer = Conv2D(3, 2, activation="tanh")
    layer(x)
    layer.backward(gy)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(gy, before[1])


def test_inputs_of_all_kinds(rng):
    layer = Conv2D(3, 2)
    x = rng.integers(0, 255, (4, 5, 6, 2), dtype=np.uint8)
    y = layer(x)
    assert y.dtype == np.float32
    read_only = x.astype("float32")
    read_only.flags.writeable = False
    strided = np.repeat(x, 2, axis=1)[:, ::2].astype("float64")
    big_endian = x.astype(">f4")
    for other in (x.tolist(), read_only, strided, big_endian, np.asfortranarray(x)):
        np.testing.assert_array_equal(layer(other), y)
    with pytest.raises(TypeError, match=r'Layer "\w+" \(Conv2D\) takes real numbers; received an array of <U1'):
        layer(np.full((1, 5, 6, 2), "a"))


def test_float64():
    config.set_floatx("float64")
    try:
        layer = Dense(2)
    finally:
        config.set_floatx("float32")
    assert layer(np.ones((1, 3))).dtype == np.float64
    assert Dense(2, dtype=np.float64).dtype == "float64"
    for dtype in ("float16", "int32", {"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}):
        with pytest.raises(ValueError, match="dtype must be"):
            Dense(2, dtype=dtype)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv2D(0, 3), "filters must be a positive integer; received 0"),
        (lambda: Conv2D(2.5, 3), "filters must be a positive integer; received 2.5"),
        (lambda: Conv2D(4, (3, 3, 3)), "kernel_size must be"),
        (lambda: Conv2D(4, 0), "kernel_size must be"),
        (lambda: Conv2D(4, 3, strides=0), "strides must be"),
        (lambda: Conv2D(4, 3, padding="full"), "padding must be"),
        (lambda: Conv2D(4, 3, padding=((1, 2, 3), (1, 2))), "padding must be"),
        (lambda: Conv2D(4, 3, data_format="nhwc"), "data_format must be"),
        (lambda: Conv2D(4, 3, groups=3), "groups must divide filters; received groups=3, filters=4"),
        (lambda: Conv2D(4, 3, strides=(1, 2), dilation_rate=(2, 1)), "strides above 1 or dilation_rate above 1"),
        (lambda: Conv2D(4, 3, activation="rleu"), "rleu"),
        (lambda: Conv2D(4, 3, kernel_size_=2), r"Conv2D does not know the arguments \{'kernel_size_': 2\}"),
        (lambda: Dense(True), "units must be a positive integer"),
        (lambda: MaxPooling2D(0), "pool_size must be"),
        (lambda: ReLU(negative_slope=-1), "negative_slope must not be negative"),
        (lambda: ReLU(threshold=None), "threshold must be a number"),
        (lambda: Dense(2, trainable="yes"), "trainable must be True or False"),
        (lambda: Dense(2, name="a/b"), "name must be a text without"),
        (lambda: Dense(2, input_shape=(0,)), "input_shape must be"),
        (lambda: Dense(2, input_shape=5), "input_shape must be"),
        (lambda: InputLayer(), "needs either shape"),
        (lambda: InputLayer((2,), batch_shape=(1, 2)), "needs either shape"),
        (lambda: InputLayer((2,), sparse=True), "does not support sparse=True"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_inputs():
    layer = Conv2D(4, 3, groups=2, name="first")
    for shape in ((5, 5, 2), (1, 5, 5, 3), (1, 2, 5, 2)):
        with pytest.raises(ValueError, match=r'Layer "first" \(Conv2D\)'):
            layer(np.zeros(shape))
        assert not layer.built
    layer(np.zeros((1, 5, 5, 2)))
    message = r'Layer "first" \(Conv2D\) expects inputs of shape \(None, None, None, 2\); received shape \(1, 5, 5, 4\)'
    with pytest.raises(ValueError, match=message):
        layer(np.zeros((1, 5, 5, 4)))
    with pytest.raises(ValueError, match=message):
        layer.forward(np.zeros((1, 5, 5, 4), "float32"))
    with pytest.raises(ValueError, match="channels must be known"):
        Conv2D(4, 3).build((None, 5, 5, None))
    dense = Dense(3, name="last")
    dense(np.zeros((1, 4)))
    with pytest.raises(ValueError, match=r"expects inputs of shape \(batch, ..., 4\); received shape \(1, 5\)"):
        dense(np.zeros((1, 5)))
    with pytest.raises(ValueError, match="window is larger"):
        MaxPooling2D(3)(np.zeros((1, 2, 5, 1)))


def test_backward_needs_a_forward():
    layer = Dense(3)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        layer.backward(np.zeros((1, 3), "float32"))
    with pytest.raises(RuntimeError, match="must be built first"):
        layer.forward(np.zeros((1, 3), "float32"))
    layer(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"grad must have the output's shape \(2, 3\); received \(1, 3\)"):
        layer.backward(np.zeros((1, 3), "float32"))


def test_only_what_is_needed_is_computed(rng):
    layer = Conv2D(2, 2)
    y = layer(rng.random((1, 3, 3, 1)))
    assert layer.backward(y, need_input_grad=False) is None
    assert layer.kernel.gradient is not None
    other = Dense(2)
    y = other(rng.random((1, 3)))
    assert other.backward(y, need_weight_grad=False).shape == (1, 3)
    assert other.kernel.gradient is None


def test_weights():
    layer = Dense(2, name="d")
    with pytest.raises(ValueError, match=r'Layer "d" \(Dense\) is not built'):
        layer.count_params()
    assert layer.weights == [] and layer.get_weights() == []
    layer.build((None, 3))
    assert [weight.path for weight in layer.weights] == ["d/kernel", "d/bias"]
    assert layer.count_params() == 8
    new = [np.ones((3, 2)), np.ones(2)]
    with pytest.raises(ValueError, match=r"d/bias has shape \(2,\); received shape \(3,\)"):
        layer.set_weights([new[0], np.ones(3)])
    with pytest.raises(ValueError, match="has 2 weights; received 1 arrays"):
        layer.set_weights(new[:1])
    assert (layer.get_weights()[0] != 1).all()
    layer.set_weights(new)
    layer.get_weights()[0][:] = 5
    np.testing.assert_array_equal(layer.kernel.value, new[0])


def test_a_failed_build_leaves_no_weights():
    layer = Dense(2, bias_initializer=np.zeros(5))
    with pytest.raises(ValueError, match="cannot fill shape"):
        layer.build((None, 3))
    assert not layer.built and layer.weights == []


def test_names():
    clear_session()
    assert [Conv2D(1, 1).name, Conv2D(1, 1).name, MaxPooling2D().name] == ["conv2d", "conv2d_1", "max_pooling2d"]
    assert [ReLU().name, AveragePooling2D().name, InputLayer((1,)).name] == [
        "re_lu",
        "average_pooling2d",
        "input_layer",
    ]
    clear_session()
    layer = Conv2D(10, kernel_size=(3, 3))
    assert repr(layer) == "<Conv2D name=conv2d, built=False>"
    assert (layer.input_shape, layer.output_shape) == (None, None)
    assert repr(Dense(2, name="out")) == "<Dense name=out, built=False>"


def test_the_declared_input_shape():
    assert Conv2D(1, 1, input_shape=[28, None, 1]).declared_input_shape == (None, 28, None, 1)
    assert Dense(1, input_dim=5).declared_input_shape == (None, 5)
    assert Dense(1, batch_input_shape=(7, 5)).declared_input_shape == (7, 5)
    assert layers.Input((28, 28, 1)).shape == (None, 28, 28, 1)
    assert layers.Input(batch_shape=(3, 4)).shape == layers.Input((4,), batch_size=3).shape


def test_configs_are_keras_configs():
    layer = Conv2D(4, 3, activation="relu", padding="same", kernel_regularizer="l2", name="c")
    described = json.loads(json.dumps(layers.serialize(layer)))
    assert (described["module"], described["class_name"]) == ("keras.layers", "Conv2D")
    expected = {
        "filters": 4,
        "kernel_size": [3, 3],
        "strides": [1, 1],
        "padding": "same",
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
        "groups": 1,
        "activation": "relu",
        "use_bias": True,
        "bias_regularizer": None,
        "name": "c",
        "trainable": True,
    }
    assert expected.items() <= described["config"].items()
    assert described["config"]["dtype"]["config"] == {"name": "float32"}
    assert described["config"]["kernel_regularizer"]["class_name"] == "L2"
    assert "build_config" not in described
    layer.build((None, 5, 5, 1))
    assert layers.serialize(layer)["build_config"] == {"input_shape": (None, 5, 5, 1)}
    twin = layers.deserialize(described)
    assert isinstance(twin, Conv2D) and twin.get_config() == layer.get_config()
    assert isinstance(layers.deserialize({"class_name": "Dense", "config": {"units": 2, "lora_rank": None}}), Dense)
    with pytest.raises(ValueError, match="Unknown layer 'Lambda'"):
        layers.deserialize({"class_name": "Lambda", "config": {}})


def test_a_layer_of_ones_own(rng):
    class Scale(Layer):
        def make_weights(self, input_shape):
            self.factor = self.add_weight((input_shape[-1],), "ones", name="factor")

        def forward(self, x, training=False, buffers=FRESH):
            y = x * self.factor.value
            self._saved = (y, x)
            return y

        def backward(self, grad, buffers=FRESH, **needs):
            _, x = self._recall(grad)
            self.factor.gradient = (grad * x).sum(axis=0)
            return grad * self.factor.value

    check_layer(Scale(), (4, 3))
    assert Scale().name.startswith("scale")
