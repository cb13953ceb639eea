"""Kernels of a step beside the ops: for weights and gradients, normalization, and views. Simulated; against NumPy."""

import numpy as np
import pytest
from lab import planted, run

from fastconv import constraints, regularizers
from fastconv.kernels import (
    cuda_batch_norm,
    cuda_clipping,
    cuda_constraints,
    cuda_global_max,
    cuda_penalties,
    cuda_strided,
    cuda_tallies,
    cuda_totals,
    cuda_units,
)
from fastconv.testing import SimulationError

EPSILON = 1e-7


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# Checks of one module each: `kernels` is the module, as it is or with a fault planted into it.


def check_views(kernels):
    x = numbers(3, 4, 5, 2)
    y = np.full((3, 5, 2, 4), np.nan, "float32")
    run(kernels.copy(x.transpose(0, 2, 3, 1), y))
    close(y, x.transpose(0, 2, 3, 1))
    padded = np.zeros((3, 7, 6, 2), "float32")
    run(kernels.copy(x, padded[:, 1:5, 1:]))
    close(padded, np.pad(x, ((0, 0), (1, 2), (1, 0), (0, 0))))
    spread = np.zeros((3, 4, 2, 5, 3, 2), "float32")  # each pixel 2 by 3 times
    run(kernels.copy(x[:, :, None, :, None], spread))
    close(spread.reshape(3, 8, 15, 2), x.repeat(2, 1).repeat(3, 2))
    total = x.copy()
    run(kernels.combine(kernels.ADD, total, padded[:, 2:6, 1:], total))
    close(total, x + padded[:, 2:6, 1:])
    mask = numbers(3, 1, 5, 1, seed=1)
    for kind, function in {"SUBTRACT": np.subtract, "MAXIMUM": np.maximum, "MINIMUM": np.minimum}.items():
        a, b = np.array([[1, 2, np.nan, 4], [2, 2, 1, np.nan]], "float32")
        y = np.zeros(4, "float32")
        run(kernels.combine(getattr(kernels, kind), a, b, y))
        close(y, function(a, b))
    run(kernels.combine(kernels.EQUAL, a, b, y))
    close(y, [0, 1, 0, 0])
    run(kernels.combine(kernels.UNEQUAL, a, b, y))
    close(y, [1, 0, 1, 1])
    images = np.zeros((3, 5, 2, 4), "float32").transpose(0, 3, 1, 2)
    run(kernels.combine(kernels.MULTIPLY, x, mask, images))
    close(images, x * mask)


