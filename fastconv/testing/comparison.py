"""Comparing arrays so that a failure says where they differ, and so that NaN is never close to anything."""

from __future__ import annotations

from typing import Any

import numpy as np

_SHOWN = 5
_ROUGH_UNITS = 64  # of the largest sum of magnitudes, that an element of an inexact kernel's may be off
# Of the result's norm, what all errors together may reach. TF32 keeps 11 bits of each factor, BF16 8 of everything.
_ROUGH_NORM = {"float32": 1e-5, "float64": 1e-13, "tf32": 2e-3, "bfloat16": 2e-2}
EPS = {"tf32": 2.0**-10, "bfloat16": 2.0**-7}


class Mismatch(AssertionError):
    """A check failed.

    Attributes:
        check: the name of the check, one word or two.
    """

    def __init__(self, check: str, message: str) -> None:
        super().__init__(message)
        self.check = check


class KernelMismatch(Mismatch):
    """A kernel broke its contract; the message ends with a line that repeats the check."""


def difference(name: str, got: np.ndarray, expected: np.ndarray, tolerance: Any = 0.0) -> str | None:
    """What differs between two arrays of one shape, or None.

    NaN equals NaN and nothing else, an infinity equals itself; all other elements may differ by `tolerance`, a
    number or an array.
    """
    if got.shape != expected.shape:
        return f"{name} has shape {got.shape}, expected {expected.shape}"
    wrong = wrong_elements(got, expected, tolerance)
    places = np.argwhere(wrong)
    if len(places) == 0:
        return None
    lines = [f"{len(places)} of {wrong.size} elements of {name} are wrong:"]
    allowed = np.broadcast_to(tolerance, wrong.shape)
    for place in map(tuple, places[:_SHOWN]):
        index = ", ".join(map(str, place))
        lines.append(f"  {name}[{index}]: expected {expected[place]}, got {got[place]} (allowed: {allowed[place]:.3g})")
    return "\n".join(lines)


def wrong_elements(got: np.ndarray, expected: np.ndarray, tolerance: Any = 0.0) -> np.ndarray:
    """Where two arrays of one shape differ in the sense of `difference`: an array of bools."""
    with np.errstate(invalid="ignore"):
        close = np.abs(got - expected) <= tolerance  # NaN compares as False
    return ~(close | (got == expected) | (np.isnan(got) & np.isnan(expected)))


def rough_difference(
    name: str, got: np.ndarray, expected: np.ndarray, magnitudes: np.ndarray, precision: str = "", spreads: bool = False
) -> str | None:
    """As `difference`, for a kernel that takes another sum than the formula's: an error is allowed that depends on the
    `magnitudes` of the terms around an element, not only on its own.

    precision: "tf32" or "bfloat16" where that is what was computed in; by default that of the dtype.
    spreads: whether there may be more NaN, because inputs hold some, which reach elements beside the formula's.
    """
    if spreads and got.shape == expected.shape:
        expected = np.where(np.isnan(got), np.array(np.nan, expected.dtype), expected)
    finite = np.isfinite(expected)
    eps = EPS[precision] if precision else np.finfo(got.dtype).eps
    allowed = _ROUGH_UNITS * eps * magnitudes.max(initial=0)
    text = difference(name, got, expected, allowed)
    if text is None:
        error = np.linalg.norm((got - expected)[finite].astype(np.float64))
        size = np.linalg.norm(expected[finite].astype(np.float64))
        limit = _ROUGH_NORM[precision or got.dtype.name]
        if not error <= limit * size:
            text = f"the error of {name} is {error / size:.2g} of its norm (allowed: {limit})"
    return text
