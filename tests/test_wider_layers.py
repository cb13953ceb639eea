"""The layers beside convolution, pooling and Dense: gradients, values by hand, memory, training."""

import copy
import tracemalloc

import numba
import numpy as np
import pytest
from lab import lab

import fastconv as keras
from fastconv import layers
from fastconv.buffers import ReusedBuffers
from fastconv.testing import check_layer

FIRST = {"data_format": "channels_first"}
IMAGES = (2, 3, 4, 5)
CASES = {
    "batch-norm": (layers.BatchNormalization(), IMAGES),
    "batch-norm-first": (layers.BatchNormalization(axis=1, gamma_regularizer="l2", momentum=0.5), IMAGES),
    "batch-norm-flat": (layers.BatchNormalization(center=False, epsilon=0.1), (6, 3)),
    "batch-norm-no-scale": (layers.BatchNormalization(scale=False, beta_regularizer="l1", axis=1), (4, 5, 3)),
    "depthwise": (layers.DepthwiseConv2D((2, 3), depth_multiplier=2, activation="relu"), (2, 4, 5, 3)),
    "depthwise-first": (layers.DepthwiseConv2D(2, 2, "same", depthwise_regularizer="l2", **FIRST), IMAGES),
    "global-average": (layers.GlobalAveragePooling2D(), IMAGES),
    "global-average-first": (layers.GlobalAveragePooling2D(keepdims=True, **FIRST), IMAGES),
    "global-max": (layers.GlobalMaxPooling2D(keepdims=True), IMAGES),
    "global-max-first": (layers.GlobalMaxPooling2D(**FIRST), IMAGES),
    "zero-padding": (layers.ZeroPadding2D(((0, 1), (2, 3))), IMAGES),
    "zero-padding-first": (layers.ZeroPadding2D((1, 2), **FIRST), IMAGES),
    "cropping": (layers.Cropping2D(((0, 1), (1, 2))), (2, 4, 5, 3)),
    "cropping-first": (layers.Cropping2D(1, **FIRST), IMAGES),
    "up-sampling": (layers.UpSampling2D((2, 3)), IMAGES),
    "up-sampling-first": (layers.UpSampling2D(2, **FIRST), IMAGES),
    "up-sampling-bilinear": (layers.UpSampling2D((3, 2), interpolation="bilinear"), IMAGES),
    "up-sampling-bicubic": (layers.UpSampling2D(2, interpolation="bicubic", **FIRST), IMAGES),
    "up-sampling-lanczos": (layers.UpSampling2D(2, interpolation="lanczos3"), IMAGES),
    "reshape": (layers.Reshape((-1, 10)), IMAGES),
    "permute": (layers.Permute((3, 1, 2)), IMAGES),
    "repeat": (layers.RepeatVector(3), (2, 5)),
    "identity": (layers.Identity(), (2, 5)),
    "rescaling": (layers.Rescaling([1.0, 2.0, 3.0], offset=0.5), (2, 4, 3)),
    "rescaling-array": (layers.Rescaling(np.array(0.5, "float32")), (2, 4, 3)),
    "normalization": (layers.Normalization(), (5, 4)),
    "normalization-given": (layers.Normalization((1, 2), mean=[1.0, 2.0], variance=[4.0, 9.0]), (5, 3, 2)),
    "normalization-invert": (layers.Normalization(None, mean=3, variance=2, invert=True), (5, 3, 2)),
    "leaky-relu": (layers.LeakyReLU(), (4, 5)),
    "elu": (layers.ELU(0.5), (4, 5)),
    "prelu": (layers.PReLU("normal"), (3, 4, 2)),
    "transpose": (
        layers.Conv2DTranspose(4, (2, 3), (3, 2), "same", activation="tanh", kernel_regularizer="l2"),
        IMAGES,
    ),
    "transpose-first": (layers.Conv2DTranspose(3, 2, 3, output_padding=(1, 2), **FIRST), IMAGES),
    "transpose-dilated": (layers.Conv2DTranspose(3, 2, dilation_rate=2, use_bias=False), IMAGES),
    "transpose-1d": (layers.Conv1DTranspose(3, 2, strides=3), (2, 5, 3)),
    "separable": (layers.SeparableConv2D(4, 2, depth_multiplier=2, activity_regularizer="l2"), IMAGES),
    "separable-first": (layers.SeparableConv2D(4, 2, 2, "same", depthwise_regularizer="l2", **FIRST), IMAGES),
    "separable-1d": (layers.SeparableConv1D(4, 3, activation="relu"), (2, 6, 3)),
    "conv-1d-causal": (layers.Conv1D(4, 3, padding="causal", dilation_rate=2), (2, 6, 3)),
    "conv-1d-first": (layers.Conv1D(4, 2, 2, "same", activation="gelu", **FIRST), (2, 3, 7)),
    "depthwise-1d": (layers.DepthwiseConv1D(3, depth_multiplier=2), (2, 6, 3)),
    "max-1d": (layers.MaxPooling1D(), (2, 6, 3)),
    "average-1d": (layers.AveragePooling1D(3, 2, "same", **FIRST), (2, 3, 6)),
    "global-max-1d": (layers.GlobalMaxPooling1D(), (2, 6, 3)),
    "global-average-1d": (layers.GlobalAveragePooling1D(keepdims=True, **FIRST), (2, 3, 6)),
    "zero-padding-1d": (layers.ZeroPadding1D((1, 2)), (2, 3, 4)),
    "zero-padding-1d-first": (layers.ZeroPadding1D(**FIRST), (2, 3, 4)),
    "cropping-1d": (layers.Cropping1D((1, 0)), (2, 3, 4)),
    "up-sampling-1d": (layers.UpSampling1D(3), (2, 3, 4)),
    "layer-norm": (layers.LayerNormalization(gamma_regularizer="l2"), (3, 4, 5)),
    "layer-norm-axes": (layers.LayerNormalization([1, -1], center=False), IMAGES),
    "group-norm": (layers.GroupNormalization(3), (2, 3, 4, 6)),
    "group-norm-first": (layers.GroupNormalization(2, axis=1, scale=False), (2, 4, 3, 5)),
    "group-norm-each": (layers.GroupNormalization(-1), IMAGES),
    "unit-norm": (layers.UnitNormalization([1, 2]), (3, 4, 2)),
    "activity": (layers.ActivityRegularization(0.1, 0.2), (3, 4)),
    "gaussian-noise": (layers.GaussianNoise(0.1), (3, 4)),
    "gaussian-dropout": (layers.GaussianDropout(0.1), (3, 4)),
    "alpha-dropout": (layers.AlphaDropout(0.1), (3, 4)),
    "spatial-dropout-1d": (layers.SpatialDropout1D(0.1), (3, 4, 2)),
    "spatial-dropout": (layers.SpatialDropout2D(0.1), IMAGES),
    "prelu-shared": (layers.PReLU(shared_axes=[1, 2], alpha_regularizer="l2"), IMAGES),
}

