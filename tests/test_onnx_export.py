"""ONNX files: ONNX's own checker and reference implementation take them, and give what the model gives."""

from __future__ import annotations

import numpy as np
import peers
import pytest

import fastconv as keras
from fastconv import activations, layers
from fastconv.export import onnx_activations, supported_layers

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'fastconv[onnx]'")


def chain():
    """Most layers, one behind another, with all sizes different."""
    return keras.Sequential(
        [
            keras.Input((11, 9, 2)),
            layers.Conv2D(3, (3, 2), strides=(2, 1), padding="same", activation="relu", name="first"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(2, depth_multiplier=2, dilation_rate=2, padding="same"),
            layers.ReLU(max_value=3.0, negative_slope=0.1, threshold=0.2),
            layers.MaxPooling2D((1, 2), padding="same"),
            layers.Conv2D(6, 2, groups=3, use_bias=False, padding=((1, 0), (2, 1))),
            layers.PReLU(shared_axes=[1, 2]),
            layers.AveragePooling2D(2, padding="same"),
            layers.ZeroPadding2D(((1, 2), (0, 1))),
            layers.Cropping2D(((0, 1), (1, 0))),
            layers.UpSampling2D((2, 1)),
            layers.Rescaling(0.5, 0.1),
            layers.Flatten(),
            layers.RepeatVector(2),
            layers.Permute((2, 1)),
            layers.Reshape((-1,)),
            layers.Dense(5),
            layers.Dropout(0.5),
            layers.Softmax(),
        ]
    )


def channels_first():
    options = {"data_format": "channels_first"}
    return keras.Sequential(
        [
            keras.Input((2, 9, 8)),
            layers.Conv2D(3, 2, activation="tanh", **options),
            layers.BatchNormalization(axis=1),
            layers.MaxPooling2D(2, **options),
            layers.UpSampling2D(2, interpolation="bilinear", **options),
            layers.ZeroPadding2D((1, 2), **options),
            layers.Flatten(**options),
            layers.Dense(4),
        ]
    )


def sequence():
    """The layers for sequences, and those that normalize."""
    return keras.Sequential(
        [
            keras.Input((13, 3)),
            layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="softplus"),
            layers.LayerNormalization(),
            layers.DepthwiseConv1D(3, depth_multiplier=2),
            layers.GroupNormalization(groups=4),
            layers.SeparableConv1D(5, 2, padding="same", activation="elu"),
            layers.UnitNormalization(),
            layers.MaxPooling1D(2),
            layers.Conv1DTranspose(3, 2, strides=3, padding="same"),
            layers.ZeroPadding1D((1, 2)),
            layers.UpSampling1D(2),
            layers.Cropping1D((2, 1)),
            layers.AveragePooling1D(3, strides=2),
            layers.LayerNormalization(axis=[1, 2], center=False),
            layers.GlobalAveragePooling1D(),
        ]
    )


def images():
    """What the chain has not: preprocessing, transposed and separable convolutions."""
    return keras.Sequential(
        [
            keras.Input((8, 7, 3)),
            layers.RandomFlip(),
            layers.Resizing(6, 5),
            layers.Resizing(9, 7, interpolation="nearest"),
            layers.Conv2DTranspose(4, (3, 2), strides=(2, 3), padding="same", activation="relu"),
            layers.GroupNormalization(groups=2),
            layers.SeparableConv2D(6, 3, strides=2, depth_multiplier=2),
            layers.Conv2DTranspose(2, 2, strides=3, output_padding=1),
            layers.GaussianNoise(0.5),
            layers.GlobalMaxPooling2D(keepdims=True),
        ]
    )


def graph():
    """Two inputs, two outputs, a shared layer, and a model in the model."""
    inputs = [keras.Input((8, 7, 2), name="image"), keras.Input((3,), name="facts")]
    x = layers.Conv2D(4, 3, padding="same")(inputs[0])
    shared = layers.Conv2D(4, 1)
    x = layers.Add()([shared(x), shared(layers.Activation("relu")(x))])
    inner_input = keras.Input((8, 7, 8))
    inner = keras.Model(inner_input, layers.GlobalMaxPooling2D()(layers.Conv2D(3, 2)(inner_input)))
    pooled = inner(layers.Concatenate()([x, layers.Multiply()([x, x])]))
    merged = layers.Average()([pooled, layers.Maximum()([pooled, inputs[1]])])
    scaled = layers.Minimum()([x, layers.Reshape((1, 1, 4))(layers.Dense(4)(layers.Subtract()([merged, inputs[1]])))])
    return keras.Model(inputs, [layers.Dense(2, name="scores")(merged), layers.GlobalAveragePooling2D()(scaled)])


def overlapping():
    """Windows that overlap, padded unevenly, which ONNX's reference implementation gets wrong."""
    return keras.Sequential([keras.Input((7, 6, 2)), layers.MaxPooling2D(2, strides=1, padding="same")])


