"""Activations: callable like Keras's functions, and trainable through `forward` and `backward`.

An activation is an object without hidden state:

    act.forward(x, out) -> out            out has x's shape and dtype, may be x itself, may be a strided view
    act.backward(grad, y, x, out) -> out  grad is the loss's gradient for the output y; out may be grad
    act.needs_input                       where False, the derivative follows from y and x may be None
    act.keeps_shape                       False for `glu` alone, whose out is half of x, and neither x nor grad itself

`relu(x, negative_slope=0.1)` sets parameters for one call; `ReLU(negative_slope=0.1)` is an object with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastconv.activations.base import Activation
from fastconv.activations.curves import (
    GELU,
    Exponential,
    HardSigmoid,
    HardSiLU,
    LogSigmoid,
    Mish,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    SparseSigmoid,
    Tanh,
    TanhShrink,
)
from fastconv.activations.gated import GLU
from fastconv.activations.rectifiers import (
    CELU,
    ELU,
    SELU,
    HardShrink,
    HardTanh,
    LeakyReLU,
    Linear,
    ReLU,
    ReLU6,
    SoftShrink,
    SparsePlus,
    SquarePlus,
    Threshold,
)
from fastconv.activations.softmax import LogSoftmax, Softmax, Sparsemax
from fastconv.serialization import Table

linear = Linear()
relu = ReLU()
relu6 = ReLU6()
leaky_relu = LeakyReLU()
elu = ELU()
selu = SELU()
celu = CELU()
hard_tanh = HardTanh()
hard_shrink = HardShrink()
soft_shrink = SoftShrink()
threshold = Threshold()
sparse_plus = SparsePlus()
squareplus = SquarePlus()
softmax = Softmax()
log_softmax = LogSoftmax()
sparsemax = Sparsemax()
sigmoid = Sigmoid()
log_sigmoid = LogSigmoid()
sparse_sigmoid = SparseSigmoid()
tanh = Tanh()
tanh_shrink = TanhShrink()
softplus = Softplus()
softsign = Softsign()
exponential = Exponential()
hard_sigmoid = HardSigmoid()
silu = swish = SiLU()
hard_silu = hard_swish = HardSiLU()
gelu = GELU()
mish = Mish()
glu = GLU()

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
