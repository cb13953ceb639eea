"""Values and their types, by Numba's rules: the type of an expression, hence its rounding, is that on the GPU.

A value is a scalar, the same in all threads, or a NumPy array with one element a thread. Python's int, float and bool
stand for int64, float64 and bool, as literals do in Numba; every other type is NumPy's.
"""

from __future__ import annotations

import ast
import functools
import operator
from typing import Any

import numpy as np

Number = Any  # int | float | bool | np.generic | np.ndarray of shape (lanes,)

BOOL, INT64, UINT64, FLOAT64 = (np.dtype(name) for name in ("bool", "int64", "uint64", "float64"))
_OF_PYTHON = {bool: BOOL, float: FLOAT64}
_OPERATORS: dict[type[ast.operator], tuple[Any, Any]] = {  # by NumPy on arrays, by Python on two ints
    ast.Add: (np.add, operator.add),
    ast.Sub: (np.subtract, operator.sub),
    ast.Mult: (np.multiply, operator.mul),
    ast.Div: (np.true_divide, operator.truediv),
    ast.FloorDiv: (np.floor_divide, operator.floordiv),
    ast.Mod: (np.remainder, operator.mod),
    ast.Pow: (np.power, None),
    ast.LShift: (np.left_shift, None),
    ast.RShift: (np.right_shift, None),
    ast.BitAnd: (np.bitwise_and, operator.and_),
    ast.BitOr: (np.bitwise_or, operator.or_),
    ast.BitXor: (np.bitwise_xor, operator.xor),
}
_BITWISE = (ast.BitAnd, ast.BitOr, ast.BitXor)
_SHIFTS = (ast.LShift, ast.RShift)
_COMPARISONS: dict[type[ast.cmpop], Any] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}


def is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float, np.generic, np.ndarray))


def varies(value: Any) -> bool:
    """Whether the value may differ between threads."""
    return isinstance(value, np.ndarray)


def type_of(value: Number) -> np.dtype:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype
    if type(value) is int:
        return INT64 if -(2**63) <= value < 2**63 else UINT64
    return _OF_PYTHON[type(value)]


def plain(value: Number) -> Number:
    """A NumPy scalar of int64, float64 or bool as Python's, which is quicker to compute with."""
    if isinstance(value, np.generic) and value.dtype in (INT64, FLOAT64, BOOL):
        return value.item()
    return value


def cast(value: Number, dtype: np.dtype) -> Number:
    """The value converted as C does: integers wrap, floats are cut towards zero."""
    if type_of(value) == dtype:
        return value
    if isinstance(value, np.ndarray):
        return value.astype(dtype)
    return plain(np.asarray(value, type_of(value)).astype(dtype)[()])


@functools.cache
def arithmetic_type(a: np.dtype, b: np.dtype) -> np.dtype:
    """Of a + b. Integers are widened to 64 bits; float32 with an integer of 32 bits or more gives float64."""
    if a.kind in "biu" and b.kind in "biu":
        return UINT64 if a.kind == b.kind == "u" else INT64
    return np.promote_types(a, b)


def binary(kind: type[ast.operator], a: Number, b: Number) -> Number:
    by_numpy, by_python = _OPERATORS[kind]
    if type(a) is int and type(b) is int and by_python and (b or kind not in (ast.Div, ast.FloorDiv, ast.Mod)):
        result = by_python(a, b)
        return result if kind is ast.Div or -(2**63) <= result < 2**63 else wrapped(result)
    if kind is ast.Pow:
        return power(a, b)
    left, right = type_of(a), type_of(b)
    common = arithmetic_type(left, right)
    if kind is ast.Div and common.kind in "iu":
        common = FLOAT64
    elif kind in _BITWISE and left == right == BOOL:
        common = BOOL
    elif kind in _SHIFTS:
        common = arithmetic_type(left, left)
    return plain(by_numpy(cast(a, common), cast(b, common)))


def wrapped(value: int) -> int:
    """What is left of an integer in 64 bits with a sign."""
    return (value + 2**63) % 2**64 - 2**63


def power(a: Number, b: Number) -> Number:
    """a ** b; an integer as the exponent keeps the type of a float."""
    base, exponent = type_of(a), type_of(b)
    common = base if base.kind == "f" and exponent.kind in "iu" else arithmetic_type(base, exponent)
    if type(b) is int and b == 2:
        return plain(np.multiply(cast(a, common), cast(a, common)))
    if common.kind in "iu":  # NumPy refuses negative exponents, which may be those of threads that are not here
        return plain(
            np.where(np.less(b, 0), 0, np.power(cast(a, common), np.maximum(cast(b, common), 0))).astype(common)[()]
        )
    return plain(np.power(cast(a, common), cast(b, common)))


def unary(kind: type[ast.unaryop], a: Number) -> Number:
    if kind is ast.Not:
        return not a if not varies(a) else np.equal(a, 0)
    common = type_of(a) if type_of(a).kind == "f" else arithmetic_type(type_of(a), type_of(a))
    a = cast(a, common)
    if kind is ast.UAdd:
        return a
    if type(a) is int:
        return wrapped(-a) if kind is ast.USub else ~a
    return plain(np.negative(a) if kind is ast.USub else np.invert(a))


def compare(kind: type[ast.cmpop], a: Number, b: Number) -> Number:
    return plain(_COMPARISONS[kind](a, b))


def truth(value: Number) -> Number:
    """The value as a bool, or an array of them."""
    if not varies(value):
        return bool(value)
    return value if value.dtype == BOOL else value != 0


def choose(condition: np.ndarray, a: Number, b: Number) -> np.ndarray:
    """a where the condition holds, else b, in the smallest type that holds both."""
    common = np.promote_types(type_of(a), type_of(b))
    return np.asarray(np.where(condition, cast(a, common), cast(b, common)))


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same scalar of the same type, or the same object."""
    if a is b:
        return True
    if varies(a) or varies(b) or type(a) is not type(b) or not is_number(a):
        return False
    return bool(a == b)


def fma(a: Number, b: Number, c: Number) -> Number:
    """a * b + c. In float32 it is rounded once, as on the GPU; in float64 the product is rounded too."""
    common = functools.reduce(np.promote_types, map(type_of, (a, b, c)))
    if common != np.float32:
        return binary(ast.Add, binary(ast.Mult, a, b), c)
    product = np.multiply(cast(a, FLOAT64), cast(b, FLOAT64))  # exact: 48 bits
    addend = np.asarray(cast(c, FLOAT64))
    total = np.asarray(product + addend)
    # What the sum lost to rounding (Knuth). Where it lost something, the sum is made odd: rounded
    # again, to float32, it goes to the right side (Boldo and Melquiond, "Emulation of FMA and correctly rounded
    # sums").
    part = total - product
    lost = (product - (total - part)) + (addend - part)
    even = (total.view(np.int64) & 1) == 0
    towards = np.where(lost > 0, np.inf, -np.inf)
    odd = np.where((lost != 0) & even & np.isfinite(total), np.nextafter(total, towards), total)
    return odd.astype(np.float32)[()]