# Cases that follow each other on sequences.
IN_A_ROW = [
    *(
        "batch-norm",
        "separable-1d",
        "zero-padding-1d",
        "transpose-1d",
        "normalization",
        "layer-norm",
        "group-norm-each",
    ),
    *("prelu", "cropping-1d", "spatial-dropout-1d", "unit-norm", "up-sampling-1d", "rescaling-array", "activity"),
]


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize("case", CASES)
def test_check_layer(case):
    check_layer(*CASES[case], samples=15)


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("batch-norm")])
def test_gradients_in_training(case):
    check_layer(*CASES[case], samples=15, training=True)


@pytest.mark.parametrize("case", CASES)
def test_reused_buffers(case, rng):
    """The same bits as with new arrays, for batches of changing size; from the second time on in the same memory."""
    layer, shape = CASES[case]
    layer.build((None, *shape[1:]))
    buffers = ReusedBuffers()
    for count in (shape[0], 1, shape[0]):
        x = rng.standard_normal((count, *shape[1:])).astype("float32")
        expected = layer.forward(x)
        gy = rng.standard_normal(expected.shape).astype("float32")
        expected = expected.copy(), layer.backward(gy).copy()
        first = layer.forward(x, buffers=buffers)
        got = first.copy(), layer.backward(gy.copy(), buffers).copy()
        again = layer.forward(x, buffers=buffers)
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one, other)
        assert np.shares_memory(again, first)


