"""check_gradient and check_layer themselves: a right gradient or layer passes, and each wrong one is caught."""

import numpy as np
import pytest

import fastconv as keras
from fastconv import kernels, layers
from fastconv.testing import Mismatch, check_gradient, check_layer


class TestCheckGradient:
    x = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])
    w = np.array([[1.0, -2.0], [0.5, 3.0], [-1.0, 0.5]])

    @staticmethod
    def forward(x, w):
        return np.tanh(x @ w)

    @staticmethod
    def backward(gy, x, w):
        inner = gy * (1 - np.tanh(x @ w) ** 2)
        return inner @ w.T, x.T @ inner

    def test_a_right_gradient_passes(self):
        check_gradient(self.forward, self.backward, self.x, self.w)
        check_gradient(self.forward, lambda gy, x, w: (self.backward(gy, x, w)[0], None), self.x, self.w)

    @pytest.mark.parametrize(
        ("wrong", "check"),
        [
            (lambda gx, gw: (gx * 1.001, gw), "gradient"),
            (lambda gx, gw: (gx[::-1], gw), "gradient"),
            (lambda gx, gw: (np.where(gx == gx.max(), np.nan, gx), gw), "gradient"),
            (lambda gx, gw: (gx, gw + 1e-3), "gradient"),
            (lambda gx, gw: (gx, gw.T), "shape"),
            (lambda gx, gw: (gx,), "shape"),
        ],
    )
    def test_a_wrong_gradient_is_caught(self, wrong, check):
        with pytest.raises(Mismatch) as caught:
            check_gradient(self.forward, lambda *arrays: wrong(*self.backward(*arrays)), self.x, self.w)
        assert caught.value.check == check

    def test_a_gradient_for_upstream_ones_is_caught(self):
        with pytest.raises(Mismatch, match="gradient 0"):
            check_gradient(self.forward, lambda gy, *arrays: self.backward(np.ones_like(gy), *arrays), self.x, self.w)

    def test_inputs_are_left_alone(self):
        before = self.x.copy()
        check_gradient(self.forward, self.backward, self.x, self.w)
        np.testing.assert_array_equal(self.x, before)

    def test_the_references_backward_ops(self):
        problem = kernels.Conv2DProblem.parse("N=2 H=9 W=10 C=4 K=6 R=2 S=3 groups=2 dilation=3,2 padding=1,2,3,0")
        rng = np.random.default_rng(0)
        arrays = [rng.normal(size=shape) for shape in (problem.x_shape, problem.w_shape, (problem.K,))]

        def right(op, *arrays):
            kernels.get(op, "reference").run(problem, *arrays, None)

        def forward(x, w, bias):
            y = np.empty(problem.y_shape)
            right("conv2d", x, w, bias, y)
            return y

        def backward(gy, x, w, bias):
            gx, gw, gb = np.empty(problem.x_shape), np.empty(problem.w_shape), np.empty(problem.K)
            right("conv2d_backward_data", gy, w, gx)
            right("conv2d_backward_filter", x, gy, gw, gb)
            return gx, gw, gb

        check_gradient(forward, backward, *arrays)


class Scale(layers.Layer):
    """y = scale * x, for each channel: right, and the base of the wrong ones."""

    def __init__(self, regularizer=None, **options):
        super().__init__(**options)
        self.regularizer = regularizer

    def make_weights(self, input_shape):
        self.scale = self.add_weight(input_shape[-1:], "ones", regularizer=self.regularizer, name="scale")

    def forward(self, x, training=False, buffers=None):
        self._saved = (x,)
        return x * self.scale.value

    def backward(self, grad, buffers=None, **options):
        self.scale.gradient = (grad * self._saved[0]).sum(axis=tuple(range(grad.ndim - 1)))
        if self.scale.regularizer is not None:
            self.scale.gradient += self.scale.regularizer.gradient(self.scale.value)
        return grad * self.scale.value

    def get_config(self):
        return {**super().get_config(), "regularizer": self.regularizer}


class ForgetsItsPenalty(Scale):
    def backward(self, grad, buffers=None, **options):
        self.scale.gradient = (grad * self._saved[0]).sum(axis=tuple(range(grad.ndim - 1)))
        return grad * self.scale.value


class ForgetsItsWeight(Scale):
    def backward(self, grad, buffers=None, **options):
        return grad * self.scale.value


class AddsUpItsGradient(Scale):
    def backward(self, grad, buffers=None, **options):
        before = 0 if self.scale.gradient is None else self.scale.gradient
        result = super().backward(grad)
        self.scale.gradient = self.scale.gradient + before
        return result


class PassesTheGradientOn(Scale):
    def backward(self, grad, buffers=None, **options):
        super().backward(grad)
        return grad


class SaysAnotherShape(Scale):
    def compute_output_shape(self, input_shape):
        return (*input_shape, 1)


class IsAlwaysFloat64(Scale):
    def forward(self, x, training=False, buffers=None):
        return super().forward(x).astype("float64")


class ChangesItsInput(Scale):
    def forward(self, x, training=False, buffers=None):
        y = super().forward(x.copy())
        x *= 2
        return y


class IsRandom(Scale):
    def forward(self, x, training=False, buffers=None):
        return super().forward(x) + keras.random.generator().random()


class KeepsStateBesideItsWeights(Scale):
    def make_weights(self, input_shape):
        super().make_weights(input_shape)
        self.secret = keras.random.generator().random()

    def forward(self, x, training=False, buffers=None):
        return super().forward(x) + self.secret


class ForgetsAnArgument(Scale):
    def get_config(self):
        return layers.Layer.get_config(self)


class MisreadsItsConfig(Scale):
    def __init__(self, regularizer=None, name="scale", **options):
        super().__init__(regularizer, name=f"{name}_again", **options)


class TestCheckLayer:
    @pytest.mark.parametrize("regularizer", [None, "l2"])
    def test_a_right_layer_passes(self, regularizer):
        check_layer(Scale(regularizer), (2, 3, 4))

    @pytest.mark.parametrize(
        ("wrong", "check"),
        [
            (ForgetsItsPenalty, "gradient"),
            (ForgetsItsWeight, "shape"),
            (AddsUpItsGradient, "repeat"),
            (PassesTheGradientOn, "gradient"),
            (SaysAnotherShape, "shape"),
            (IsAlwaysFloat64, "dtype"),
            (ChangesItsInput, "inputs"),
            (IsRandom, "repeat"),
            (KeepsStateBesideItsWeights, "config"),
            (ForgetsAnArgument, "config"),
            (MisreadsItsConfig, "config"),
        ],
    )
    def test_a_wrong_layer_is_caught(self, wrong, check):
        with pytest.raises(Mismatch) as caught:
            check_layer(wrong("l2"), (2, 3, 4))
        assert caught.value.check == check
        assert wrong.__name__ in str(caught.value)
