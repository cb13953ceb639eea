"""Layers that merge several inputs: values, broadcasting, gradients, and beside Keras."""

from __future__ import annotations

import json

import numpy as np
import peers
import pytest

from fastconv import Model, layers
from fastconv.buffers import ReusedBuffers
from fastconv.layers import Input
from fastconv.testing.gradients import compare_gradients, numeric_gradient

F64 = {"dtype": "float64"}
A, B = np.array([[1.0, 5.0, 3.0]]), np.array([[4.0, 2.0, 3.0]])
CASES = {
    "Add": [[5, 7, 6]],
    "Subtract": [[-3, 3, 0]],
    "Multiply": [[4, 10, 9]],
    "Average": [[2.5, 3.5, 3]],
    "Maximum": [[4, 5, 3]],
    "Minimum": [[1, 2, 3]],
    "Concatenate": [[1, 5, 3, 4, 2, 3]],
}
ELEMENTWISE = [name for name in CASES if name != "Concatenate"]


@pytest.mark.parametrize("name", CASES)
def test_values_and_functional_forms(name):
    found = getattr(layers, name)()([A, B])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, CASES[name])
    np.testing.assert_array_equal(getattr(layers, name.lower())([A, B]), CASES[name])
    tensors = [Input((3,)), Input((3,))]
    assert getattr(layers, name.lower())(tensors, name="own").node.layer.name == "own"


@pytest.mark.parametrize("name", [name for name in CASES if name != "Subtract"])
def test_three_inputs(name):
    c = np.array([[9.0, 9.0, 0.0]])
    expected = {
        "Add": [[14, 16, 6]],
        "Multiply": [[36, 90, 0]],
        "Average": np.array([[14, 16, 6]], np.float32) / np.float32(3),
        "Maximum": [[9, 9, 3]],
        "Minimum": [[1, 2, 0]],
        "Concatenate": [[1, 5, 3, 4, 2, 3, 9, 9, 0]],
    }
    np.testing.assert_array_equal(getattr(layers, name)()([A, B, c]), expected[name])


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("shapes", [[(2, 3, 4, 5)] * 3, [(2, 3, 4, 5), (2, 1, 1, 5)], [(2, 5), (2, 3, 4, 1)]], ids=str)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_gradients(name, shapes, reused):
    rng = np.random.default_rng(1)
    shapes = shapes[:2] if name == "Subtract" else shapes
    layer = getattr(layers, name)(**F64)
    buffers = [ReusedBuffers()] if reused else []
    xs = [rng.standard_normal(shape) for shape in shapes]
    expected_shape = layer.compute_output_shape(shapes)
    assert layer.compute_output_shape([(None, *shape[1:]) for shape in shapes]) == (None, *expected_shape[1:])
    gy = rng.standard_normal(expected_shape)
    assert layer.forward(xs, False, *buffers).shape == gy.shape
    check_gradients(layer, xs, gy, buffers)


def check_gradients(layer, xs, gy, buffers):
    needed = [True] * len(xs)
    layer.forward(xs, False, *buffers)
    given = gy.copy()
    gradients = layer.backward(given, *buffers, need_input_grad=needed)
    if not buffers:
        np.testing.assert_array_equal(given, gy)
    for place, one in enumerate(gradients):
        for other in gradients[place + 1 :]:
            assert not np.may_share_memory(one, other)
    gradients = [gradient.copy() for gradient in gradients]
    for x, gradient in zip(xs, gradients, strict=True):
        assert gradient.shape == x.shape
        chosen = np.random.default_rng(3).permutation(x.size)[:10]
        measured = numeric_gradient(lambda: float(np.sum(gy * layer.forward(xs))), x, chosen)
        compare_gradients("input", gradient.ravel()[chosen], measured, chosen, x.shape)
    layer.forward(xs, False, *buffers)
    only = layer.backward(gy.copy(), *buffers, need_input_grad=[False] * (len(xs) - 1) + [True])
    assert only[0] is None
    np.testing.assert_array_equal(only[-1], gradients[-1])


