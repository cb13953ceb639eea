"""Kernels of random layers and of images: simulated, and compared with float64, and for noise with the CPU's bits."""

import math

import numpy as np
import pytest
from lab import planted, run

from fastconv.kernels import cpu_normal, cuda_affine, cuda_dropout, cuda_normal, cuda_resample, cuda_tone
from fastconv.testing import SimulationError

KEY, CALL = 0xDEADBEEFCAFEBABE, 70_000
HALVES = np.array([CALL & 0xFFFF, CALL >> 16], "float32")


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def close(found, expected, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


def words(count, key=KEY, call=CALL):
    """Philox's words of the first groups, (4, groups), and where the numbers of the first words lie."""
    groups = np.arange(-(-count // 256) * 64, dtype=np.uint64)
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    a, b, c, d = groups, 0 * groups, 0 * groups + np.uint64(call), 0 * groups
    low, high = np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32)
    for _ in range(10):
        even, odd = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b, c, d = odd >> half ^ b ^ low, odd & mask, even >> half ^ d ^ high, even & mask
        low, high = low + np.uint64(0x9E3779B9) & mask, high + np.uint64(0xBB67AE85) & mask
    return np.array([a, b, c, d]), (groups // 64 * 256 + groups % 64).astype(int)


def exact_normal(count):
    """Box and Muller's in float64."""
    drawn, places = words(count)
    found = np.empty(len(places) * 4)
    for w in (0, 2):
        u, v = ((drawn[w] >> np.uint64(8)) + 1.0) / 2**24, (drawn[w + 1] >> np.uint64(6)) / 2**26 - 1 / 8
        radius = np.sqrt(-2 * np.log(u))
        found[places + 64 * w] = radius * np.cos(2 * np.pi * v)
        found[places + 64 * w + 64] = radius * np.sin(2 * np.pi * v)
    return found[:count]


# Checks of one module each: `kernels` is the module, as it is or with a fault planted into it.


def check_normal(kernels):
    for count in (1, 301):
        x, y, drawn = numbers(count), np.full(count, np.nan, "float32"), np.empty(count, "float32")
        run(kernels.add_noise(x, y, KEY, HALVES, 0.7))
        close(y, x + 0.7 * exact_normal(count), atol=5e-7)
        cpu_normal.draw(drawn, KEY, CALL, 0.7, 0.0)
        np.testing.assert_array_equal(y, x + drawn)
        run(kernels.times_noise(x, x, KEY, HALVES, 0.3))  # in place
        cpu_normal.draw(drawn, KEY, CALL, 0.3, 1.0)
        np.testing.assert_array_equal(x, numbers(count) * drawn)


def check_dropout(kernels):
    x, y = 1 + np.abs(numbers(301)), np.full(301, np.nan, "float32")
    run(kernels.replace(x, y, KEY, HALVES, 0.3, (1.25, 0.5, -0.75)))
    drawn, places = words(301)
    uniform = np.empty(512)
    for w in range(4):
        uniform[places + 64 * w] = (drawn[w] >> np.uint64(8)) / 2**24
    close(y, np.where(uniform[:301] >= 0.3, x * 1.25 + 0.5, -0.75))


def inside(place, size, mode):
    if 0 <= place < size or mode == "nearest":
        return min(max(place, 0), size - 1)
    if mode == "constant":
        return None
    if mode == "wrap":
        return place % size
    place %= 2 * size
    return min(place, 2 * size - 1 - place)


def taps(maps, n, i, j, sizes, smooth, mode):
    """(row, column, weight) of the pixels that make one, None for what lies outside."""
    a, b, c, d, e, f = maps[n]
    x, y = a * j + b * i + c, d * j + e * i + f
    if not smooth:
        x, y = (math.copysign(math.floor(abs(v) + 0.5), v) for v in (x, y))
    for h, down in ((math.floor(y), 1 - y % 1), (math.floor(y) + 1, y % 1)):
        for w, across in ((math.floor(x), 1 - x % 1), (math.floor(x) + 1, x % 1)):
            yield inside(h, sizes[0], mode), inside(w, sizes[1], mode), down * across


def check_affine(kernels):
    x, gy = numbers(3, 4, 7, 2), numbers(3, 5, 6, 2, seed=1)
    maps = np.random.default_rng(2).normal(size=(3, 6)) * [1, 0.5, 6, 0.5, 1, 6]
    maps[2] = -1, 0, 5.5, 0, 1, -1.5  # places at halves
    for smooth, mode in ((True, "constant"), (False, "reflect"), (True, "wrap"), (False, "nearest"), (True, "reflect")):
        y, gx = np.full_like(gy, np.nan), np.full_like(x, np.nan)
        run(kernels.affine(x, kernels.split(maps), y, smooth, mode, 0.6))
        run(kernels.affine_backward(gy, kernels.split(maps), gx, smooth, mode))
        expected, slopes = np.zeros(y.shape), np.zeros(x.shape)
        for n, i, j in np.ndindex(y.shape[:3]):
            for h, w, weight in taps(maps, n, i, j, x.shape[1:3], smooth, mode):
                is_fill = h is None or w is None
                expected[n, i, j] += weight * (0.6 if is_fill else x[n, h, w])
                if not is_fill:
                    slopes[n, h, w] += weight * gy[n, i, j]
        close(y, expected)
        close(gx, slopes, atol=5e-6)


def check_tone(kernels):
    x, factors = numbers(3, 4, 5, 2), numbers(3, seed=1)
    column = factors.reshape(3, 1, 1, 1)
    y, limits = np.full_like(x, np.nan), (-0.5, 0.75)
    x[1, 2, 3, 0] = np.nan
    run(kernels.brighten(x, factors, y, limits))
    close(y, np.clip(x + column, *limits))
    gx = np.full_like(x, np.nan)
    run(kernels.within(x, y, gx, limits))
    close(gx, np.where((y > -0.5) & (y < 0.75), x, 0))
    x[1, 2, 3, 0] = 0
    sums = x.sum((1, 2))
    means = x.astype(float).mean((1, 2), keepdims=True)
    run(kernels.spread(x, factors, sums, y, limits))
    close(y, np.clip((x - means) * column + means, *limits))
    run(kernels.spread(x, factors, sums, y))
    close(y, (x - means) * column + means)


def check_resample(kernels):
    x, weights = numbers(3, 4, 5, 2), numbers(7, 3, seed=1)
    for axis in (1, 2):
        places = np.random.default_rng(3).integers(0, x.shape[axis], (7, 3))
        y = np.full((*x.shape[:axis], 7, *x.shape[axis + 1 :]), np.nan, "float32")
        run(kernels.along(x, axis, places.astype("float32"), weights, y))
        found = np.take(x.astype(float), places, axis=axis)
        close(y, np.einsum("nptwc,pt->npwc" if axis == 1 else "nhqtc,qt->nhqc", found, weights))


CHECKS = {
    cuda_normal: check_normal,
    cuda_dropout: check_dropout,
    cuda_affine: check_affine,
    cuda_tone: check_tone,
    cuda_resample: check_resample,
}


@pytest.mark.parametrize("module", CHECKS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_kernels(module):
    CHECKS[module](module)


PLANTED = [
    (cuda_normal, "cuda.clz(int32(count))", "cuda.clz(int32(count)) + uint32(1)"),
    (cuda_normal, "quadrant == uint32(1) or quadrant == uint32(2)", "quadrant >= uint32(2)"),
    (cuda_normal, "        e = e - float32(1)\n", ""),
    (cuda_normal, "drawn[2 * pair + 1]", "drawn[2 * pair]"),
    (cuda_normal, "if i < uint32(count):\n                number", "if i <= uint32(count):\n                number"),
    (cuda_dropout, "x[i] * scale + shift", "x[i] * scale"),
    (cuda_dropout, "number >= rate", "number < rate"),
    (cuda_affine, "int32(lower + more)", "int32(lower)"),
    (cuda_affine, " and place >= int32(0))", ")"),
    (cuda_affine, "int32(int32(2 * size - 1) - place)", "int32(int32(2 * size) - place)"),
    (cuda_affine, "if h >= int32(0) and w >= int32(0):", "if h >= int32(0):"),
    (cuda_affine, "gx[at] = gx[at] + weight * grad", "gx[at] = weight * grad"),
    (cuda_tone, "n * channels + i % uint32(channels)", "n * channels + i // uint32(channels)"),
    (cuda_tone, "gy[i] if lowest < y[i] < highest", "gy[i] if lowest < y[i]"),
    (cuda_resample, "(line - outer * outputs) * taps", "line * taps"),
]


@pytest.mark.parametrize("module, right, wrong", PLANTED, ids=range(len(PLANTED)))
def test_a_planted_fault_is_found(module, right, wrong, tmp_path):
    faulty = planted(module, right, wrong, tmp_path)
    with pytest.raises((AssertionError, SimulationError)):
        CHECKS[module](faulty)


def test_normal_numbers_of_the_cpu():
    drawn = np.empty(1 << 20, "float32")
    cpu_normal.draw(drawn, KEY, CALL, 1.0, 0.0)
    np.testing.assert_allclose(drawn, exact_normal(drawn.size), rtol=3e-7, atol=5e-7)
    moments = [np.mean(drawn.astype(float) ** power) for power in (1, 2, 3, 4)]
    np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=0.03)
    below = [(drawn < limit).mean() for limit in (-2, -1, 0, 0.5, 1.5)]
    np.testing.assert_allclose(below, [0.02275, 0.15866, 0.5, 0.69146, 0.93319], atol=0.002)
    for distance in (1, 64, 128, 256):  # neighbours, and those of one group
        assert abs(np.mean(drawn[distance:] * drawn[:-distance])) < 0.005
    others = np.empty_like(drawn)
    cpu_normal.draw(others, KEY, CALL + 1, 1.0, 0.0)
    assert abs(np.mean(others * drawn)) < 0.005
    wide = np.empty(1001)
    cpu_normal.draw(wide, KEY, CALL, 1.0, 0.0)
    np.testing.assert_array_equal(wide, drawn[:1001])


def test_places_are_exact_to_a_small_part_of_a_pixel():
    rng = np.random.default_rng(0)
    for size, allowed in ((256, 2e-7), (cuda_affine.LARGEST, 3e-6)):
        maps = rng.uniform(-1.5, 1.5, (500, 6)) * [1, 1, size, 1, 1, size]
        parts = cuda_affine.split(maps)
        i, j = (number.astype("float32") for number in rng.integers(0, size, (2, 500)))
        coarse, fine = (part[:, 0] * j + part[:, 1] * i + part[:, 2] for part in (parts[:, :6], parts[:, 6:]))
        exact = maps[:, 0] * j + maps[:, 1] * i + maps[:, 2]
        assert np.abs(coarse.astype(float) + fine - exact).max() < allowed
    with pytest.raises(ValueError, match="at most 4096 pixels a side"):
        cuda_affine.affine(np.empty((1, 5000, 1, 1), "float32"), parts, np.empty((1, 2, 2, 1), "float32"), 1, "wrap", 0)
