"""Kernels that look at whole rows, or at a few elements of a line: simulated; against NumPy in float64."""

import inspect
import math
import sys

import numpy as np
import pytest
from lab import made_of, planted, run, simulated

from fastconv import activations
from fastconv.kernels import (
    cuda_batch_norm,
    cuda_prelu,
    cuda_resample,
    cuda_rows,
    cuda_sample_norm,
    cuda_softmax,
    cuda_strided,
)
from fastconv.kernels.cuda_rows import ACROSS, ALONE, TOGETHER, sharing
from fastconv.kernels.cuda_units import units_of
from fastconv.layers.interpolation import INTERPOLATIONS, taps
from fastconv.testing import SimulationError

# Shape, axes of a row, how its threads share it.
ROWS = [
    ((37, 3), (1,), ALONE),
    ((2, 5, 3, 7), (1, 3), ALONE),
    ((2, 3, 1100), (2,), TOGETHER),
    ((2, 120, 2, 9), (1, 3), TOGETHER),
    ((2, 8200), (1,), TOGETHER),
    ((2, 5, 37), (1,), ACROSS),
    ((4, 3, 2, 5), (0, 2), ACROSS),
    ((2, 1030, 3), (1,), ACROSS),
]


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def close(found, expected, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


def test_ways_of_sharing_rows():
    for shape, axes, way in ROWS:
        assert sharing(units_of(shape, axes)).way == way
    assert sharing(units_of((2, 8200), (1,))).block == (32, 32)


# Checks of one module each: `kernels` is the module, as it is or with a fault planted into it.


def check_softmax(kernels):
    of = {
        kernels.SOFTMAX: activations.Softmax,
        kernels.LOG_SOFTMAX: activations.LogSoftmax,
        kernels.SPARSEMAX: activations.Sparsemax,
    }
    for shape, axes, _ in ROWS:
        rows, x, gy = units_of(shape, axes), 2 * numbers(*shape), numbers(*shape, seed=1)
        order = (*(axis for axis in range(len(shape)) if axis not in axes), *axes)
        flat = (-1, math.prod(shape[axis] for axis in axes))
        by_row = x.transpose(order).reshape(flat).astype(float)
        by_row_gy = gy.transpose(order).reshape(flat).astype(float)
        for kind, cls in of.items():
            y, gx = np.full_like(x, np.nan), np.full_like(x, np.nan)
            run(kernels.forward(kind, x, y, rows))
            expected = cls()(by_row)
            close(y.transpose(order).reshape(flat), expected, atol=3e-6)
            run(kernels.backward(kind, gy, y, gx, rows))
            slopes = cls().backward(by_row_gy, expected, by_row, np.empty_like(by_row))
            close(gx.transpose(order).reshape(flat), slopes, rtol=1e-4, atol=1e-5)
    x = np.array([[5.25, 5, 4, np.nan], [0, 0, 0, 0], [1000, -1000, 999.5, 0]], "float32")  # in place
    run(kernels.forward(kernels.SPARSEMAX, x, x, units_of(x.shape, (1,))))
    close(x, [[0.625, 0.375, 0, np.nan], [0.25] * 4, [0.75, 0, 0.25, 0]])
    x = np.array([[1, np.nan, 2], [-np.inf, 0, 0]], "float32")
    run(kernels.forward(kernels.SOFTMAX, x, x, units_of(x.shape, (1,))))
    close(x, [[np.nan] * 3, [0, 0.5, 0.5]])


def normalized(x, gy, over, gamma, beta, epsilon):
    """y, gx, and gy times what gamma is multiplied by."""
    d = x - x.mean(over, keepdims=True)
    inverse = (np.square(d).mean(over, keepdims=True) + epsilon) ** -0.5
    unit, slope = d * inverse, gy * gamma
    along = slope - slope.mean(over, keepdims=True) - unit * (slope * unit).mean(over, keepdims=True)
    return unit * gamma + beta, along * inverse, gy * unit


def check_sample_norm(kernels):
    cases = [(shape, axes, None) for shape, axes, _ in ROWS[1:]]
    # Groups: samples, pixels, groups, channels of one. Rows of one pixel, of many; groups of one channel.
    groups = [(3, 1, 2, 5), (2, 300, 3, 4), (2, 7, 40, 1), (2, 6, 1, 9)]
    for shape, over, grouped in cases + [(shape, (1, 3), shape[2:]) for shape in groups]:
        x, gy = 100 + numbers(*shape), numbers(*shape, seed=1)
        others = tuple(axis for axis in range(len(shape)) if axis not in over)
        summed = (0, 1) if grouped else others
        gamma, beta = numbers(2, *(1 if axis in summed else size for axis, size in enumerate(shape)), seed=2)
        rows, columns = units_of(shape, over), units_of(shape, summed)
        weights = kernels.whole(rows)
        if grouped:
            rows, columns, weights = kernels.grouped(*shape)
        y, gx = np.full((2, *shape), np.nan, "float32")
        mean, inverse = np.full((2, rows.units), np.nan, "float32")
        run(kernels.normalize(x, rows, (mean, inverse), (gamma, beta), weights, y, 0.01))
        wide = x.astype(float), gy.astype(float)
        expected, slopes, products = normalized(*wide, over, gamma, beta, 0.01)
        close(y, expected, rtol=2e-4, atol=1e-4)
        close(mean, wide[0].mean(over).reshape(-1))
        product, total = np.full((2, columns.units), np.nan, "float32")
        partial = np.full(cuda_batch_norm.partial_shape(columns.terms, columns.units), np.nan, "float32")
        run(kernels.weight_gradients(gy, x, columns, (mean, inverse), weights, partial, (product, total)))
        close(product, products.sum(summed).reshape(-1), rtol=1e-4, atol=1e-3)
        close(total, gy.sum(summed, dtype=float).reshape(-1), rtol=1e-4, atol=1e-4)
        run(kernels.input_gradient(gy, x, rows, (mean, inverse), gamma, weights, gx, 0.01))
        close(gx, slopes, rtol=1e-3, atol=1e-3)
        run(kernels.normalize(x, rows, (mean, inverse), (None, None), weights, y, 0.01))
        close(y, normalized(*wide, over, 1, 0, 0.01)[0], rtol=2e-4, atol=1e-4)
        run(kernels.input_gradient(gy, x, rows, (mean, inverse), None, weights, gy, 0.01))  # in place
        close(gy, normalized(*wide, over, 1, 0, 0.01)[1], rtol=1e-3, atol=1e-3)
    for shape, over, _ in cases:
        x, gy, rows = numbers(*shape), numbers(*shape, seed=1), units_of(shape, over)
        x[0, ..., 0] *= 1e-14
        gx, y, inverse = np.full_like(x, np.nan), np.full_like(x, np.nan), np.full(rows.units, np.nan, "float32")
        weights = kernels.whole(rows)
        run(kernels.normalize(x, rows, (None, inverse), (None, None), weights, y, 1e-12))
        run(kernels.input_gradient(gy, x, rows, (None, inverse), None, weights, gx, 1e-12))
        length = np.sqrt(np.square(x, dtype=float).sum(over, keepdims=True))
        unit = x / np.maximum(length, 1e-12)
        close(y, unit)
        along = (gy * unit).sum(over, keepdims=True) * (length > 1e-12)
        close(gx, (gy - unit * along) / np.maximum(length, 1e-12), rtol=1e-4, atol=1e-4)


def check_resample(kernels):
    x = numbers(2, 5, 4, 3)
    for axis, new_size, method, antialias in [
        *((1, 7, name, False) for name in INTERPOLATIONS),
        (2, 2, "bicubic", True),
    ]:
        forth, back = taps(x.shape[axis], new_size, method, antialias)
        matrix = np.zeros((new_size, x.shape[axis]))
        np.add.at(matrix, (np.arange(new_size)[:, None], forth.places), forth.weights)
        gy = None
        for table, of in ((forth, matrix), (back, matrix.T)):
            given = x if gy is None else gy
            y = np.full((*x.shape[:axis], len(of), *x.shape[axis + 1 :]), np.nan, "float32")
            run(kernels.along(given, axis, table.places.astype("float32"), table.weights.astype("float32"), y))
            close(y, np.moveaxis(np.tensordot(of, given, (1, axis)), 0, axis))
            gy = numbers(*y.shape, seed=1)


def check_prelu(kernels):
    x, gy, alpha = numbers(3, 4, 5, 2), numbers(3, 4, 5, 2, seed=1), numbers(4, 1, 2, seed=2)
    x[0, 0, 0], x[0, 0, 1] = 0, np.inf
    slopes = np.where(x > 0, 1, np.where(x < 0, alpha, 0))
    for turned in (False, True):  # images of channels first
        views = [array.transpose(0, 3, 1, 2) if turned else array for array in (x, gy, *np.full((3, *x.shape), np.nan))]
        given = [view.astype("float32", order="K") for view in views]
        (first, up, y, gx, products), a = given, alpha.transpose(2, 0, 1) if turned else alpha
        first = np.ascontiguousarray(first)  # whose layout need not be that of the others
        run(kernels.leak(first, a, y))
        run(kernels.leak_backward(up, first, a, gx, products))
        run(kernels.leak_backward(up, first, a, up, None))
        back = (0, 2, 3, 1) if turned else (0, 1, 2, 3)
        close(y.transpose(back), np.where(x > 0, x, x * alpha))
        close(gx.transpose(back), gy * slopes)
        close(products.transpose(back), gy * np.minimum(x, 0))
        close(up, gx)


def check_quotients(kernels):
    a, b, y = numbers(4, 3), numbers(3, seed=1), np.full((4, 3), np.nan, "float32")
    run(kernels.combine(kernels.DIVIDE, a, b, y))
    close(y, a / b)
    run(kernels.combine(kernels.ROOT, np.abs(a), np.array([0.5], "float32"), y))
    close(y, np.maximum(np.sqrt(np.abs(a)), 0.5))


CHECKS = {
    cuda_softmax: check_softmax,
    cuda_sample_norm: check_sample_norm,
    cuda_resample: check_resample,
    cuda_prelu: check_prelu,
    cuda_strided: check_quotients,
}


@pytest.mark.parametrize("module", CHECKS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_kernels(module):
    CHECKS[module](module)


PLANTED = [
    (cuda_softmax, "(above - float32(1)) / count", "above / count"),
    (cuda_softmax, "fewer = count < least and", "fewer = least == _INFINITY and"),
    (cuda_softmax, "warp_sum(float32(1) if fewer else float32(0))", "float32(1) if fewer else float32(0)"),
    (cuda_softmax, "total / row_sum(shares, way, count)", "total / row_sum(shares, way, float32(1))"),
    (cuda_softmax, "math.exp(out) * total", "out * total"),
    (cuda_sample_norm, "% uint32(weights.groups) * weights.period", "* weights.period"),
    (cuda_sample_norm, "uint32(sample * weights.groups + column", "uint32(sample + column"),
    (cuda_sample_norm, "uint32(row + weights.groups)", "uint32(row + 1)"),
    (cuda_sample_norm, "inner if weights.period == rows.m else term", "term"),
    (cuda_sample_norm, "inner if weights.period == rows.m else term", "inner"),
    (cuda_sample_norm, "factor < float32(1) / epsilon", "factor > float32(0)"),
    (cuda_sample_norm, "(slope - total - (x", "(slope - (x"),
    (cuda_sample_norm, "first[0] == uint32(0) and end > uint32(0)", "first[0] == uint32(0)"),
    (cuda_sample_norm, "(chunk + 1) * ROWS", "(chunk + 1) * SHARES"),
    (cuda_resample, "uint32(places[at])) * inner", "uint32(places[at]) * inner)"),
    (cuda_prelu, "alpha[at_alpha] if v < float32(0) else float32(0)", "alpha[at_alpha]"),
    (cuda_prelu, "v, slope = x[at_x], gy[at]", "v, slope = x[at_x], gy[at_x]"),
    (cuda_prelu, "has_products:", "not has_products:"),
    (cuda_strided, "math.sqrt(v)\n                if v < w", "math.sqrt(v)\n                if w < v"),
]


@pytest.mark.parametrize("module, right, wrong", PLANTED, ids=range(len(PLANTED)))
def test_a_planted_fault_is_found(module, right, wrong, tmp_path):
    faulty = planted(module, right, wrong, tmp_path)
    with pytest.raises((AssertionError, SimulationError, IndexError)):
        CHECKS[module](faulty)


PLANTED_IN_ROWS = [
    ("if inner >= uint32(rows.m)", "if inner > uint32(rows.m)"),
    ("row < uint32(rows.units)", "row <= uint32(rows.units)"),
    ("        cuda.syncthreads()  # the numbers there have been read\n", ""),
    ("cuda.blockIdx.x * WARPS + line", "cuda.blockIdx.x * WARP + line"),
    (
        "value = float32(0)\n        for line in range(cuda.blockDim.y)",
        "value = float32(0)\n        for line in range(WARPS)",
    ),
]


@pytest.mark.parametrize("right, wrong", PLANTED_IN_ROWS, ids=range(len(PLANTED_IN_ROWS)))
def test_a_fault_in_what_the_kernels_share_is_found(right, wrong, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "planted_rows", planted(cuda_rows, right, wrong, tmp_path))
    user = inspect.getsource(cuda_softmax).replace("fastconv.kernels.cuda_rows", "planted_rows")
    with pytest.raises((AssertionError, SimulationError, IndexError)):
        check_softmax(made_of(user, tmp_path / "user.py"))


@pytest.mark.parametrize("shape, axes", [((9, 64), (1,)), ((2, 1024), (1,)), ((3, 9, 64), (1,))])
def test_neighbouring_threads_read_neighbouring_elements(shape, axes):
    x = numbers(*shape)
    (launch,) = cuda_softmax.forward(cuda_softmax.SOFTMAX, x, x.copy(), units_of(shape, axes))
    totals = simulated(launch).totals
    assert totals.loads.moved == totals.loads.ideal and totals.stores.moved == totals.stores.ideal
    assert totals.atomics.requests == totals.float64_flops == 0
