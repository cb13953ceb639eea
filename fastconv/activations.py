"""Activations: callable like Keras's functions, and trainable through `forward` and `backward`.

An activation is an object without hidden state:

    act.forward(x, out) -> out            out has x's shape and dtype, may be x itself, may be a strided view
    act.backward(grad, y, x, out) -> out  grad is the loss's gradient for the output y; out may be grad
    act.needs_input                       where False, the derivative follows from y and x may be None

`relu(x, negative_slope=0.1)` sets parameters for one call; `ReLU(negative_slope=0.1)` is an object with them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from fastconv.serialization import Configurable, Table, as_float

_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772
_GELU_CUBIC = 0.044715
_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


class Activation(Configurable):
    """Base class: a subclass defines `name`, `forward` and `backward`, and `needs_input` where it is True."""

    name = ""
    needs_input = False

    def __call__(self, x: Any, *args: Any, **parameters: Any) -> np.ndarray:
        """A new array with the activation of `x`, with the given parameters in place of this object's."""
        x = as_float(x)
        activation = type(self)(*args, **parameters) if args or parameters else self
        return activation.forward(x, np.empty_like(x))

    def forward(self, x: np.ndarray, out: np.ndarray) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define forward(x, out).")

    def backward(self, grad: np.ndarray, y: np.ndarray, x: np.ndarray | None, out: np.ndarray) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define backward(grad, y, x, out).")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        # A Keras file may hold an activation layer here, whose config has these keys besides.
        return cls(**{key: value for key, value in config.items() if key not in ("name", "dtype", "trainable")})


def _write(out: np.ndarray, values: np.ndarray) -> np.ndarray:
    out[...] = values
    return out


def _non_negative(name: str, value: float | None) -> None:
    if value is not None and not value >= 0:
        raise ValueError(f"{name} must not be negative, not {value!r}.")


class Linear(Activation):
    """y = x."""

    name = "linear"

    def forward(self, x, out):
        return out if out is x else _write(out, x)

    def backward(self, grad, y, x, out):
        return out if out is grad else _write(out, grad)


class ReLU(Activation):
    """y = min(x, max_value) above `threshold`, negative_slope * (x - threshold) up to it; NaN stays NaN.

    Raises:
        ValueError: one of the three is negative.
    """

    name = "relu"
    config_keys: tuple[str, ...] = ("negative_slope", "max_value", "threshold")

    def __init__(self, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> None:
        _non_negative("negative_slope", negative_slope)
        _non_negative("max_value", max_value)
        _non_negative("threshold", threshold)
        self.negative_slope = negative_slope
        self.max_value = max_value
        self.threshold = threshold

    def forward(self, x, out):
        if self.threshold == 0 and self.negative_slope == 0:
            np.maximum(x, 0, out=out)
        else:
            # Without a slope the low side must be 0 even for an infinite x.
            low = self.negative_slope * (x - self.threshold) if self.negative_slope else x.dtype.type(0)
            _write(out, np.where(x <= self.threshold, low, x))
        return out if self.max_value is None else np.minimum(out, self.max_value, out=out)

    def backward(self, grad, y, x, out):
        # y > 0 exactly where x > threshold, because no parameter is negative.
        if self.negative_slope == 0 and self.max_value is None:
            return np.multiply(grad, y > 0, out=out)
        slope = np.where(y > 0, y.dtype.type(1), y.dtype.type(self.negative_slope))
        if self.max_value is not None:
            slope *= y < self.max_value
        return np.multiply(grad, slope, out=out)


class ReLU6(ReLU):
    """y = x clipped to [0, 6]."""

    name = "relu6"
    config_keys = ()

    def __init__(self) -> None:
        super().__init__(max_value=6.0)


class LeakyReLU(ReLU):
    """y = x where positive, else negative_slope * x."""

    name = "leaky_relu"
    config_keys = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.2) -> None:
        super().__init__(negative_slope)


class ELU(Activation):
    """y = x where positive, else alpha * (exp(x) - 1); ValueError for a negative alpha."""

    name = "elu"
    config_keys: tuple[str, ...] = ("alpha",)
    scale = 1.0

    def __init__(self, alpha: float = 1.0) -> None:
        _non_negative("alpha", alpha)
        self.alpha = alpha

    def forward(self, x, out):
        low = self.scale * self.alpha * np.expm1(np.minimum(x, 0))
        return _write(out, np.where(x <= 0, low, self.scale * x))

    def backward(self, grad, y, x, out):
        slope = np.where(y > 0, y.dtype.type(self.scale), y + self.scale * self.alpha)
        return np.multiply(grad, slope, out=out)