def test_batch_normalization_by_hand():
    layer = layers.BatchNormalization(momentum=0.75, epsilon=0.0, gamma_initializer="ones", beta_initializer="ones")
    x = np.array([[1.0, 10.0], [3.0, 10.5], [5.0, 9.5], [7.0, 10.0]])  # means 4 and 10, variances 5 and 1/8
    y = layer(x, training=True)
    np.testing.assert_allclose(y[:, 0], (x[:, 0] - 4) / np.sqrt(5) + 1, rtol=1e-6)
    np.testing.assert_allclose(y[:, 1], (x[:, 1] - 10) * np.sqrt(8) + 1, rtol=1e-6)
    assert [weight.name for weight in layer.weights] == ["gamma", "beta", "moving_mean", "moving_variance"]
    np.testing.assert_allclose(layer.moving_mean.value, [1, 2.5])
    np.testing.assert_allclose(layer.moving_variance.value, [0.75 + 5 / 4, 0.75 + 1 / 32])
    np.testing.assert_allclose(layer(x)[0], (x[0] - [1, 2.5]) / np.sqrt([2, 0.78125]) + 1, rtol=1e-6)
    np.testing.assert_allclose(layer.moving_mean.value, [1, 2.5])  # inference changes nothing
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), layer(x))
    np.testing.assert_allclose(layer.moving_mean.value, [1, 2.5])


def test_batch_normalization_of_a_large_mean(rng):
    """A variance far below the mean's square keeps its digits."""
    x = (rng.standard_normal((5000, 3)) + 3000).astype("float32")
    layer = layers.BatchNormalization(epsilon=0, momentum=0)
    y = layer(x, training=True)
    wide = x.astype("float64")
    np.testing.assert_allclose(layer.moving_variance.value, wide.var(axis=0), rtol=1e-6)
    np.testing.assert_allclose(y, (wide - wide.mean(axis=0)) / wide.std(axis=0), atol=3e-4)


