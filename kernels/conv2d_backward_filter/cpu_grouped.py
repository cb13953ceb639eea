"""The filter's gradient of a convolution with small groups, several of them in a vector.

Differs from cpu_depthwise, which multiplies a vector of x by the same vector of gy, by multiplying all pairs of lanes
that lie in one group: the lanes of gy are exchanged between products (see `lane_products` in cpu_simd.py). Three taps
of a filter's row run over a band together and share what is exchanged: with 8 channels a group 24 sums stay in
registers, none of them in vain. Groups wider than a vector take their vectors in pairs. A task sums some groups for a
chunk of the bands of all images; there are chunks, by the problem alone, where the groups are too few to go round. A
sum's place follows from its pair of lanes, and it is put in order when the chunks are added. Limited by FLOPs; with 16
channels a group and more by exchanges, one for each product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from fastconv.kernels.conv2d_backward_filter.cpu_depthwise import copy_gy, copy_x
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import (
    VECTOR_BYTES,
    VECTORS,
    at,
    group_rows,
    lane_products,
    lanes,
    pair_shape,
    tile_load,
    tile_rows,
    tile_store,
)
from fastconv.kernels.registry import kernel

_TASKS = 16  # at least, if there are bands enough: work for as many threads
_BAND_BYTES = 1 << 15  # of x that a band copies
# Taps of a filter's row that run over a band together: their sums and some vectors more fit 32 registers, or 16.
_OF_4, _OF_8 = (2, 1) if VECTOR_BYTES == 32 else (3, 3)
_COUNT = 25  # of the numbers that the compiled code is handed


@dataclass(frozen=True)
class _Plan:
    """group: channels that are multiplied by each other in a vector. pairs: vectors of gy that meet a vector of x.
    width: channels that a band copies, whole groups. rows, in_rows, columns, bands, scratch: as in cpu_depthwise.
    blocks: of channels. chunks: of the bands of all images."""

    group: int
    pairs: int
    width: int
    rows: int
    in_rows: int
    columns: int
    bands: int
    blocks: int
    chunks: int
    scratch: int


@lru_cache(maxsize=1024)
def _plan(problem):
    p, vector = problem, VECTOR_BYTES // problem.itemsize
    channels = p.C // p.groups
    width = max(channels, VECTORS * vector)
    columns = (p.Q - 1) * p.stride_w + (p.S - 1) * p.dilation_w + 1
    rows = max(1, min(p.P, _BAND_BYTES // (width * p.itemsize * columns * p.stride_h)))
    in_rows = (rows - 1) * p.stride_h + (p.R - 1) * p.dilation_h + 1
    bands, blocks = -(-p.P // rows), -(-p.C // width)
    chunks = max(1, min(p.N * bands, -(-_TASKS // blocks)))
    scratch = (in_rows * columns + rows * p.Q) * width
    return _Plan(
        min(channels, vector), -(-channels // vector), width, rows, in_rows, columns, bands, blocks, chunks, scratch
    )


def unsupported(problem):
    p = problem
    size, vector = p.C // p.groups, VECTOR_BYTES // p.itemsize
    small = 1 < size < vector and size & (size - 1) == 0 and p.C % vector == 0
    if p.C == p.K and p.groups > 1 and (small or size % vector == 0):
        return None
    return f"groups must have 2, 4 ... or a multiple of {vector} channels and as many filters, and fill vectors"


def _threads(problem):
    return threads_for(problem.flops // 2)


def _workspace_bytes(problem):
    p, plan = problem, _plan(problem)
    return (plan.chunks * (p.R * p.S * p.C // p.groups + 1) * p.C + _threads(p) * plan.scratch) * p.itemsize


@lru_cache(maxsize=64)
def _order(problem):
    """Where the sums of a tap's element (channel of a group, filter) lie, relative to that tap's."""
    p, plan = problem, _plan(problem)
    vector, channels = VECTOR_BYTES // p.itemsize, p.C // p.groups
    k = np.arange(p.K)
    c = k // channels * channels + np.arange(channels)[:, None]
    member = np.argsort(group_rows(plan.group))[(c ^ k) % plan.group]
    pair = c // vector * plan.pairs + k // vector % plan.pairs
    return ((pair * p.R * p.S * plan.group + member) * vector + c % vector).reshape(-1)


@kernel(
    limited_by="FLOPs: one fused multiply-add a lane and cycle",
    unsupported=unsupported,
    workspace_bytes=_workspace_bytes,
    pays=lambda problem: problem.C // problem.groups * problem.itemsize <= 2 * VECTOR_BYTES,
)
def cpu_grouped(problem, x, gy, gw, gb, workspace):
    p, plan, threads = problem, _plan(problem), _threads(problem)
    memory = workspace[: _workspace_bytes(p)].view(x.dtype)
    scratch, partial = memory[: threads * plan.scratch], memory[threads * plan.scratch :]
    _run(x.reshape(-1), gy.reshape(-1), partial, scratch, _numbers(p, threads))
    flat_gw, order = gw.reshape(-1), _order(p)
    bias = flat_gw[:0] if gb is None else gb
    tap = plan.group * VECTOR_BYTES // p.itemsize
    _put_in_order(partial, order, tap, flat_gw, bias, plan.chunks, p.K, threads_for(2 * plan.chunks * gw.size))


@lru_cache(maxsize=1024)
def _numbers(problem, threads):
    """All that `_run` must know besides arrays, int64."""
    p, plan = problem, _plan(problem)
    return np.array(
        [
            threads, p.N, p.H, p.W, p.C, p.P, p.Q, p.R, p.S, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w,
            p.pad_top, p.pad_left, plan.group, plan.pairs, plan.width, plan.rows, plan.in_rows, plan.columns,
            plan.bands, plan.blocks, plan.chunks, plan.scratch,
        ],
        np.int64,
    )  # fmt: skip


@cpu_jit(inner=True)
def _taps(shape, x, row_step, step, tap_step, gy, rows, Q, width, sums):
    """Add to sums (taps of the shape, group, lanes) the products of a band, for taps that are `tap_step` apart in x."""
    total = tile_load(shape, sums, lanes(gy), 0)
    for row in range(rows):
        total = lane_products(total, at(x, row * row_step), tap_step, step, at(gy, row * Q * width), width, Q)
    tile_store(total, sums, lanes(gy), 0)


@cpu_jit(inner=True)
def _filter_row(several, one, group, S, x, row_step, step, tap_step, gy, rows, Q, width, sums):
    """The same for all S taps of a filter's row, as many at once as `several` has while there are so many."""
    s, taps = 0, tile_rows(several) // group
    while s < S:
        a, to = at(x, s * tap_step), at(sums, s * group * lanes(gy))
        if S - s >= taps:
            _taps(several, a, row_step, step, tap_step, gy, rows, Q, width, to)
            s += taps
        else:
            _taps(one, a, row_step, step, tap_step, gy, rows, Q, width, to)
            s += 1


