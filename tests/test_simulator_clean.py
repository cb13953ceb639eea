"""Correct kernels in the simulator: no false alarm, and the results of NumPy, exactly on integers."""

import functools
import math

import numpy as np
import pytest
from numba import cuda, float32, float64, int32, uint32

from fastconv.testing import simulate

ALL = 0xFFFFFFFF
TILE = 16
RADIUS = 1
HALO = TILE + 2 * RADIUS


def integers(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(dtype)


def ceil(a, b):
    return -(-a // b)


@functools.wraps(simulate)
def clean(*args, **options):
    report = simulate(*args, **options)
    report.raise_if_wrong()
    assert report.ok and "Nothing wrong was found" in str(report)
    return report


def transposed_copy(a, b):
    s = cuda.shared.array((TILE, TILE + 1), float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    x, y = cuda.grid(2)
    if y < a.shape[0] and x < a.shape[1]:
        s[ty, tx] = a[y, x]
    cuda.syncthreads()
    x = cuda.blockIdx.y * TILE + tx
    y = cuda.blockIdx.x * TILE + ty
    if y < b.shape[0] and x < b.shape[1]:
        b[y, x] = s[tx, ty]


def test_tiled_transposed_copy():
    a = integers(37, 53)
    b = np.full((53, 37), np.nan, np.float32)
    clean(transposed_copy, (ceil(53, TILE), ceil(37, TILE)), (TILE, TILE), a, b)
    assert (b == a.T).all()


@cuda.jit
def matrix_product(a, b, c):
    """A dispatcher of Numba: simulated by its py_func."""
    sa = cuda.shared.array((TILE, TILE), dtype=float32)
    sb = cuda.shared.array((TILE, TILE), dtype=float32)
    x, y = cuda.grid(2)
    tx = cuda.threadIdx.x
    ty = cuda.threadIdx.y
    total = float32(0.0)
    for step in range((a.shape[1] + TILE - 1) // TILE):
        sa[ty, tx] = 0
        sb[ty, tx] = 0
        if y < a.shape[0] and step * TILE + tx < a.shape[1]:
            sa[ty, tx] = a[y, step * TILE + tx]
        if step * TILE + ty < b.shape[0] and x < b.shape[1]:
            sb[ty, tx] = b[step * TILE + ty, x]
        cuda.syncthreads()
        for k in range(TILE):
            total += sa[ty, k] * sb[k, tx]
        cuda.syncthreads()
    if y < c.shape[0] and x < c.shape[1]:
        c[y, x] = total


def test_tiled_matrix_product():
    a, b = integers(33, 20), integers(20, 45, seed=1)
    c = np.full((33, 45), np.nan, np.float32)
    report = clean(matrix_product, (ceil(45, TILE), ceil(33, TILE)), (TILE, TILE), a, b, c)
    assert (c == a @ b).all()
    assert report.totals.flops == 2 * 32 * (48 * 48) and report.totals.float64_flops == 0


def halo_convolution(x, w, y):
    s = cuda.shared.array((HALO, HALO), float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    row0, column0 = cuda.blockIdx.y * TILE - RADIUS, cuda.blockIdx.x * TILE - RADIUS
    for i in range(ty * TILE + tx, HALO * HALO, TILE * TILE):
        r, c = divmod_(i)
        row, column = row0 + r, column0 + c
        inside = 0 <= row < x.shape[0] and 0 <= column < x.shape[1]
        s[r, c] = x[row, column] if inside else float32(0.0)
    cuda.syncthreads()
    row, column = row0 + RADIUS + ty, column0 + RADIUS + tx
    if row >= y.shape[0] or column >= y.shape[1]:
        return
    total = float32(0.0)
    for r in range(3):
        for q in range(3):
            total = cuda.fma(s[ty + r, tx + q], w[r, q], total)
    y[row, column] = total


@cuda.jit(device=True)
def divmod_(i):
    return i // HALO, i % HALO


def test_halo_convolution():
    x, w = integers(21, 35), integers(3, 3, seed=1)
    y = np.full((21, 35), np.nan, np.float32)
    report = clean(halo_convolution, (ceil(35, TILE), ceil(21, TILE)), (TILE, TILE), x, w, y)
    padded = np.pad(x, 1)
    assert (y == sum(padded[r : r + 21, q : q + 35] * w[r, q] for r in range(3) for q in range(3))).all()
    assert report.totals.flops == 2 * 9 * y.size


def shuffle_reduction(a, sums):
    i = cuda.grid(1)
    v = a[i]
    for step in (16, 8, 4, 2, 1):
        v += cuda.shfl_down_sync(ALL, v, step)
    if cuda.laneid == 0:
        sums[i // 32] = v


def butterfly_reduction(a, sums):
    i = cuda.grid(1)
    v = a[i]
    step = 16
    while step:
        v += cuda.shfl_xor_sync(ALL, v, step)
        step >>= 1
    if i % 32 == 31:
        sums[i // 32] = v


@pytest.mark.parametrize("kernel", [shuffle_reduction, butterfly_reduction])
@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
def test_shuffles(kernel, dtype):
    a, sums = integers(6 * 64, dtype=dtype), np.zeros(12, dtype)
    clean(kernel, 6, 64, a, sums)
    assert (sums == a.reshape(12, 32).sum(axis=1)).all()


def warp_synchronous(a, sums):
    s = cuda.shared.array(128, float32)
    i = cuda.threadIdx.x
    s[i] = a[cuda.grid(1)]
    cuda.syncwarp()
    step = 16
    while step > 0:
        v = s[i]
        if i % 32 < step:
            v += s[i + step]
        cuda.syncwarp()
        s[i] = v
        cuda.syncwarp()
        step //= 2
    if i % 32 == 0:
        sums[cuda.grid(1) // 32] = s[i]


def test_syncwarp_orders_a_warp():
    a, sums = integers(512), np.zeros(16, np.float32)
    clean(warp_synchronous, 4, 128, a, sums)
    assert (sums == a.reshape(16, 32).sum(axis=1)).all()


def quarters_exchange(a):
    s = cuda.shared.array(64, int32)
    i = cuda.threadIdx.x
    if i % 32 < 16:
        s[i] = a[i]
        cuda.syncwarp(0x0000FFFF)
        a[i] = s[i ^ 15]
    else:
        s[i] = a[i]
        cuda.syncwarp(0xFFFF0000)
        a[i] = s[i ^ 15]


def chain_of_syncwarps(a):
    s = cuda.shared.array(32, int32)
    i = cuda.threadIdx.x
    if i < 16:
        s[i] = a[i]
        cuda.syncwarp(0x0000FFFF)
    if 8 <= i < 24:
        cuda.syncwarp(0x00FFFF00)
    if i >= 16:
        cuda.syncwarp(0xFFFF0000)
        a[i] = s[i - 16]


def test_partial_syncwarps():
    a = integers(64, dtype=np.int32)
    expected = a[np.arange(64) ^ 15]
    clean(quarters_exchange, 1, 64, a)
    assert (a == expected).all()
    a = integers(32, dtype=np.int32)
    expected = np.tile(a[:16], 2)
    clean(chain_of_syncwarps, 1, 32, a)
    assert (a == expected).all()


def histogram(a, h):
    s = cuda.shared.array(16, int32)
    i = cuda.threadIdx.x
    if i < 16:
        s[i] = 0
    cuda.syncthreads()
    for k in range(cuda.grid(1), a.size, cuda.gridsize(1)):
        cuda.atomic.add(s, a[k], 1)
    cuda.syncthreads()
    if i < 16:
        cuda.atomic.add(h, i, s[i])


def test_histogram_with_atomics_and_a_grid_stride_loop():
    a = np.random.default_rng(0).integers(0, 16, 3001)
    h = np.zeros(16, np.int32)
    clean(histogram, 5, 96, a, h)
    assert (h == np.bincount(a, minlength=16)).all()


def double_buffer(a, sums):
    s = cuda.shared.array((2, 64), float32)
    i = cuda.threadIdx.x
    total = float32(0.0)
    s[0, i] = a[i]
    for step in range(1, a.size // 64 + 1):
        cuda.syncthreads()
        if step < a.size // 64:
            s[step % 2, i] = a[step * 64 + i]
        total += s[(step - 1) % 2, 63 - i]
    sums[i] = total


def test_double_buffered_shared_memory():
    a, sums = integers(64 * 7), np.zeros(64, np.float32)
    clean(double_buffer, 1, 64, a, sums)
    assert (sums == a.reshape(7, 64).sum(axis=0)[::-1]).all()


def dynamic_shared(a, b, n):
    floats = cuda.shared.array(0, float32)
    bytes_ = cuda.shared.array(0, int32)
    first, second = floats[:n], bytes_[n : 2 * n]
    i = cuda.threadIdx.x
    first[i] = a[i]
    second[i] = i
    cuda.syncthreads()
    b[i] = first[n - 1 - i] + second[(i + 1) % n]


def test_dynamic_shared_memory_holds_arrays_of_several_types():
    a, b = integers(48), np.zeros(48, np.float32)
    report = clean(dynamic_shared, 3, 48, a, b, 48, shared_bytes=2 * 48 * 4)
    assert (b == a[::-1] + (np.arange(48) + 1) % 48).all() and report.shared_bytes == 384


def register_tile(a, b):
    t = cuda.local.array((2, 3), float64)
    i = cuda.grid(1)
    for r in range(2):
        for q in range(3):
            t[r, q] = a[i] * r + q
    total = 0.0
    for r in range(2):
        for q in range(3):
            total += t[r, q]
    b[i] = total


def test_local_arrays():
    a, b = integers(70), np.zeros(70)
    clean(register_tile, 2, 35, a, b)
    assert (b == 3 * a.astype(float) + 6).all()


WEIGHTS = integers(3, 5, seed=3)


def constant_weights(a, b):
    w = cuda.const.array_like(WEIGHTS)
    i = cuda.grid(1)
    if i < b.size:
        total = float32(0.0)
        for k in range(5):
            total += w[2, k] * a[i + k] + WEIGHTS[0, k]
        b[i] = total


def test_constant_arrays():
    a, b = integers(77), np.zeros(73, np.float32)
    report = clean(constant_weights, 3, 32, a, b)
    assert (b == np.correlate(a, WEIGHTS[2]) + WEIGHTS[0].sum()).all()
    assert report.line("total +=").requests == 5 * 3, "constant memory is not counted"


def grid_stride(a, factor):
    start = cuda.grid(1)
    stride = cuda.gridsize(1)
    for i in range(start, a.shape[0], stride):
        a[i] *= factor


def test_grid_stride_loop():
    a = integers(1000)
    expected = a * 3
    clean(grid_stride, 3, 64, a, np.float32(3))
    assert (a == expected).all()


def scan(a, sums):
    """Inclusive sums within a block, Hillis and Steele."""
    s = cuda.shared.array((2, 128), int32)
    i = cuda.threadIdx.x
    now = 0
    s[now, i] = a[cuda.grid(1)]
    cuda.syncthreads()
    step = 1
    while step < 128:
        after = 1 - now
        if i >= step:
            s[after, i] = s[now, i] + s[now, i - step]
        else:
            s[after, i] = s[now, i]
        cuda.syncthreads()
        now = after
        step *= 2
    a[cuda.grid(1)] = s[now, i]
    if i == 127:
        sums[cuda.blockIdx.x] = s[now, i]


def test_block_level_scan():
    a, sums = integers(512, dtype=np.int32), np.zeros(4, np.int32)
    expected = a.reshape(4, 128).cumsum(axis=1)
    clean(scan, 4, 128, a, sums)
    assert (a == expected.ravel()).all() and (sums == expected[:, -1]).all()


def votes(a, out):
    i = cuda.threadIdx.x
    v = a[i]
    out[0, i] = cuda.all_sync(ALL, v >= 0)
    out[1, i] = cuda.any_sync(ALL, v > 5)
    out[2, i] = cuda.eq_sync(ALL, v > 5)
    out[3, i] = cuda.ballot_sync(ALL, v > 0)
    out[4, i] = cuda.popc(cuda.ballot_sync(ALL, v > 0))
    out[5, i] = cuda.syncthreads_count(v > 0)
    out[6, i] = cuda.syncthreads_or(v > 7)
    out[7, i] = cuda.syncthreads_and(v > -9)
    out[8, i] = cuda.shfl_sync(ALL, v, 5)
    out[9, i] = cuda.shfl_up_sync(ALL, v, 3)
    out[10, i] = cuda.match_any_sync(ALL, v)
    if v > 0:
        out[11, i] = cuda.activemask()


def test_votes_shuffles_and_counting_barriers():
    a = integers(64, dtype=np.int32)
    out = np.zeros((12, 64), np.int64)
    clean(votes, 1, 64, a, out)
    warps = a.reshape(2, 32)
    bits = np.array([sum(1 << i for i in range(32) if row[i] > 0) for row in warps]).astype(np.uint32).view(np.int32)
    each = np.repeat
    assert (out[0] == each((warps >= 0).all(1), 32)).all() and (out[1] == each((warps > 5).any(1), 32)).all()
    assert (out[2] == 0).all() and (out[3] == each(bits, 32)).all()
    assert (out[4] == each((warps > 0).sum(1), 32)).all() and (out[5] == (a > 0).sum()).all()
    assert (out[6] == (a > 7).any()).all() and (out[7] == 1).all()
    assert (out[8] == each(warps[:, 5], 32)).all()
    assert (out[9].reshape(2, 32) == np.concatenate([warps[:, :3], warps[:, :-3]], axis=1)).all()
    same = (warps[:, :, None] == warps[:, None, :]) @ (1 << np.arange(32))
    assert (out[10] == same.ravel().astype(np.uint32).view(np.int32)).all()
    assert (out[11] == np.where(a > 0, out[3], 0)).all()


def atomics(a, out, old):
    i = cuda.grid(1)
    v = a[i]
    cuda.atomic.add(out, 0, v)
    cuda.atomic.sub(out, 1, v)
    cuda.atomic.max(out, 2, v)
    cuda.atomic.min(out, 3, v)
    cuda.atomic.and_(out, 4, v)
    cuda.atomic.or_(out, 5, v)
    cuda.atomic.xor(out, 6, v)
    old[0, i] = cuda.atomic.inc(out, 7, 9)
    old[1, i] = cuda.atomic.dec(out, 8, 9)
    old[2, i] = cuda.atomic.cas(out, 9, 0, i + 1)
    old[3, i] = cuda.atomic.add(out, (10,), 1)
    old[4, i] = cuda.atomic.exch(out, 11 + i % 2, i)


def test_atomics():
    a = np.random.default_rng(0).integers(0, 1000, 96).astype(np.uint32)
    out, old = np.zeros(13, np.uint32), np.zeros((5, 96), np.uint32)
    out[3:5] = 0xFFFFFFFF
    clean(atomics, 3, 32, a, out, old)
    expected = [a.sum(), 2**32 - int(a.sum()), a.max(), a.min()]
    expected += [np.bitwise_and.reduce(a), np.bitwise_or.reduce(a), np.bitwise_xor.reduce(a), 96 % 10, 4, 1, 96, 94, 95]
    assert out.tolist() == list(map(int, expected))
    i = np.arange(96)
    assert (old[0] == i % 10).all() and (old[1] == -i % 10).all() and (old[2] == (i > 0)).all()
    assert (old[3] == i).all() and (old[4] == np.maximum(i, 2) - 2).all()


def last_block_adds_up(a, partial, ticket, total):
    is_last = cuda.shared.array(1, int32)
    if cuda.threadIdx.x == 0:
        mine = 0
        for k in range(64):
            mine += a[cuda.blockIdx.x * 64 + k]
        partial[cuda.blockIdx.x] = mine
        cuda.threadfence()
        is_last[0] = cuda.atomic.add(ticket, 0, 1) == cuda.gridDim.x - 1
    cuda.syncthreads()
    if is_last[0] and cuda.threadIdx.x == 0:
        for block in range(cuda.gridDim.x):
            total[0] += partial[block]


@pytest.mark.parametrize("blocks", [7, 600])
def test_a_fence_and_a_ticket_order_blocks(blocks):
    a = integers(64 * blocks, dtype=np.int64)
    partial, ticket, total = np.zeros(blocks, np.int64), np.zeros(1, np.int32), np.zeros(1, np.int64)
    clean(last_block_adds_up, blocks, 64, a, partial, ticket, total)
    assert total[0] == a.sum()


def rows_of_an_array(a, b, none):
    i = cuda.grid(1)
    if none is None and i < a.shape[0]:
        for turn in range(2):
            row = a[i, turn]
            total = 0
            for k in range(row.size):
                total += row[k]
            b[i, turn] = total


def test_parts_of_arrays():
    a, b = integers(50, 2, 5, dtype=np.int64), np.zeros((50, 2), np.int64)
    clean(rows_of_an_array, 2, 32, a, b, None)
    assert (b == a.sum(axis=2)).all()


def flag_set_by_many(a, found):
    if a[cuda.grid(1)] == 3:
        found[0] = 1


def test_writes_of_the_same_value_are_no_race():
    found = np.zeros(1, np.int32)
    clean(flag_set_by_many, 4, 64, integers(256), found)
    assert found[0] == 1


def partition(a, count):
    """Blocks of different length in a loop with barriers, and a device function with early returns."""
    s = cuda.shared.array(32, int32)
    i = cuda.threadIdx.x
    for turn in range(cuda.blockIdx.x + 1):
        s[i] = classify(a[i] + turn)
        cuda.syncthreads()
        if i == 0:
            for k in range(32):
                if s[k] == 2:
                    break
                if s[k] == 1:
                    continue
                count[cuda.blockIdx.x] += 1
        cuda.syncthreads()


def classify(v):
    if v > 4:
        return 2
    elif v > 0:
        return 1
    return 0


def test_breaks_continues_returns_and_barriers_of_some_blocks():
    a, count = integers(32, dtype=np.int32), np.zeros(5, np.int32)
    clean(partition, 5, 32, a, count)
    expected = []
    for block in range(5):
        total = 0
        for turn in range(block + 1):
            for v in a + turn:
                if v > 4:
                    break
                total += v <= 0
        expected.append(total)
    assert count.tolist() == expected


def overlapping(a, b):
    i = cuda.threadIdx.x
    b[i] = a[i]


def test_arguments_may_be_views_and_may_overlap():
    whole = integers(10, 20)
    copy = whole.copy()
    clean(transposed_copy, (2, 2), (TILE, TILE), whole[:, ::2], whole.T[1::2])
    assert (whole[:, 1::2] == copy[:, ::2]).all() or (whole[:, 1::2] == copy[:, ::2].T).all()
    line = integers(64)
    report = simulate(overlapping, 1, 63, line[:-1], line[1:])
    assert [finding.kind for finding in report.findings] == ["race"], "a[i + 1] is b[i]"


def make_kernel(scale, columns):
    def scaled(a, b):
        x, y = cuda.grid(2)
        if x < columns:
            b[y, x] = a[y, x] * scale + uint32(x)

    return scaled


def test_kernels_made_by_a_factory():
    a, b = integers(6, 10, dtype=np.float64), np.zeros((6, 10))
    clean(make_kernel(4.0, 10), (2, 3), (8, 2), a, b)
    assert (b == 4 * a + np.arange(10)).all()


def three_dimensions(a):
    x, y, z = cuda.grid(3)
    dx, dy, dz = cuda.gridsize(3)
    a[z, y, x] = x + dx * (y + dy * z) + math.floor(0.5 * dz)


def test_three_dimensions():
    a = np.zeros((12, 8, 6), np.int64)
    clean(three_dimensions, (2, 4, 3), (3, 2, 4), a)
    assert (a.ravel() == np.arange(a.size) + 6).all()