class SELU(ELU):
    """`ELU` with the alpha and scale that keep activations at zero mean and unit variance."""

    name = "selu"
    config_keys = ()
    scale = _SELU_SCALE

    def __init__(self) -> None:
        super().__init__(_SELU_ALPHA)


class Softmax(Activation):
    """y = exp(x) / sum(exp(x)) along `axis`, computed so that it cannot overflow."""

    name = "softmax"
    config_keys = ("axis",)

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    @np.errstate(invalid="ignore")
    def forward(self, x, out):
        np.subtract(x, x.max(axis=self.axis, keepdims=True), out=out)
        np.exp(out, out=out)
        out /= out.sum(axis=self.axis, keepdims=True)
        return out

    def backward(self, grad, y, x, out):
        mean = (grad * y).sum(axis=self.axis, keepdims=True)
        np.subtract(grad, mean, out=out)
        out *= y
        return out


class LogSoftmax(Activation):
    """y = x - log(sum(exp(x))) along `axis`."""

    name = "log_softmax"
    config_keys = ("axis",)

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    @np.errstate(invalid="ignore")
    def forward(self, x, out):
        np.subtract(x, x.max(axis=self.axis, keepdims=True), out=out)
        out -= np.log(np.exp(out).sum(axis=self.axis, keepdims=True))
        return out

    def backward(self, grad, y, x, out):
        total = grad.sum(axis=self.axis, keepdims=True)
        return np.subtract(grad, np.exp(y) * total, out=out)


