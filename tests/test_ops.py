"""fastconv.ops: arguments, layouts, dtypes and results, with the reference as the oracle for the values."""

import numpy as np
import pytest

from fastconv import ops
from fastconv.kernels.conv2d.reference import conv2d as reference_conv2d

rng = np.random.default_rng(5)
X = rng.standard_normal((2, 7, 9, 4)).astype("float32")
W = rng.standard_normal((3, 2, 4, 5)).astype("float32")
B = rng.standard_normal(5).astype("float32")


def first(array):
    return array.transpose(0, 3, 1, 2)


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_conv_by_hand():
    x = np.arange(9.0).reshape(1, 3, 3, 1)
    w = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)
    np.testing.assert_array_equal(ops.conv(x, w)[0, :, :, 0], [[27, 37], [57, 67]])


@pytest.mark.parametrize(
    "options", [{}, {"strides": (2, 1)}, {"padding": "same"}, {"strides": (2, 2), "dilation_rate": (1, 2)}]
)
@pytest.mark.parametrize("algorithm", ["auto", "cpu_naive", "cpu_im2col", "cpu_direct", "reference"])
def test_conv_options_and_algorithms(options, algorithm):
    expected = reference_conv2d(
        X,
        W,
        B,
        options.get("strides", (1, 1)),
        options.get("padding", "valid"),
        options.get("dilation_rate", (1, 1)),
        1,
    )
    close(ops.conv(X, W, bias=B, algorithm=algorithm, **options), expected)


def test_channels_first_takes_and_gives_transposed_images():
    last = ops.conv(X, W, padding="same", bias=B)
    close(ops.conv(first(X), W, padding="same", data_format="channels_first", bias=B), first(last))
    gy = rng.standard_normal(last.shape).astype("float32")
    gx = ops.conv_backward_data(gy, W, X.shape, padding="same")
    shape = first(X).shape
    close(ops.conv_backward_data(first(gy), W, shape, padding="same", data_format="channels_first"), first(gx))
    gw, gb = ops.conv_backward_filter(X, gy, W.shape, padding="same")
    gw_first, gb_first = ops.conv_backward_filter(
        first(X), first(gy), W.shape, padding="same", data_format="channels_first"
    )
    close(gw_first, gw)
    close(gb_first, gb)
    close(ops.max_pool(first(X), 2, data_format="channels_first"), first(ops.max_pool(X, 2)))
    close(
        ops.average_pool(first(X), (3, 2), 1, "same", "channels_first"),
        first(ops.average_pool(X, (3, 2), 1, "same")),
    )


def test_gradients_are_adjoint_to_the_convolution():
    y = ops.conv(X.astype("float64"), W, strides=(1, 2), padding=((1, 0), (2, 1)))
    gy = rng.standard_normal(y.shape)
    gx = ops.conv_backward_data(gy, W, X.shape, strides=(1, 2), padding=((1, 0), (2, 1)))
    gw, gb = ops.conv_backward_filter(X, gy, W.shape, strides=(1, 2), padding=((1, 0), (2, 1)))
    assert np.sum(gx * X) == pytest.approx(np.sum(y * gy))
    assert np.sum(gw * W) == pytest.approx(np.sum(y * gy))
    np.testing.assert_allclose(gb, gy.sum((0, 1, 2)))


def test_depthwise_conv_is_one_convolution_a_channel():
    w = rng.standard_normal((3, 2, 4, 3)).astype("float32")
    y = ops.depthwise_conv(X, w, padding="same")
    for c in range(4):
        alone = ops.conv(X[..., c : c + 1], w[:, :, c : c + 1, :], padding="same")
        close(y[..., 3 * c : 3 * c + 3], alone)


def test_groups_follow_from_the_kernel():
    w = W[:, :, :2, :4]
    y = ops.conv(X, w)
    close(y[..., :2], ops.conv(X[..., :2], w[..., :2]))
    close(y[..., 2:], ops.conv(X[..., 2:], w[..., 2:]))