def check_clipping(kernels):
    sizes, places, start = (5, 9000, 64, 4096), [], 0
    for size in sizes:
        places.append(slice(start, start + size))
        start += -(-size // 64) * 64
    gradient = np.full(start, 7, "float32")
    parts = [scale * numbers(size) for scale, size in zip((0.1, 10, 1, 1e-3), sizes, strict=True)]
    for together in (False, True):
        for place, part in zip(places, parts, strict=True):
            gradient[place] = part
        table, norms = kernels.chunks(places, together)
        shares, scales = np.full(len(table), np.nan, "float32"), np.full(len(norms), np.nan, "float32")
        run(kernels.clip_by_norm(gradient, (table, norms), shares, scales, 1.5))
        lengths = [np.linalg.norm(part.astype(float)) for part in parts]
        if together:
            lengths = [np.linalg.norm(lengths)] * len(parts)
        for place, part, length in zip(places, parts, lengths, strict=True):
            close(gradient[place], part * min(1, 1.5 / length))
    assert (gradient[5:64] == 7).all(), "what lies between variables is left alone"
    gradient[70] = np.inf
    run(kernels.clip_by_norm(gradient, (table, norms), shares, scales, 1.5))
    assert np.isnan(scales).all()


NORMS = [
    (constraints.MaxNorm(0.7), (40, 35)),
    (constraints.MaxNorm(1.5, axis=[0, 1, 2]), (3, 2, 5, 4)),
    (constraints.UnitNorm(axis=1), (5, 37)),
    (constraints.UnitNorm(axis=(0, -2)), (3, 2, 5, 4)),
    (constraints.MinMaxNorm(2.0, 3.0, rate=0.25), (70,)),
]


def check_constraints(kernels):
    for constraint, shape in NORMS:
        value = numbers(*shape)
        expected = constraint(value)
        axes = (constraint.axis,) if isinstance(constraint.axis, int) else constraint.axis
        limits = constraint.min_value, constraint.max_value, constraint.rate
        run(kernels.limit_norms(value, axes, *limits, EPSILON))
        close(value, expected)
    value = np.array([-1, 0, 2, np.nan, -np.inf], "float32")
    run(kernels.not_negative(value))
    np.testing.assert_array_equal(value, [0, 0, 2, np.nan, 0])


def check_penalties(kernels):
    value, gradient = numbers(300), numbers(300, seed=1)
    value[:3] = 0, 1, -1
    start = gradient.copy()
    run(kernels.penalise(value, gradient, 0.1, 0.2))
    close(gradient, start + 0.1 * np.sign(value) + 0.4 * value)
    row = np.array([1], "float32")
    for some in (value, numbers(70_000)):
        totals, shares = np.zeros((2, 3), "float32"), np.full(kernels.SHARES, np.nan, "float32")
        run(kernels.penalty(some, 0.1, 0.2, shares, totals, row, 2))
        close(totals, [[0, 0, 0], [0, 0, 0.1 * np.abs(some).sum() + 0.2 * np.square(some).sum()]])
    for mode, shape in (("rows", (5, 301)), ("columns", (20, 7))):
        regularizer, matrix = regularizers.OrthogonalRegularizer(0.3, mode), numbers(*shape)
        by_rows = mode == "rows"
        rows = shape[0 if by_rows else 1]
        norms, found = np.full(rows, np.nan, "float32"), np.full((rows, rows), np.nan, "float32")
        run(kernels.cosines(matrix, by_rows, norms, found, EPSILON))
        factor = 0.3 / (rows * (rows - 1))
        close(factor * np.abs(found).sum(), regularizer(matrix))
        scratch, gradient = np.full(shape, np.nan, "float32"), numbers(*shape, seed=2)
        expected = gradient + regularizer.gradient(matrix)
        run(kernels.turn_apart(matrix, by_rows, norms, found, scratch, gradient, 2 * factor))
        close(gradient, expected)


def check_sums(kernels):
    for shape, axes in (((5, 70), (0,)), ((3, 4, 5, 6), (1, 2)), ((3, 4, 5, 6), (0, 2)), ((2, 40, 3), (1, -1))):
        x = numbers(*shape)
        y = np.full_like(x.sum(axes), np.nan)
        run(kernels.sum_over(x, axes, y))
        close(y, x.sum(axes))
    kernels.LEAST = 7
    for shape, axes, chunks in (((40, 5), (0,), 5), ((3, 4, 5, 6), (0, 2), 2), ((8, 2000), (0,), 1)):
        x, partial = numbers(*shape), np.full(kernels.partial_shape(shape, axes), np.nan, "float32")
        assert len(partial) == chunks
        y = np.full_like(x.sum(axes), np.nan)
        run(kernels.sum_over(x, axes, y, partial))
        close(y, x.sum(axes))


def check_batch_norm(kernels):
    for rows, channels in ((5, 3), (600, 40)):
        x, gy = 1000 + numbers(rows, channels), numbers(rows, channels, seed=1)
        gamma, beta = numbers(2, channels, seed=2)
        moving = numbers(channels, seed=3), np.square(numbers(channels, seed=4))
        mean, inverse, total, product = np.full((4, channels), np.nan, "float32")
        partial, y = np.full(kernels.partial_shape(rows, channels), np.nan, "float32"), np.full_like(x, np.nan)
        exact, variance = x.astype(float), x.astype(float).var(0)
        expected = [0.75 * old + 0.25 * new for old, new in zip(moving, (exact.mean(0), variance), strict=True)]
        run(kernels.moments(x, partial, mean, inverse, moving, 0.75, 0.01))
        close(mean, exact.mean(0))
        close(inverse, (variance + 0.01) ** -0.5)
        close(moving, expected)
        run(kernels.normalize(x, mean, inverse, gamma, beta, y))
        unit = (exact - mean) * inverse
        np.testing.assert_allclose(y, unit * gamma + beta, rtol=1e-4, atol=1e-5)
        run(kernels.normalize(x, mean, inverse, None, None, y))
        np.testing.assert_allclose(y, unit, rtol=1e-4, atol=1e-5)
        run(kernels.gradient_sums(gy, x, mean, partial, total, product))
        np.testing.assert_allclose(total, gy.sum(0), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(product, (gy * (exact - mean)).sum(0), rtol=1e-4, atol=1e-3)
        gx = np.full_like(x, np.nan)
        run(kernels.input_gradient(gy, x, (mean, inverse, gamma), (total, product), gx, False))
        slopes = gamma * inverse * (gy - gy.mean(0) - unit * (gy * unit).mean(0))
        np.testing.assert_allclose(gx, slopes, rtol=1e-3, atol=1e-4)
        x -= 1000
        run(kernels.input_gradient(gy, x, (mean, inverse, None), None, gx, True))
        close(gx, np.where(x > 0, gy * inverse, 0))
        run(kernels.still_moments(moving, mean, inverse, 0.01))
        close(mean, moving[0])
        close(inverse, (moving[1] + 0.01) ** -0.5)


def check_global_max(kernels):
    x, gy = np.round(numbers(3, 4, 5, 7)), numbers(3, 7, seed=1)
    y, gx = x.max((1, 2)), np.full_like(x, np.nan)
    run(kernels.global_max_backward(x, y, gy, gx))
    winners = x == y[:, None, None]
    close(gx, winners * (gy / winners.sum((1, 2)))[:, None, None])


def check_totals(kernels):
    values, factors = numbers(2, 70_000)
    for count in (5, 70_000):
        totals, shares = np.full((2, 3), np.nan, "float32"), np.full(kernels.SHARES, np.nan, "float32")
        given = values[:count], factors[:count], shares, totals, np.array([1], "float32"), 2
        run(kernels.weighted_sum(*given))
        np.testing.assert_allclose(totals[1, 2], (values * factors)[:count].sum(dtype=float), rtol=1e-4)
        assert np.isnan(totals).sum() == 5


def check_tallies(kernels):
    kernels.ROWS, rows, size = 16, 37, 300
    places = np.random.default_rng(0).integers(-1, size + 1, (rows, 2)).astype("float32")
    weights = numbers(rows, 2) ** 2
    shares = np.full((kernels.shares_of(rows), 2, size), np.nan, "float32")
    sums = np.zeros((2, size, 2), "float32")
    sums[:, :, 0], sums[0, 0] = 2.0**24, (np.inf, 0)
    for _ in range(3):
        run(kernels.tally(places, weights, shares, sums))
    found = kernels.total(sums)
    assert found[0, 0] == np.inf
    for group in range(2):
        counts = (places[:, group] >= 0) & (places[:, group] < size)
        expected = np.bincount(places[counts, group].astype(int), weights[counts, group], size)
        close((found[group] - 2.0**24)[1:], 3 * expected[1:])


CHECKS = {
    cuda_totals: check_totals,
    cuda_tallies: check_tallies,
    cuda_batch_norm: check_batch_norm,
    cuda_global_max: check_global_max,
    cuda_units: check_sums,
    cuda_strided: check_views,
    cuda_clipping: check_clipping,
    cuda_constraints: check_constraints,
    cuda_penalties: check_penalties,
}


@pytest.mark.parametrize("module", CHECKS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_kernels(module):
    CHECKS[module](module)


PLANTED = [
    (cuda_strided, "rest * walk.a0", "rest * walk.y0"),
    (cuda_strided, "i * walk.b3", "i * walk.a3"),
    (cuda_strided, "outer == size * inner", "outer >= size * inner"),
    (cuda_clipping, "scales[uint32(table[uint32(row + 2)])]", "scales[uint32(0)]"),
    (cuda_clipping, "max(math.sqrt(total), longest)", "math.sqrt(total)"),
    (cuda_clipping, "min(CHUNK, place.stop - start)", "CHUNK"),
    (cuda_units, "shares[thread] = value\n    cuda.syncthreads()", "shares[thread] = value"),
    (cuda_units, "min(u.terms, int32((chunk + 1) * terms))", "u.terms"),
    (cuda_units, "half > uint32(0)", "half > uint32(1)"),
    (cuda_units, "(unit - row * u.n) * u.unit1", "(unit - row * u.n)"),
    (cuda_constraints, "(float32(1) - rate) * norm", "norm"),
    (cuda_global_max, "gy[output] / winners", "gy[output]"),
    (cuda_batch_norm, "    cuda.syncthreads()  # the numbers there have been read\n", ""),
    (cuda_batch_norm, "partial[place] - middle", "middle"),
    (cuda_batch_norm, "chunk * ROWS + share", "chunk * SHARES + share"),
    (cuda_batch_norm, "scale * scale * product", "scale * product"),
    (cuda_batch_norm, "(min(int32(ROWS), int32(rows - int32(chunk * ROWS))))) / ", "(ROWS)) / "),
    (cuda_totals, "thread < uint32(count)", "thread < uint32(count - 1)"),
    (cuda_totals, "i + blocks * THREADS", "i + THREADS"),
    (cuda_tallies, "(more - taken)", "(more + taken)"),
    (cuda_tallies, "part * groups + group", "part + group"),
    (cuda_tallies, "        cuda.syncthreads()\n        count", "        count"),
    (cuda_tallies, "int32(end - first)", "int32(THREADS)"),
    (cuda_penalties, "i + blocks * THREADS", "i + THREADS"),
    (cuda_penalties, " - along * matrix[place] / norms[row])", ")"),
]


@pytest.mark.parametrize("module, right, wrong", PLANTED, ids=range(len(PLANTED)))
def test_a_planted_fault_is_found(module, right, wrong, tmp_path):
    faulty = planted(module, right, wrong, tmp_path)
    with pytest.raises((AssertionError, SimulationError)):
        CHECKS[module](faulty)


def test_what_a_walk_or_norms_refuse():
    with pytest.raises(ValueError, match=r"\(2, 3\) cannot be broadcast to \(2, 4\)"):
        cuda_strided.copy(numbers(2, 3), numbers(2, 4))
    x = numbers(2, 2, 2, 2, 2, 2)
    with pytest.raises(ValueError, match="5 axes at most"):
        cuda_strided.copy(x.transpose(5, 4, 3, 2, 1, 0), x.copy())
    with pytest.raises(ValueError, match=r"axes \(2,\) are not those of an array of shape \(3, 4\)"):
        cuda_units.units_of((3, 4), (2,))
    with pytest.raises(ValueError, match="too mixed"):
        cuda_units.units_of((2, 2, 2, 2, 2), (0, 2, 4))
