"""Layers beside Keras's own: outputs, gradients, weights, shapes, configs, arguments and refusals."""

import inspect
import json

import numpy as np
import peers
import pytest

from fastconv import layers

pytestmark = [peers.MARK, pytest.mark.filterwarnings("ignore")]

FIRST = {"data_format": "channels_first"}
PENALTIES = {"kernel_regularizer": "l2", "bias_regularizer": "l1"}
# (class, arguments, shape of the input)
CASES = [
    ("BatchNormalization", {}, (5, 3, 4, 6)),
    ("BatchNormalization", {"axis": 1, "momentum": 0.7, "epsilon": 0.1, "gamma_regularizer": "l2"}, (5, 3, 4, 6)),
    ("BatchNormalization", {"center": False, "beta_initializer": "ones"}, (7, 3)),
    ("BatchNormalization", {"scale": False, "axis": -2}, (2, 5, 3)),
    ("BatchNormalization", {"trainable": False}, (5, 3, 4, 6)),
    ("DepthwiseConv2D", {"kernel_size": 3}, (2, 6, 7, 3)),
    ("DepthwiseConv2D", {"kernel_size": (2, 3), "strides": 2, "padding": "same", "depth_multiplier": 3}, (2, 6, 7, 3)),
    ("DepthwiseConv2D", {"kernel_size": 2, "dilation_rate": (2, 1), "activation": "relu", **FIRST}, (2, 3, 6, 7)),
    ("DepthwiseConv2D", {"kernel_size": 2, "use_bias": False, "depthwise_regularizer": "l2"}, (2, 6, 7, 8)),
    ("GlobalAveragePooling2D", {}, (2, 6, 7, 3)),
    ("GlobalAveragePooling2D", {"keepdims": True, **FIRST}, (2, 3, 6, 7)),
    ("GlobalMaxPooling2D", {}, (2, 6, 7, 3)),
    ("GlobalMaxPooling2D", {"keepdims": True}, (2, 6, 7, 3)),
    ("GlobalMaxPooling2D", FIRST, (2, 3, 6, 7)),
    ("ZeroPadding2D", {}, (2, 3, 4, 5)),
    ("ZeroPadding2D", {"padding": (1, 2), **FIRST}, (2, 3, 4, 5)),
    ("ZeroPadding2D", {"padding": ((0, 1), (2, 3))}, (2, 3, 4, 5)),
    ("Cropping2D", {}, (2, 3, 4, 5)),
    ("Cropping2D", {"cropping": ((0, 1), (2, 1)), **FIRST}, (2, 5, 4, 6)),
    ("Cropping2D", {"cropping": 1}, (2, 5, 4, 6)),
    ("UpSampling2D", {}, (2, 3, 4, 5)),
    ("UpSampling2D", {"size": (3, 2), **FIRST}, (2, 3, 4, 5)),
    *(("UpSampling2D", {"size": (3, 2), "interpolation": how}, (2, 3, 4, 5)) for how in ("bilinear", "bicubic")),
    *(("UpSampling2D", {"size": 2, "interpolation": how, **FIRST}, (2, 3, 7, 5)) for how in ("lanczos3", "lanczos5")),
    ("Reshape", {"target_shape": (6, -1)}, (2, 3, 4, 5)),
    ("Reshape", {"target_shape": ()}, (2, 1)),
    ("Permute", {"dims": (3, 1, 2)}, (2, 3, 4, 5)),
    ("RepeatVector", {"n": 3}, (2, 4)),
    ("Identity", {}, (2, 4)),
    ("Rescaling", {"scale": 1 / 255}, (2, 3, 4, 3)),
    ("Rescaling", {"scale": [1.0, 2.0, 3.0], "offset": [0.0, -1.0, 1.0]}, (2, 3, 4, 3)),
    ("Rescaling", {"scale": np.array([1.0, 2.0, 3.0]), "offset": 0.5}, (2, 3, 4, 3)),
    ("Normalization", {}, (2, 3, 4, 3)),
    ("Normalization", {"axis": None, "mean": 3.0, "variance": 2.0}, (2, 3, 4, 3)),
    ("Normalization", {"axis": (1, -1), "mean": [1.0, 2.0, 3.0], "variance": [1.0, 2.0, 4.0]}, (2, 2, 4, 3)),
    ("Normalization", {"axis": 1, "invert": True, "mean": [1.0, 2.0], "variance": [0.0, 2.0]}, (2, 2, 4, 3)),
    ("LeakyReLU", {}, (3, 4)),
    ("LeakyReLU", {"negative_slope": 0.1}, (3, 4)),
    ("PReLU", {"alpha_initializer": "glorot_normal"}, (3, 4, 2)),
    ("PReLU", {"shared_axes": [1, 2], "alpha_regularizer": "l2"}, (3, 4, 2, 5)),
    ("ELU", {"alpha": 0.4}, (3, 4)),
    ("Conv2DTranspose", {"filters": 4, "kernel_size": 3}, (2, 4, 5, 3)),
    *(
        ("Conv2DTranspose", {"filters": 4, "kernel_size": size, "strides": step, "padding": padding}, (2, 4, 5, 3))
        for size in (1, 2, 3, (4, 5))
        for step in (2, (3, 1))
        for padding in ("valid", "same")
    ),
    *(
        (
            "Conv2DTranspose",
            {"filters": 2, "kernel_size": size, "strides": 3, "padding": padding, "output_padding": more},
            (2, 4, 5, 3),
        )
        for size in (2, 5)
        for more in (0, (1, 2))
        for padding in ("valid", "same")
    ),
    *(
        ("Conv2DTranspose", {"filters": 4, "kernel_size": 3, "dilation_rate": 2, "padding": p, **FIRST}, (2, 3, 4, 5))
        for p in ("valid", "same")
    ),
    ("Conv1DTranspose", {"filters": 4, "kernel_size": 3, "strides": 2, "activation": "relu"}, (2, 5, 3)),
    ("Conv1DTranspose", {"filters": 4, "kernel_size": 3, "use_bias": False, "kernel_regularizer": "l2"}, (2, 5, 3)),
    ("SeparableConv2D", {"filters": 4, "kernel_size": 3, "depth_multiplier": 2, "activation": "relu"}, (2, 5, 6, 3)),
    ("SeparableConv2D", {"filters": 4, "kernel_size": 2, "strides": 2, "padding": "same", **FIRST}, (2, 3, 5, 6)),
    ("SeparableConv1D", {"filters": 4, "kernel_size": 3, "pointwise_regularizer": "l2"}, (2, 6, 3)),
    ("Conv1D", {"filters": 4, "kernel_size": 3, "padding": "causal", "dilation_rate": 2}, (2, 7, 3)),
    ("Conv1D", {"filters": 4, "kernel_size": (2,), "strides": 2, "groups": 2, "padding": "same", **FIRST}, (2, 6, 7)),
    ("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2}, (2, 6, 3)),
    ("MaxPooling1D", {}, (2, 7, 3)),
    ("MaxPooling1D", {"pool_size": 3, "strides": 2, "padding": "same", **FIRST}, (2, 3, 7)),
    ("AveragePooling1D", {"pool_size": 3, "strides": 1, "padding": "same"}, (2, 7, 3)),
    ("GlobalMaxPooling1D", {}, (2, 7, 3)),
    ("GlobalAveragePooling1D", {"keepdims": True, **FIRST}, (2, 3, 7)),
    ("ZeroPadding1D", {"padding": (1, 2)}, (2, 3, 4)),
    ("ZeroPadding1D", FIRST, (2, 3, 4)),
    ("Cropping1D", {}, (2, 5, 4)),
    ("UpSampling1D", {"size": 3}, (2, 5, 4)),
    ("LayerNormalization", {}, (3, 4, 5)),
    ("LayerNormalization", {"axis": [1, -1], "center": False, "gamma_regularizer": "l2"}, (3, 4, 2, 5)),
    ("GroupNormalization", {"groups": 3, "epsilon": 0.1}, (2, 3, 4, 6)),
    ("GroupNormalization", {"groups": 2, "axis": 1, "scale": False}, (2, 4, 3, 5)),
    ("UnitNormalization", {}, (3, 4)),
    ("UnitNormalization", {"axis": [1, 2]}, (3, 4, 2)),
    ("GaussianNoise", {"stddev": 0.5, "seed": 1}, (3, 4)),
    ("GaussianDropout", {"rate": 0.5}, (3, 4)),
    ("AlphaDropout", {"rate": 0.5, "noise_shape": (None, 1)}, (3, 4)),
    ("SpatialDropout1D", {"rate": 0.5}, (3, 4, 2)),
    ("SpatialDropout2D", {"rate": 0.5, **FIRST}, (3, 4, 2, 2)),
    ("ActivityRegularization", {}, (3, 4)),
    ("Softmax", {"axis": 1}, (3, 4, 2)),
    ("ReLU", {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.2}, (3, 4, 2)),
]
DIFFERENT_IN_TRAINING = {"BatchNormalization"}
NAMES = sorted({name for name, _, _ in CASES})
# (class, arguments, shape of an input or None): what both refuse
REFUSED = [
    ("BatchNormalization", {"axis": 4}, (2, 3, 4)),
    ("DepthwiseConv2D", {"kernel_size": 0}, None),
    ("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 0}, None),
    ("DepthwiseConv2D", {"kernel_size": 5}, (2, 4, 4, 3)),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": 3, "strides": 2, "output_padding": 2}, None),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": 3, "strides": 2, "dilation_rate": 2}, None),
    ("Conv2DTranspose", {"filters": 0, "kernel_size": 3}, None),
    ("Conv1D", {"filters": 2, "kernel_size": (3, 3)}, None),
    ("Conv1D", {"filters": 2, "kernel_size": 3, "strides": 2, "dilation_rate": 2}, None),
    ("SeparableConv2D", {"filters": 2, "kernel_size": 3, "padding": "causal"}, None),
    ("UpSampling1D", {"size": 0}, None),
    ("Cropping1D", {"cropping": 2}, (2, 4, 3)),
    ("LayerNormalization", {"axis": 3}, (2, 3, 4)),
    ("GroupNormalization", {"groups": 3}, (2, 3, 4)),
    ("GaussianNoise", {"stddev": 2}, None),
    ("AlphaDropout", {"rate": -0.1}, None),
    ("ZeroPadding2D", {"padding": (1, 2, 3)}, None),
    ("ZeroPadding2D", {"padding": ((1, -2), (0, 0))}, None),
    ("Cropping2D", {"cropping": -1}, None),
    ("Cropping2D", {"cropping": 2}, (2, 4, 5, 3)),
    ("UpSampling2D", {"size": 0}, None),
    ("UpSampling2D", {"interpolation": "cubist"}, (2, 4, 5, 3)),
    ("Reshape", {"target_shape": (-1, -1)}, None),
    ("Reshape", {"target_shape": (5, -1)}, (2, 3, 4)),
    ("Reshape", {"target_shape": (5,)}, (2, 3, 4)),
    ("Permute", {"dims": (0, 1)}, None),
    ("Permute", {"dims": (2, 1)}, (2, 3, 4, 5)),
    ("Normalization", {"mean": 1.0}, None),
    ("Normalization", {"mean": [1.0], "variance": 1.0}, None),
    ("Normalization", {"axis": 3}, (2, 3, 4)),
    ("LeakyReLU", {"negative_slope": -1.0}, None),
    ("GlobalAveragePooling2D", {}, (2, 3, 4)),
]