@pytest.mark.parametrize("axis", [1, -1, 2])
def test_gradients_of_concatenate(axis):
    rng = np.random.default_rng(1)
    shapes = [[2, 3, 4, 5] for _ in range(3)]
    for shape, size in zip(shapes, (1, 2, 4), strict=True):
        shape[axis] = size
    layer = layers.Concatenate(axis, **F64)
    xs = [rng.standard_normal(shape) for shape in shapes]
    expected = np.concatenate(xs, axis)
    assert layer.compute_output_shape(shapes) == expected.shape
    np.testing.assert_array_equal(layer.forward(xs), expected)
    for buffers in ([], [ReusedBuffers()]):
        check_gradients(layer, xs, rng.standard_normal(expected.shape), buffers)


def test_of_equal_inputs_the_first_gets_the_gradient():
    for layer in (layers.Maximum(), layers.Minimum()):
        layer([np.ones((1, 2)), np.ones((1, 2)), np.ones((1, 2))])
        first, *others = layer.backward(np.full((1, 2), 7, np.float32))
        np.testing.assert_array_equal(first, [[7, 7]])
        assert not any(other.any() for other in others)


def test_channels_first_views_stay_what_they_are():
    """Merged images lie in memory as those of the other layers of a channels_first model: channels last."""
    rng = np.random.default_rng(1)
    x, y = (rng.random((2, 4, 5, 3)).transpose(0, 3, 1, 2) for _ in range(2))
    for layer, expected in ((layers.Add(**F64), x + y), (layers.Concatenate(1, **F64), np.concatenate([x, y], 1))):
        for buffers in ([], [ReusedBuffers()]):
            found = layer.forward([x, y], False, *buffers)
            np.testing.assert_array_equal(found, expected)
            assert found.transpose(0, 2, 3, 1).flags.c_contiguous
            for gradient in layer.backward(found.copy(order="K"), *buffers):
                assert gradient.transpose(0, 2, 3, 1).flags.c_contiguous


def test_config():
    layer = layers.Concatenate(axis=1, name="beside")
    config = json.loads(json.dumps(layers.serialize(layer)))
    assert config["config"]["axis"] == 1
    assert layers.deserialize(config).get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.Add()(A), "is called with a list of inputs"),
        (lambda: layers.Add()(Input((3,))), "is called with a list of inputs"),
        (lambda: layers.Add()([]), "needs at least 1 inputs; received 0"),
        (lambda: layers.Subtract()([A]), "needs at least 2 inputs; received 1"),
        (lambda: layers.Subtract()([A, A, A]), "needs exactly 2 inputs; received 3"),
        (lambda: layers.Add()([A, np.ones((1, 4))]), "cannot broadcast inputs of shapes"),
        (lambda: layers.Add()([A, np.ones((2, 3))]), "cannot broadcast inputs of shapes"),
        (lambda: layers.Concatenate()([A, np.ones((1, 3, 3))]), "cannot join inputs of shapes"),
        (lambda: layers.Concatenate(0)([A, A]), "along axis 0"),
        (lambda: layers.Concatenate(5)([A, A]), "along axis 5"),
        (lambda: layers.Concatenate(1)([np.ones((1, 2, 3)), np.ones((1, 2, 4))]), "equal but for axis 1"),
        (lambda: layers.Concatenate("last"), "axis must be an integer"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_text_is_refused():
    with pytest.raises(TypeError, match="takes real numbers"):
        layers.Add()([np.array([["a"]]), np.array([["b"]])])


@peers.MARK
@pytest.mark.parametrize("shapes", [[(4, 5, 3), (4, 5, 3)], [(4, 5, 3), (1, 1, 3)], [(3,), (4, 5, 1)]], ids=str)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_values_are_those_of_keras(name, shapes):
    theirs = peers.keras()
    rng = np.random.default_rng(1)
    xs = [rng.standard_normal((2, *shape)).astype("float32") for shape in shapes]
    expected = np.asarray(getattr(theirs.layers, name)()(xs))
    np.testing.assert_allclose(getattr(layers, name)()(xs), expected, rtol=1e-6)
    tensors = [Input(shape) for shape in shapes]
    found = Model(tensors, getattr(layers, name)()(tensors)).predict(xs, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
