"""Functions that a kernel may call besides those of `cuda`: Python's, `math`'s and NumPy's."""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastconv.testing.simulator import values
from fastconv.testing.simulator.masks import Mask
from fastconv.testing.simulator.source import Site
from fastconv.testing.simulator.values import FLOAT64, Number

if TYPE_CHECKING:
    from fastconv.testing.simulator.expressions import Expressions


class Place(NamedTuple):
    """Where a call happens: for which threads, at which place in the source, in which interpreter."""

    mask: Mask
    site: Site
    interpreter: Expressions


Function = Callable[..., Any]


def _of_floats(ufunc: Callable[..., Any], flops: int = 1) -> Function:
    """A function of floats, in their type; integers are made float64 first."""

    def run(place: Place, *args: Number) -> Number:
        common = functools.reduce(np.promote_types, map(values.type_of, args))
        common = common if common.kind == "f" else FLOAT64
        result = values.plain(ufunc(*(values.cast(arg, common) for arg in args)))
        if values.type_of(result).kind == "f":
            result = values.cast(result, common)
        place.interpreter.count_flops(result, place.mask, place.site, flops)
        return result

    return run


def _of_python(function: Callable[..., float]) -> Callable[..., Any]:
    """A function of `math` that NumPy lacks, on arrays too; slow."""
    each = np.vectorize(function, otypes=[np.float64])
    return lambda *args: each(*args) if any(map(values.varies, args)) else function(*map(float, args))


def _to_integer(ufunc: Callable[..., Any]) -> Function:
    def run(place: Place, value: Number) -> Number:
        return values.cast(value if values.type_of(value).kind in "iub" else ufunc(value), values.INT64)

    return run


def _extreme(ufunc: np.ufunc) -> Function:
    """min or max. Of two, as Numba does it: NaN as the second operand is not returned."""

    def run(place: Place, *args: Any) -> Number:
        args = args[0] if len(args) == 1 else args
        common = functools.reduce(np.promote_types, map(values.type_of, args))
        return values.plain(functools.reduce(ufunc, (values.cast(arg, common) for arg in args)))

    return run


def _absolute(place: Place, value: Number) -> Number:
    return values.plain(np.absolute(value))


def _power(place: Place, a: Number, b: Number) -> Number:
    result = values.power(a, b)
    place.interpreter.count_flops(result, place.mask, place.site)
    return result


def _length(place: Place, value: Any) -> int:
    return len(value)


def _print(place: Place, *args: Any) -> None:
    for lane in place.mask.index:
        print(*(arg[lane] if isinstance(arg, np.ndarray) else arg for arg in args))


FUNCTIONS: dict[Any, Function] = {
    builtins.min: _extreme(np.fmin),
    builtins.max: _extreme(np.fmax),
    builtins.abs: _absolute,
    builtins.round: _to_integer(np.rint),
    builtins.pow: _power,
    builtins.len: _length,
    builtins.print: _print,
    math.fabs: _of_floats(np.absolute, flops=0),
    math.pow: _of_floats(np.power),
    math.floor: _to_integer(np.floor),
    math.ceil: _to_integer(np.ceil),
    math.trunc: _to_integer(np.trunc),
}
for _name in ("sqrt", "exp", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh"):
    FUNCTIONS[getattr(math, _name)] = _of_floats(getattr(np, _name))
for _name in ("hypot", "fmod", "copysign", "isnan", "isinf", "isfinite", "degrees", "radians"):
    FUNCTIONS[getattr(math, _name)] = _of_floats(getattr(np, _name))
for _name in ("asin", "acos", "atan", "asinh", "acosh", "atanh", "atan2"):
    FUNCTIONS[getattr(math, _name)] = _of_floats(getattr(np, _name.replace("a", "arc", 1)))
for _name in ("erf", "erfc", "gamma", "lgamma"):
    FUNCTIONS[getattr(math, _name)] = _of_floats(_of_python(getattr(math, _name)))
for _ufunc in (np.sqrt, np.exp, np.log, np.sin, np.cos, np.tanh, np.isnan, np.isinf, np.hypot):
    FUNCTIONS[_ufunc] = _of_floats(_ufunc)
FUNCTIONS |= {np.abs: _absolute, np.minimum: _extreme(np.minimum), np.maximum: _extreme(np.maximum)}