MODELS = {"chain": chain, "channels_first": channels_first, "images": images, "sequence": sequence, "graph": graph}
ALL_MODELS = {**MODELS, "overlapping": overlapping}


def made(name):
    keras.utils.set_random_seed(1)
    model = ALL_MODELS[name]()
    random = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(random.uniform(0.1, 0.9, variable.shape) - 0.4 * (variable.name == "kernel"))
    shapes = [tensor.shape[1:] for tensor in model.inputs]
    return model, [random.normal(size=(3, *shape)).astype("float32") for shape in shapes]


def outputs(model, xs):
    found = model(xs if len(xs) > 1 else xs[0], training=False)
    return found if isinstance(found, list) else [found]


def assert_close(have, want):
    assert len(have) == len(want)
    for a, b in zip(have, want, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


@pytest.mark.filterwarnings("ignore")  # of ONNX's reference implementation, which divides by zero in pooling
@pytest.mark.parametrize("name", MODELS)
def test_the_reference_implementation_agrees(tmp_path, name):
    from onnx.reference import ReferenceEvaluator

    model, xs = made(name)
    model.export(tmp_path / "model.onnx")
    loaded = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(loaded, full_check=True)
    names = [one.name for one in loaded.graph.input]
    assert names == [tensor.node.layer.name for tensor in model.inputs]
    found = ReferenceEvaluator(loaded).run(None, dict(zip(names, xs, strict=True)))
    assert_close(found, outputs(model, xs))


@peers.MARK
@pytest.mark.parametrize("name", ALL_MODELS)
def test_onnx_runtime_agrees(tmp_path, name):
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: make test-peers does so")
    model, xs = made(name)
    model.export(tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for rows in (3, 1):
        parts = [x[:rows] for x in xs]
        feed = {one.name: x for one, x in zip(session.get_inputs(), parts, strict=True)}
        assert_close(session.run(None, feed), outputs(model, parts))


@pytest.mark.parametrize("name", activations._DEFAULTS)
def test_activations(tmp_path, name):
    from onnx.reference import ReferenceEvaluator

    model = keras.Sequential([keras.Input((6,)), layers.Activation(name)])
    path = tmp_path / "model.onnx"
    if name not in onnx_activations._TABLE:
        with pytest.raises(ValueError, match=f"'{name}' has no ONNX form here. There are linear"):
            model.export(path)
        assert not path.exists()
        return
    model.export(path)
    x = np.random.default_rng(0).normal(size=(20, 6)).astype("float32") * 3
    (found,) = ReferenceEvaluator(str(path)).run(None, {model.inputs[0].node.layer.name: x})
    np.testing.assert_allclose(found, model.layers[0](x), rtol=2e-5, atol=2e-6)


def test_nothing_is_turned_between_convolutions(tmp_path):
    """Only the input and the output of convolutions, pooling and what is between them change their layout."""
    model = keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.Conv2D(2, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Conv2D(3, 3),
            layers.ReLU(),
        ]
    )
    model.export(tmp_path / "model.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert kinds.count("Transpose") == 2
    assert kinds[0] == "Transpose"


def test_what_is_not_fixed_stays_open(tmp_path):
    """Batches of any size, images of any size; "same" padding by its name then."""
    model = keras.Sequential([keras.Input((None, None, 2)), layers.Conv2D(3, 2, padding="same", strides=2)])
    model.export(tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    sizes = [axis.dim_param or axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim]
    assert sizes[0] == "batch"
    assert sizes[3] == 2
    assert all(isinstance(size, str) for size in sizes[:3])


def test_every_layer_is_exported_or_refused_by_name(tmp_path):
    class Mine(layers.Dense):
        pass

    model = keras.Sequential([keras.Input((3,)), Mine(2, name="own")])
    with pytest.raises(ValueError, match=r'the layer "own" \(Mine\) has no ONNX form here.*Dense.*converts adds'):
        model.export(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    assert {"Conv", "Dense", "BatchNormalization", "Concatenate"} <= set(supported_layers())


def test_a_converter_of_ones_own(tmp_path, monkeypatch):
    from fastconv.export import converts, onnx_table

    class Twice(layers.Layer):
        def forward(self, x, training=False, buffers=None):
            return 2 * x

    monkeypatch.setattr(onnx_table, "_TABLE", dict(onnx_table._TABLE))
    converts("Twice")(lambda graph, layer, x, shape: graph.op("Mul", [x, graph.constant(2.0)]))
    keras.Sequential([keras.Input((3,)), Twice()]).export(tmp_path / "model.onnx")
    assert onnx.load(tmp_path / "model.onnx").graph.node[0].op_type == "Mul"


def test_bad_arguments(tmp_path):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    with pytest.raises(ValueError, match='format must be "onnx"'):
        model.export(tmp_path / "model", format="tf_saved_model")
    with pytest.raises(ValueError, match="before it is built"):
        keras.Sequential([layers.Dense(2)]).export(tmp_path / "model.onnx")