def test_a_relu_before_batch_normalization(rng):
    """Its gradient is part of the layer's, with the same bits as apart."""
    x = np.maximum(rng.standard_normal((3, 4, 5, 2)), 0).astype("float32")
    gy = rng.standard_normal(x.shape).astype("float32")
    layer = layers.BatchNormalization()
    for training in (True, False):
        layer(x, training=training)
        apart = np.where(x > 0, layer.backward(gy), 0)
        np.testing.assert_array_equal(layer.backward(gy, through_input_relu=True), apart)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_training_with_batch_normalization(data_format, rng):
    """A frozen layer keeps its weights and statistics; others move, and evaluation uses what they have become."""
    keras.utils.set_random_seed(1)
    first = data_format == "channels_first"
    model = keras.Sequential(
        [
            layers.Input((1, 6, 6) if first else (6, 6, 1)),
            layers.ZeroPadding2D(data_format=data_format),
            layers.Conv2D(4, 3, use_bias=False, data_format=data_format),
            layers.BatchNormalization(axis=1 if first else -1, name="moving"),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, activation="relu", data_format=data_format),
            layers.BatchNormalization(axis=1 if first else -1, name="frozen", trainable=False),
            layers.GlobalAveragePooling2D(data_format=data_format),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    x = 0.5 * rng.standard_normal((32, *model.input_shape[1:])).astype("float32")
    y = np.arange(32) % 2
    x[y == 1] += 1
    before = {name: model.get_layer(name).get_weights() for name in ("moving", "frozen")}
    losses = model.fit(x, y, epochs=15, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    same = {
        name: [np.array_equal(a, b) for a, b in zip(weights, model.get_layer(name).get_weights(), strict=True)]
        for name, weights in before.items()
    }
    assert same == {"moving": [False] * 4, "frozen": [True] * 4}
    assert model.evaluate(x, y, verbose=0) < losses[0]
    np.testing.assert_array_equal(model.predict(x, verbose=0, batch_size=32), model(x))


def test_transposes_and_separable_layers_by_hand():
    layer = layers.Conv2DTranspose(1, 2, strides=2, kernel_initializer="ones", bias_initializer="ones")
    y = layer(np.reshape([1, 2, 3, 4], (1, 2, 2, 1)))
    np.testing.assert_array_equal(y[0, :, :, 0], [[2, 2, 3, 3], [2, 2, 3, 3], [4, 4, 5, 5], [4, 4, 5, 5]])
    layer = layers.Conv1DTranspose(1, 3)
    layer.build((None, 2, 1))
    layer.kernel.assign(np.reshape([1, 10, 100], (3, 1, 1)))
    np.testing.assert_array_equal(layer(np.reshape([1, 2], (1, 2, 1)))[0, :, 0], [1, 12, 120, 200])
    layer = layers.SeparableConv1D(1, 2)
    layer.build((None, 3, 2))
    assert [weight.path for weight in layer.weights] == [
        f"{layer.name}/{name}" for name in ("depthwise_kernel", "pointwise_kernel", "bias")
    ]
    layer.set_weights([np.reshape([1, 2, 10, 20], (2, 2, 1)), np.reshape([1, 100], (1, 2, 1)), [1000]])
    x = np.reshape([1, 1, 2, 3, 4, 5], (1, 3, 2))
    np.testing.assert_array_equal(layer(x)[0, :, 0], [1000 + 21 + 6200, 1000 + 42 + 10600])
    causal = layers.Conv1D(1, 2, padding="causal", kernel_initializer="ones")
    np.testing.assert_array_equal(causal(np.reshape([1, 2, 4], (1, 3, 1)))[0, :, 0], [1, 3, 6])


NOISE = [
    layers.GaussianNoise(0.5, seed=3),
    layers.GaussianDropout(0.4, seed=3),
    layers.AlphaDropout(0.3, seed=3),
    layers.SpatialDropout2D(0.4, seed=3),
    layers.Dropout(0.4, seed=3),
]


@pytest.mark.parametrize("layer", NOISE, ids=lambda layer: type(layer).__name__)
def test_noise(layer, rng):
    """Mean and variance of the outputs, the gradient, and what a seed is for."""
    x = rng.standard_normal((50, 20, 30, 4)).astype("float32")
    again = type(layer).from_config(layer.get_config())
    y = layer(x, training=True)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(again(x, training=True), y)
    assert not np.array_equal(again(x, training=True), y)
    variances = {"GaussianNoise": 1.25, "AlphaDropout": 1.0}
    assert y.mean() == pytest.approx(0, abs=0.01)
    assert y.var() == pytest.approx(variances.get(type(layer).__name__, 1 + 0.4 / 0.6), rel=0.1)
    gy = rng.standard_normal(x.shape).astype("float32")
    layer._calls = 0
    base = layer(x, training=True).copy()
    gx = layer.backward(gy)
    layer._calls = 0
    moved = layer(x + gy, training=True)
    # Linear in x for given random numbers, so that the gradient of (y * gy).sum() is known exactly.
    np.testing.assert_allclose((moved - base) * gy, gx * gy, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["GaussianNoise", "GaussianDropout", "AlphaDropout", "Dropout"])
def test_noise_is_the_same_in_both_layouts(name, rng):
    x = rng.standard_normal((2, 3, 4, 5)).astype("float32")
    first, last = (getattr(layers, name)(0.4, seed=1) for _ in range(2))
    view = x.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(first(view, training=True), last(x, training=True).transpose(0, 3, 1, 2))


def test_an_activity_penalty():
    layer = layers.ActivityRegularization(l1=0.5, l2=2.0)
    layer(np.array([[1.0, -2.0], [3.0, 0.0]]))
    assert layer.losses == [pytest.approx((0.5 * 6 + 2 * 14) / 2)]


def test_global_max_pooling_shares_gradients():
    layer = layers.GlobalMaxPooling2D()
    layer(np.reshape([1, 5, 5, 2, 0, 5], (1, 2, 3, 1)))
    gx = layer.backward(np.array([[6]], "float32"))
    np.testing.assert_array_equal(gx[0, :, :, 0], [[0, 2, 2], [0, 0, 2]])


def test_shapes_by_hand():
    x = np.arange(6.0).reshape(1, 2, 3, 1)
    padded = layers.ZeroPadding2D(((1, 0), (0, 2)))(x)
    np.testing.assert_array_equal(padded[0, :, :, 0], [[0] * 5, [0, 1, 2, 0, 0], [3, 4, 5, 0, 0]])
    np.testing.assert_array_equal(layers.Cropping2D(((1, 0), (0, 1)))(x)[0, :, :, 0], [[3, 4]])
    twice = layers.UpSampling2D((1, 2))(x)
    np.testing.assert_array_equal(twice[0, :, :, 0], [[0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5]])
    # From TensorFlow's half-pixel centres: -1/4, 1/4, 3/4, 5/4 of the way.
    smooth = layers.UpSampling2D((1, 2), interpolation="bilinear")(x)
    np.testing.assert_allclose(smooth[0, 0, :, 0], [0, 0.25, 0.75, 1.25, 1.75, 2])
    np.testing.assert_array_equal(layers.Permute((2, 1, 3))(x)[0, :, :, 0], [[0, 3], [1, 4], [2, 5]])
    assert layers.Reshape((-1,)).compute_output_shape((None, None, 3)) == (None, None)
    assert layers.Reshape((3, -1)).compute_output_shape((None, 2, 6)) == (None, 3, 4)


def test_adapt():
    layer = layers.Normalization()
    layer.adapt(np.array([[1.0, 0.0], [3.0, 8.0]]))
    np.testing.assert_array_equal(layer.get_weights()[0], [2, 4])
    np.testing.assert_array_equal(layer.get_weights()[1], [1, 16])
    np.testing.assert_array_equal(layer(np.array([[2.0, 12.0]])), [[0, 2]])
    layer.adapt([(np.array([[1.0, 0.0]]), 1), (np.array([[3.0, 8.0], [8.0, 1.0]]), 2)])
    np.testing.assert_allclose(layer.get_weights()[0], [4, 3])
    np.testing.assert_allclose(layer.get_weights()[1], [26 / 3, 38 / 3], rtol=1e-6)
    back = layers.Normalization(mean=4.0, variance=9.0, invert=True)
    np.testing.assert_array_equal(back(np.array([[0.0, 2.0]])), [[4, 10]])


BAD = [
    (lambda: layers.BatchNormalization(renorm=True), "renorm"),
    (lambda: layers.BatchNormalization(axis="last"), "axis must be"),
    (lambda: layers.BatchNormalization(axis=2)(np.zeros((2, 3))), "no axis 2"),
    (lambda: layers.BatchNormalization().build((None, None)), "known size"),
    (lambda: layers.DepthwiseConv2D(3, depth_multiplier=0), "depth_multiplier must be"),
    (lambda: layers.DepthwiseConv2D(3)(np.zeros((1, 2, 2, 3))), "larger than"),
    (lambda: layers.ZeroPadding2D((1, 2, 3)), "padding must be"),
    (lambda: layers.ZeroPadding2D(-1), "padding must be"),
    (lambda: layers.Cropping2D(1)(np.zeros((1, 2, 5, 1))), "cropping must leave"),
    (lambda: layers.UpSampling2D(interpolation="cubist"), "interpolation must be"),
    (lambda: layers.Reshape((-1, -1)), "target_shape must be"),
    (lambda: layers.Reshape((5, -1))(np.zeros((2, 3, 4))), "do not fill"),
    (lambda: layers.Permute((1, 3)), "dims must hold"),
    (lambda: layers.RepeatVector(0), "n must be"),
    (lambda: layers.Normalization(mean=1.0), "given together"),
    (lambda: layers.Normalization().adapt([]), "received none"),
    (lambda: layers.LeakyReLU(None), "negative_slope"),
    (lambda: layers.Conv2DTranspose(2, 3, 2, output_padding=2), "output_padding must be below"),
    (lambda: layers.Conv2DTranspose(2, 3, 2, dilation_rate=2), "not both"),
    (lambda: layers.Conv2DTranspose(2, 3, padding=((1, 1), (1, 1))), "padding must be"),
    (lambda: layers.Conv1D(2, (3, 3)), "kernel_size must be"),
    (lambda: layers.MaxPooling1D(padding="causal"), "padding must be"),
    (lambda: layers.UpSampling1D(1.5), "size must be"),
    (lambda: layers.Cropping1D(2)(np.zeros((1, 4, 1))), "cropping must leave"),
    (lambda: layers.LayerNormalization(3)(np.zeros((2, 3, 4))), "have not all"),
    (lambda: layers.GroupNormalization(3)(np.zeros((2, 3, 4))), "must divide"),
    (lambda: layers.UnitNormalization(2)(np.zeros((2, 3))), "have not all"),
    (lambda: layers.GaussianNoise(2), "stddev must be"),
    (lambda: layers.AlphaDropout(1), "rate must be"),
    (lambda: layers.GaussianDropout(0.5, seed="x"), "seed must be"),
    (lambda: layers.PReLU(shared_axes=3)(np.zeros((2, 3, 4))), "shared_axes"),
    (lambda: layers.GlobalMaxPooling2D()(np.zeros((2, 3, 4))), "expects inputs of shape"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="Numba has one thread here")
@pytest.mark.usefixtures("all_threads")
def test_one_thread_and_all_threads_give_the_same_bits(rng):
    x = rng.standard_normal((9, 32, 33, 50)).astype("float32")
    gy = rng.standard_normal(x.shape).astype("float32")
    results = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        try:
            layer = layers.BatchNormalization()
            outputs = [layer(x, training=True), layer.backward(gy), layer.gamma.gradient, *layer.get_weights()]
            outputs.append(layers.RandomRotation(0.3, seed=1)(x))
        finally:
            numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
        results.append(outputs)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_allocates_nothing_large(rng):
    """Of a network as ResNet or MobileNet have them."""
    model = keras.Sequential(
        [
            layers.Input((16, 16, 2)),
            layers.ZeroPadding2D(),
            layers.Conv2D(16, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.UpSampling2D(),
            layers.Cropping2D(1),
            layers.Conv2DTranspose(2, 2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = rng.standard_normal((32, 16, 16, 2)).astype("float32"), np.arange(32) % 2
    for _ in range(2):
        model.train_on_batch(x, y)
    tracemalloc.start()
    try:
        model.train_on_batch(x, y)
        assert tracemalloc.get_traced_memory()[1] < x.size * 16 / 2 * 4 / 10  # a tenth of an activation
    finally:
        tracemalloc.stop()


def test_convolutions_and_poolings_in_other_clothes_on_a_gpu(rng):
    """The weights after a step are the CPU's; with the simulator in a GPU's place."""
    images = [layers.DepthwiseConv2D(2, depth_multiplier=2), layers.LeakyReLU(), layers.GlobalAveragePooling2D()]
    sequences = [layers.Conv1D(3, 2, padding="causal"), layers.MaxPooling1D(), layers.GlobalAveragePooling1D()]
    for stack, shape in ((images, (4, 3, 2)), (sequences, (5, 2))):
        x, y = rng.standard_normal((4, *shape)).astype("float32"), np.arange(4) % 2
        weights = []
        for name in ("cpu", "gpu"):
            keras.utils.set_random_seed(3)
            model = keras.Sequential([layers.Input(shape), *(copy.deepcopy(layer) for layer in stack), layers.Dense(2)])
            model.compile("sgd", "mse")
            with lab(), keras.device(name):
                model.train_on_batch(x, np.eye(2)[y])
                weights.append(model.get_weights())
        for one, other in zip(*weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_files(tmp_path, rng):
    """Weights, statistics and configs come back from a file."""
    row = [CASES[case][0] for case in IN_A_ROW]
    model = keras.Sequential([layers.Input((6, 4)), *(type(layer).from_config(layer.get_config()) for layer in row)])
    model.set_weights([rng.uniform(0.5, 1, weight.shape) for weight in model.get_weights()])
    x = rng.standard_normal((3, 6, 4))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(x), model(x))
    assert [layer.get_config() for layer in again.layers] == [layer.get_config() for layer in model.layers]


@pytest.mark.parametrize("name", ["kernel", "bias"])
def test_a_single_weight_can_be_frozen(name):
    model = keras.Sequential([layers.Input((5, 5, 2)), layers.Conv2D(3, 2), layers.Flatten(), layers.Dense(2)])
    for layer in (model.layers[0], model.layers[-1]):
        getattr(layer, name).trainable = False
    model.compile("sgd", "mse")
    before = model.get_weights()
    x = np.random.default_rng(0).random((4, 5, 5, 2))
    model.fit(x, np.ones((4, 2)), verbose=0)
    same = [np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert same == [name == "kernel", name == "bias"] * 2
