"""Problems drawn at random, for checks beyond the named edge shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import kernels


def draw_problem(op: str, rng: np.random.Generator) -> Any:
    """A small problem of `op` with every option drawn for each axis.

    One in three has more channels than a vector holds.
    N is 0 to 3, windows have 1 to 5 taps an axis, strides are 1 to 4; for convolutions dilations 1 to 3, groups from 1
    to depthwise, and padding that may be wider than the window. Pooling behind a convolution is by 2x2 in two of three,
    else by 1 to 3 an axis. Two in three are float32, the others float64.
    """
    kind = kernels.problem_type(op)
    pooling = kind is kernels.Pool2DProblem
    padding = str(rng.choice(["valid", "same", "sides"]))
    numbers: dict[str, Any] = {"N": _from(rng, 0, 3), "C": _channels(rng)}
    if not pooling:
        groups = int(rng.choice([1, 1, 2, 3, numbers["C"]]))
        numbers["C"] += -numbers["C"] % groups
        numbers |= {"groups": groups, "K": groups * (_channels(rng) if groups < 4 else _from(rng, 1, 2))}
    axes = []
    for size, window in (("H", "R"), ("W", "S")):
        taps, stride = _from(rng, 1, 5), _from(rng, 1, 4)
        dilation = 1 if pooling else _from(rng, 1, 3)
        most = 0 if padding != "sides" else taps - 1 if pooling else taps * dilation + 2
        sides = _from(rng, 0, most), _from(rng, 0, most)
        least = 1 if padding == "same" else max(1, (taps - 1) * dilation + 1 - sum(sides))
        numbers |= {size: least + _from(rng, 0, 8), window: taps}
        axes.append((stride, dilation, f"{sides[0]},{sides[1]}"))
    strides, dilations, pads = zip(*axes, strict=True)
    numbers |= {
        "stride": f"{strides[0]},{strides[1]}",
        "dilation": f"{dilations[0]},{dilations[1]}",
        "padding": ",".join(pads) if padding == "sides" else padding,
        "dtype": rng.choice(["float32", "float32", "float64"]),
    }
    text = " ".join(f"{key}={value}" for key, value in numbers.items())
    if kind is not kernels.ConvPool2DProblem:
        return kind.parse(text)
    convolution = kernels.Conv2DProblem.parse(text)
    pool = [2, 2] if rng.random() < 2 / 3 else [_from(rng, 1, 3), _from(rng, 1, 3)]
    return kind.pooled(convolution, (min(pool[0], convolution.P), min(pool[1], convolution.Q)))


def _from(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high, endpoint=True))


def _channels(rng: np.random.Generator) -> int:
    return _from(rng, 14, 35) if rng.random() < 1 / 3 else _from(rng, 1, 5)
