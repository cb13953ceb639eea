"""Kernels for what weights and gradients obey, and for views of arrays: simulated, and compared with NumPy."""

import importlib.util
import inspect

import numpy as np
import pytest
from lab import run

from fastconv import constraints, regularizers
from fastconv.kernels import cuda_clipping, cuda_constraints, cuda_penalties, cuda_strided
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
    run(kernels.add(total, padded[:, 2:6, 1:], total))
    close(total, x + padded[:, 2:6, 1:])
    mask = numbers(3, 1, 5, 1, seed=1)
    images = np.zeros((3, 5, 2, 4), "float32").transpose(0, 3, 1, 2)
    run(kernels.multiply(x, mask, images))
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


CHECKS = {
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
    (cuda_constraints, "shares[thread] = total\n    cuda.syncthreads()", "shares[thread] = total"),
    (cuda_constraints, "half > uint32(0)", "half > uint32(1)"),
    (cuda_constraints, "(unit - row * u.n) * u.unit1", "(unit - row * u.n)"),
    (cuda_penalties, "thread < uint32(count)", "thread < uint32(count - 1)"),
    (cuda_penalties, "i + blocks * THREADS", "i + THREADS"),
    (cuda_penalties, " - along * matrix[place] / norms[row])", ")"),
]


@pytest.mark.parametrize("module, right, wrong", PLANTED, ids=range(len(PLANTED)))
def test_a_planted_fault_is_found(module, right, wrong, tmp_path):
    source = inspect.getsource(module)
    assert source.count(right) == 1
    path = tmp_path / "planted.py"
    path.write_text(source.replace(right, wrong))
    spec = importlib.util.spec_from_file_location("planted", path)
    planted = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(planted)
    with pytest.raises((AssertionError, SimulationError)):
        CHECKS[module](planted)


def test_what_a_walk_or_norms_refuse():
    with pytest.raises(ValueError, match=r"\(2, 3\) cannot be broadcast to \(2, 4\)"):
        cuda_strided.copy(numbers(2, 3), numbers(2, 4))
    x = numbers(2, 2, 2, 2, 2, 2)
    with pytest.raises(ValueError, match="5 axes at most"):
        cuda_strided.copy(x.transpose(5, 4, 3, 2, 1, 0), x.copy())
    with pytest.raises(ValueError, match=r"axes \(2,\) are not those of an array of shape \(3, 4\)"):
        cuda_constraints.units_of((3, 4), (2,))
    with pytest.raises(ValueError, match="too mixed"):
        cuda_constraints.units_of((2, 2, 2, 2, 2), (0, 2, 4))