@cpu_jit(inner=True)
def _any_group(group, S, x, row_step, step, tap_step, gy, rows, Q, width, sums):
    """`_filter_row` with the shapes for a size of group."""
    arguments = group, S, x, row_step, step, tap_step, gy, rows, Q, width, sums
    if group == 2:
        _filter_row(pair_shape(3, 2), pair_shape(1, 2), *arguments)
    elif group == 4:
        _filter_row(pair_shape(_OF_4, 4), pair_shape(1, 4), *arguments)
    elif group == 8:
        _filter_row(pair_shape(_OF_8, 8), pair_shape(1, 8), *arguments)
    else:
        _filter_row(pair_shape(1, 16), pair_shape(1, 16), *arguments)


@cpu_jit(inner=True)
def _thread(thread, x, gy, partial, scratch, numbers):
    """A share of the pairs of a chunk and a block of channels."""
    (
        threads, N, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, top, left, group, pairs, width,
        band_rows, in_rows, columns, bands, blocks, chunks, size,
    ) = to_fixed_tuple(numbers, _COUNT)  # fmt: skip
    vector, tap = lanes(x), group * lanes(x)
    chunk_size = (R * S * group * pairs + 1) * C
    x_block, gy_block = at(scratch, thread * size), at(scratch, thread * size + in_rows * columns * width)
    for task in range(chunks * blocks * thread // threads, chunks * blocks * (thread + 1) // threads):
        chunk, first = task // blocks, task % blocks * width
        base, last = chunk * chunk_size, min(C, first + width)
        for i in range(base + first * pairs * R * S * group, base + last * pairs * R * S * group):
            partial[i] = 0
        bias = base + chunk_size - C
        for c in range(first, last):
            partial[bias + c] = 0
        for number in range(N * bands * chunk // chunks, N * bands * (chunk + 1) // chunks):
            image, p = number // bands, number % bands * band_rows
            rows = min(band_rows, P - p)
            needed = (rows - 1) * stride_h + (R - 1) * dilation_h + 1
            for c in range(first, last, VECTORS * vector):
                copy_x(
                    at(x, image * H * W * C + c), p * stride_h - top, -left, H, W, C, last - c, needed, columns,
                    at(x_block, c - first), width,
                )  # fmt: skip
                gradients = at(gy, (image * P + p) * Q * C + c)
                copy_gy(gradients, C, last - c, rows * Q, at(gy_block, c - first), width, at(partial, bias + c))
            for c in range(first, last, vector):
                of_x = c // vector
                for pair in range(pairs):
                    k = (of_x // pairs * pairs + pair) * vector - first
                    sums = base + (of_x * pairs + pair) * R * S * tap
                    for r in range(R):
                        a = at(x_block, r * dilation_h * columns * width + c - first)
                        _any_group(
                            group, S, a, stride_h * columns * width, stride_w * width, dilation_w * width,
                            at(gy_block, k), rows, Q, width, at(partial, sums + r * S * tap),
                        )  # fmt: skip


@cpu_jit
def _run(x, gy, partial, scratch, numbers):
    parallel_for(_thread, numbers[0], (x, gy, partial, scratch, numbers))


@cpu_jit(inner=True)
def _part_in_order(thread, partial, order, tap, gw, gb, chunks, filters, threads):
    """A thread's part of gw, the sums of all chunks in their order; the first thread adds the bias."""
    step = partial.size // chunks
    taps = gw.size // order.size
    for i in range(order.size * thread // threads, order.size * (thread + 1) // threads):
        for t in range(taps):
            total = partial[order[i] + t * tap]
            for chunk in range(1, chunks):
                total += partial[chunk * step + order[i] + t * tap]
            gw[t * order.size + i] = total
    for k in range(filters if thread == 0 and gb.size > 0 else 0):
        gb[k] = partial[step - filters + k]
        for chunk in range(1, chunks):
            gb[k] += partial[chunk * step + step - filters + k]


@cpu_jit
def _put_in_order(partial, order, tap, gw, gb, chunks, filters, threads):
    parallel_for(_part_in_order, threads, (partial, order, tap, gw, gb, chunks, filters, threads))