@pytest.fixture(scope="module")
def keras():
    return peers.keras()


def both(keras, name, arguments):
    return getattr(keras.layers, name)(name="one", **arguments), getattr(layers, name)(name="one", **arguments)


def ids(cases):
    return [f"{name}-{rest}".replace(" ", "") for name, *rest in cases]


MODES = [(*case, False) for case in CASES] + [(*case, True) for case in CASES if case[0] in DIFFERENT_IN_TRAINING]


def close(got, expected, what):
    scale = max(1e-3, float(np.max(np.abs(expected), initial=0)))
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5 * scale, err_msg=what)


@pytest.mark.parametrize(("name", "arguments", "shape", "training"), MODES, ids=ids(MODES))
def test_values_and_gradients(keras, name, arguments, shape, training):
    jax = pytest.importorskip("jax")
    if keras.backend.backend() != "jax":
        pytest.skip("gradients are taken with KERAS_BACKEND=jax")
    rng = np.random.default_rng(3)
    theirs, ours = both(keras, name, arguments)
    mode = {"training": training} if "training" in inspect.signature(theirs.call).parameters else {}
    x = rng.normal(size=shape).astype("float32")
    theirs.build((None, *shape[1:]))
    ours.build((None, *shape[1:]))
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    assert [w.shape for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
    assert [w.name for w in ours.trainable_weights] == [w.name for w in theirs.trainable_weights]
    values = [np.asarray(w) + rng.uniform(0, 0.5, w.shape).astype("float32") for w in theirs.get_weights()]
    theirs.set_weights(values)
    ours.set_weights(values)
    if name == "Normalization":
        theirs.finalize_state()

    def loss(trainable, x):
        y, state = theirs.stateless_call(trainable, fixed, x, **mode)
        return (gy * y).sum(), (y, state)

    trainable = [v.value for v in theirs.trainable_variables]
    fixed = [v.value for v in theirs.non_trainable_variables]
    gy = np.zeros((), "float32")
    shape_after = loss(trainable, x)[1][0].shape
    gy = rng.normal(size=shape_after).astype("float32")
    (by_weights, by_x), (y, state) = jax.grad(loss, argnums=(0, 1), has_aux=True)(trainable, x)
    for _ in range(2):  # the second time with buffers in use
        ours.set_weights(values)
        got = ours(x, training=training)
    close(got, y, "output")
    assert got.shape == tuple(ours.compute_output_shape(shape)) == tuple(theirs.compute_output_shape(shape))
    unknown = (None, *shape[1:])
    assert ours.compute_output_shape(unknown) == tuple(theirs.compute_output_shape(unknown))
    close(ours.backward(gy), by_x, "gradient by the input")
    for weight, expected in zip(ours.trainable_weights, by_weights, strict=True):
        penalty = 0 if weight.regularizer is None else weight.regularizer.gradient(weight.value)
        close(weight.gradient - penalty, expected, weight.name)
    for weight, expected in zip(
        ours.non_trainable_weights, state, strict=bool(ours.weights)
    ):  # a seed is one of Keras's
        close(weight.value, expected, weight.name)


@pytest.mark.parametrize(("name", "arguments", "shape"), CASES, ids=ids(CASES))
def test_configs(keras, name, arguments, shape):
    theirs, ours = both(keras, name, arguments)

    def plain(config):
        return json.loads(json.dumps(config))

    assert plain(ours.get_config()) == plain(theirs.get_config())
    again = getattr(layers, name).from_config(plain(theirs.get_config()))
    assert plain(again.get_config()) == plain(theirs.get_config())
    serialized = plain(keras.layers.serialize(theirs))
    assert type(layers.deserialize(serialized)) is type(ours)
    ours.build((None, *shape[1:]))
    assert type(keras.layers.deserialize(plain(layers.serialize(ours)))) is type(theirs)


@pytest.mark.parametrize("name", NAMES)
def test_arguments(keras, name):
    """In Keras's order, with its defaults; what goes beyond Keras can be given by name only."""

    def named(cls):
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

    def alike(default):
        default = default.lower() if isinstance(default, str) else default
        return default[0] if isinstance(default, tuple) and len(set(default)) == 1 else default

    theirs, ours = named(getattr(keras.layers, name)), named(getattr(layers, name))
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    for (_, default), (argument, expected) in zip(ours, theirs, strict=True):
        assert expected is inspect.Parameter.empty or alike(default) == alike(expected), argument


@pytest.mark.parametrize(("name", "arguments", "shape"), REFUSED, ids=ids(REFUSED))
def test_refusals(keras, name, arguments, shape):
    def make(module):
        layer = getattr(module, name)(**arguments)
        if shape is not None:
            layer(np.zeros(shape, "float32"))

    for module in (keras.layers, layers):
        with pytest.raises((ValueError, TypeError, IndexError) if module is keras.layers else ValueError):
            make(module)


@pytest.mark.parametrize("data", ["array", "batches"])
@pytest.mark.parametrize("axis", [-1, None, (1, 3)])
def test_adapt(keras, data, axis):
    rng = np.random.default_rng(1)
    arrays = [rng.normal(3, 2, size=(n, 2, 3, 4)).astype("float32") for n in (5, 1, 7)]
    theirs, ours = both(keras, "Normalization", {"axis": axis})
    for layer in (theirs, ours):
        layer.adapt(np.concatenate(arrays) if data == "array" else [(batch, 0) for batch in arrays])
    for got, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        close(got, np.asarray(expected), "weight")
        assert got.dtype == np.asarray(expected).dtype
    close(ours(arrays[0]), theirs(arrays[0]), "output")


def test_training(keras):
    """A few epochs of a small network: the same losses, weights and statistics, and the same evaluation."""
    import fastconv

    def make(module):
        layers = module.layers
        model = module.Sequential(
            [
                layers.Input((9, 8, 3)),
                layers.Rescaling(1 / 2, offset=-0.1),
                layers.ZeroPadding2D(((0, 1), (1, 0))),
                layers.Conv2D(6, 3, use_bias=False),
                layers.BatchNormalization(momentum=0.8),
                layers.LeakyReLU(),
                layers.SeparableConv2D(8, 3, padding="same", activation="relu", depthwise_regularizer="l2"),
                layers.BatchNormalization(scale=False),
                layers.MaxPooling2D(),
                layers.DepthwiseConv2D(2, depth_multiplier=2),
                layers.BatchNormalization(trainable=False),
                layers.PReLU(shared_axes=[1, 2]),
                layers.UpSampling2D(interpolation="bilinear"),
                layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
                layers.LayerNormalization(),
                layers.ActivityRegularization(l2=0.01),
                layers.GlobalAveragePooling2D(),
                layers.Dense(3, activation="softmax"),
            ]
        )
        model.compile(module.optimizers.SGD(0.05), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(20, 9, 8, 3)).astype("float32"), rng.integers(0, 3, 20)
    theirs, ours = make(keras), make(fastconv)
    ours.set_weights(theirs.get_weights())
    histories = [m.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0).history for m in (theirs, ours)]
    np.testing.assert_allclose(histories[1]["loss"], histories[0]["loss"], rtol=1e-4)
    for weight, expected in zip(ours.weights, theirs.get_weights(), strict=True):
        close(weight.numpy(), expected, weight.path)
    np.testing.assert_allclose(ours.evaluate(x, y, verbose=0), theirs.evaluate(x, y, verbose=0), rtol=1e-4)