class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x))."""

    name = "sigmoid"

    def forward(self, x, out):
        return _write(out, _logistic(x))

    def backward(self, grad, y, x, out):
        return np.multiply(grad, y * (1 - y), out=out)


class Tanh(Activation):
    """y = tanh(x)."""

    name = "tanh"

    def forward(self, x, out):
        return np.tanh(x, out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, 1 - y * y, out=out)


class Softplus(Activation):
    """y = log(1 + exp(x))."""

    name = "softplus"

    def forward(self, x, out):
        return _write(out, _log1p_exp(x))

    def backward(self, grad, y, x, out):
        return np.multiply(grad, -np.expm1(-y), out=out)


class Softsign(Activation):
    """y = x / (1 + |x|)."""

    name = "softsign"

    def forward(self, x, out):
        return np.divide(x, 1 + np.abs(x), out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, (1 - np.abs(y)) ** 2, out=out)


class Exponential(Activation):
    """y = exp(x); infinite where that overflows."""

    name = "exponential"

    @np.errstate(over="ignore")
    def forward(self, x, out):
        return np.exp(x, out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, y, out=out)


class HardSigmoid(Activation):
    """y = x / 6 + 1/2 clipped to [0, 1]."""

    name = "hard_sigmoid"

    def forward(self, x, out):
        return np.clip(x / 6 + 0.5, 0, 1, out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, ((y > 0) & (y < 1)) * y.dtype.type(1 / 6), out=out)


class SiLU(Activation):
    """y = x * sigmoid(x)."""

    name = "silu"
    needs_input = True

    def forward(self, x, out):
        return np.multiply(x, _logistic(x), out=out)

    def backward(self, grad, y, x, out):
        gate = _logistic(x)
        return np.multiply(grad, gate + y * (1 - gate), out=out)


class HardSiLU(Activation):
    """y = x * hard_sigmoid(x)."""

    name = "hard_silu"
    needs_input = True

    def forward(self, x, out):
        return np.multiply(x, np.clip(x / 6 + 0.5, 0, 1), out=out)

    def backward(self, grad, y, x, out):
        slope = np.where(np.abs(x) < 3, x / 3 + 0.5, x > 0).astype(x.dtype, copy=False)
        return np.multiply(grad, slope, out=out)


class GELU(Activation):
    """y = x * P(standard normal < x); `approximate` uses a tanh in place of the normal distribution."""

    name = "gelu"
    needs_input = True
    config_keys = ("approximate",)

    def __init__(self, approximate: bool = False) -> None:
        self.approximate = approximate

    def forward(self, x, out):
        return np.multiply(x, self._gate(x), out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, self._gate(x) + x * self._gate_slope(x), out=out)

    def _gate(self, x: np.ndarray) -> np.ndarray:
        """The factor on x."""
        if self.approximate:
            return (1 + _gelu_tanh(x)) / 2
        return 0.5 * _erfc(-x * math.sqrt(0.5)).astype(x.dtype)

    def _gate_slope(self, x: np.ndarray) -> np.ndarray:
        """The derivative of the factor on x."""
        x = _gelu_range(x)
        if self.approximate:
            return (1 - _gelu_tanh(x) ** 2) * _SQRT_2_OVER_PI * (0.5 + 1.5 * _GELU_CUBIC * x * x)
        return np.exp(-0.5 * x * x) * math.sqrt(0.5 / math.pi)


def _gelu_range(x: np.ndarray) -> np.ndarray:
    """x without the values whose square would overflow; beyond 40 GELU is x or 0 to the last bit."""
    return np.clip(x, -40, 40)


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    x = _gelu_range(x)
    return np.tanh(_SQRT_2_OVER_PI * x * (1 + _GELU_CUBIC * x * x))


class Mish(Activation):
    """y = x * tanh(softplus(x))."""

    name = "mish"
    needs_input = True

    def forward(self, x, out):
        return np.multiply(x, np.tanh(_log1p_exp(x)), out=out)

    def backward(self, grad, y, x, out):
        gate = np.tanh(_log1p_exp(x))
        return np.multiply(grad, gate + x * (1 - gate * gate) * _logistic(x), out=out)


def _logistic(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) as a new array, with exp of negative numbers only."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, x.dtype.type(1)) / (1 + small)


def _log1p_exp(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)) as a new array, with exp of negative numbers only."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


# NumPy has no error function.
_erfc = np.vectorize(math.erfc, otypes=[np.float64])

linear = Linear()
relu = ReLU()
relu6 = ReLU6()
leaky_relu = LeakyReLU()
elu = ELU()
selu = SELU()
softmax = Softmax()
log_softmax = LogSoftmax()
sigmoid = Sigmoid()
tanh = Tanh()
softplus = Softplus()
softsign = Softsign()
exponential = Exponential()
hard_sigmoid = HardSigmoid()
silu = swish = SiLU()
hard_silu = hard_swish = HardSiLU()
gelu = GELU()
mish = Mish()

_DEFAULTS: dict[str, Activation] = {
    activation.name: activation for activation in list(globals().values()) if isinstance(activation, Activation)
}
_NAMES = {**_DEFAULTS, "swish": silu, "hard_swish": hard_silu}
# keras.layers, because there Keras finds activations that have parameters.
_TABLE = Table("keras.layers", "activation", {type(activation) for activation in _DEFAULTS.values()})


def get(identifier: Any) -> Any:
    """The activation of a name, config or object; `linear` for None.

    Raises:
        ValueError: unknown name or bad config.
        TypeError: an object without `forward` and `backward`, such as a bare function.
    """
    if identifier is None:
        return linear
    if isinstance(identifier, str):
        if identifier not in _NAMES:
            raise ValueError(f"Unknown activation {identifier!r}. Known: {', '.join(sorted(_NAMES))}.")
        return _NAMES[identifier]
    if isinstance(identifier, Mapping) and identifier.get("class_name") == "function":
        return get(identifier.get("config"))
    activation = _TABLE.make(identifier)
    if not all(hasattr(activation, needed) for needed in ("name", "forward", "backward")):
        raise _TABLE.refuse(
            identifier,
            "an object with a name and the two methods forward(x, out) and backward(grad, y, x, out), "
            "because a bare function has no derivative",
        )
    return activation


def serialize(activation: Any) -> str | dict[str, Any]:
    """The plain name; for one with parameters of its own, Keras 3's layout."""
    default = _DEFAULTS.get(activation.name)
    is_variant = default is not None and activation.get_config() != default.get_config()
    return _TABLE.serialize(activation) if is_variant else activation.name


def deserialize(config: str | Mapping[str, Any]) -> Any:
    """The activation of a name or of `{"class_name": ..., "config": {...}}`."""
    return get(config)