def test_pooling_and_its_gradients_by_hand():
    x = np.array([[1.0, 5, 2], [4, 3, 9], [7, 8, 6]]).reshape(1, 3, 3, 1)
    np.testing.assert_array_equal(ops.max_pool(x, 2, 1)[0, :, :, 0], [[5, 9], [8, 9]])
    np.testing.assert_array_equal(ops.average_pool(x, 2, padding="same")[0, :, :, 0], [[3.25, 5.5], [7.5, 6]])
    gy = np.array([[1.0, 2], [3, 4]]).reshape(1, 2, 2, 1)
    gx = ops.max_pool_backward(x, gy, 2, 1)[0, :, :, 0]
    np.testing.assert_array_equal(gx, [[0, 1, 0], [0, 0, 6], [0, 3, 0]])
    gx = ops.average_pool_backward(gy, x.shape, 2, padding="same")[0, :, :, 0]
    np.testing.assert_array_equal(gx, [[0.25, 0.25, 1], [0.25, 0.25, 1], [1.5, 1.5, 4]])


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_out_receives_the_result(data_format):
    x = X if data_format == "channels_last" else first(X)
    expected = ops.conv(x, W, data_format=data_format)
    out = np.empty(expected.shape, "float32")
    assert ops.conv(x, W, data_format=data_format, out=out) is out
    np.testing.assert_array_equal(out, expected)
    strided = np.empty((*expected.shape[:-1], 2 * expected.shape[-1]), "float32")[..., ::2]
    assert ops.conv(x, W, data_format=data_format, out=strided) is strided
    np.testing.assert_array_equal(strided, expected)


def test_dtypes():
    assert ops.conv(X, W).dtype == np.float32
    assert ops.conv(X.astype("float64"), W).dtype == np.float64
    assert ops.conv(np.ones((1, 3, 3, 1), int), np.ones((2, 2, 1, 1), int)).dtype == np.float32
    assert ops.conv([[[[1.0]]]], [[[[2.0]]]]).item() == 2.0
    with pytest.raises(TypeError, match="kernel.*complex"):
        ops.conv(X, W.astype(complex))


def test_an_empty_batch_gives_an_empty_result():
    assert ops.conv(X[:0], W).shape == (0, 5, 8, 5)
    gw, gb = ops.conv_backward_filter(X[:0], np.empty((0, 5, 8, 5), "float32"), W.shape)
    assert not gw.any() and not gb.any()
    assert ops.max_pool(X[:0], 2).shape == (0, 3, 4, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.conv(X[0], W), r"inputs.*four dimensions.*\(7, 9, 4\)"),
        (lambda: ops.conv(X, W[:, :, :3]), "3 channels a group.*4"),
        (lambda: ops.conv(X, W, strides=0), "strides.*0"),
        (lambda: ops.conv(X, W, strides=(1, 2, 3)), "strides"),
        (lambda: ops.conv(X, W, padding="full"), "padding.*full"),
        (lambda: ops.conv(X, W, padding=((1, -1), (0, 0))), "padding"),
        (lambda: ops.conv(X, W, dilation_rate=(9, 1)), "window is larger"),
        (lambda: ops.conv(X, W, data_format="NHWC"), "data_format.*NHWC"),
        (lambda: ops.conv(X, W, algorithm="cpu_magic"), "cpu_magic.*cpu_direct"),
        (lambda: ops.conv(X, W, bias=np.ones(4)), r"bias.*\(5,\).*\(4,\)"),
        (lambda: ops.conv(X, W, out=np.empty((2, 5, 8, 4), "float32")), r"out.*\(2, 5, 8, 5\)"),
        (
            lambda: ops.conv_backward_data(np.ones((2, 5, 8, 4)), W, X.shape),
            r"grad.*\(2, 5, 8, 5\).*\(2, 5, 8, 4\)",
        ),
        (lambda: ops.depthwise_conv(X, W[:, :, :2]), "2 channels.*4"),
        (lambda: ops.max_pool(X, 0), "pool_size.*0"),
        (lambda: ops.max_pool_backward(X, X, 2), r"grad.*\(2, 3, 4, 4\)"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_read_only_inputs_and_out():
    x = X.copy()
    x.flags.writeable = False
    close(ops.conv(x, W), ops.conv(X, W))
    out = np.empty((2, 5, 8, 5), "float32")
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        ops.conv(X, W, out=out)
