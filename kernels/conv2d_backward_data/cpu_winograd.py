"""Winograd's products transposed: the input's gradient from tiles of the output's, a quarter of the multiplications.

Differs from cpu_direct as conv2d/cpu_winograd.py does from its: 36 products for each tile of gy instead of 144. A
4x4 tile of gy makes a 6x6 patch of gx, which is added to its neighbours' where they overlap; so a task is whole images,
or with few of them a share of the channels, and the order of the sums never changes. Limited by FLOPs of the products.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.kernels import cpu_winograd as winograd
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import VECTORS, at, lanes
from fastconv.kernels.cpu_transpose import transposed_filter
from fastconv.kernels.cpu_winograd import POINTS
from fastconv.kernels.cpu_winograd_transforms import GRADIENT_PATCH, INPUT_GRADIENT_PATCH, transform
from fastconv.kernels.registry import kernel


@functools.lru_cache(maxsize=1024)
def _plan(problem):
    return winograd.Plan.of(problem, problem.K, problem.C)


def _workspace_bytes(problem):
    plan, turned = _plan(problem), 9 * problem.K * problem.C
    blocks = winograd.threads_of(problem) * plan.block_elements
    return (turned + plan.filter_elements(plan.part) + blocks) * problem.itemsize


@kernel(
    limited_by="FLOPs: 36 multiply-adds for each 4x4 tile, channel and filter",
    unsupported=winograd.unsupported,
    pays=winograd.pays,
    exact=False,
    workspace_bytes=_workspace_bytes,
    fuses=("relu",),
)
def cpu_winograd(problem, gy, w, gx, workspace, relu=None):
    p, plan, threads = problem, _plan(problem), winograd.threads_of(problem)
    memory = workspace[: _workspace_bytes(p)].view(gy.dtype)
    size = plan.filter_elements(plan.part)
    filters, scratch, turned = np.split(memory, [size, size + threads * plan.block_elements])
    transposed_filter(p, w, turned)
    flat = gx.reshape(-1)
    x = flat if relu is None else relu.reshape(-1)
    for first, columns in plan.parts(False):
        size, step = plan.filter_elements(columns), plan.filter_step(columns)
        winograd.transform_filter(
            turned[first:], -p.C * p.K, filters[:size], step, p.K, p.C, p.C - first, columns, threads_for(size)
        )  # fmt: skip
        _run(
            gy.reshape(-1), filters, x[first:], flat[first:], scratch, threads, p.N, p.H, p.W, p.C, p.C - first, p.P,
            p.Q, p.K, p.pad_top, p.pad_left, plan.tiling, plan.block, plan.pitch, plan.point_step, step, columns,
            plan.group, plan.product_step, plan.splits(threads, p.N, columns, p.itemsize),
            gx.dtype.type(np.nan if relu is None else 0),
        )  # fmt: skip


@cpu_jit(inner=True)
def _thread(
    thread, gy, filters, x, gx, scratch, threads, N, H, W, C, made, P, Q, K, top, left,
    tiling, block, pitch, point_step, filter_step, columns, group, product_step, splits, lowest,
):  # fmt: skip
    """A share of the images and of the channels, of which `made` are there."""
    share, split, shares, wide = thread // splits, thread % splits, threads // splits, VECTORS * lanes(gy)
    first_c, end_c = columns // wide * split // splits * wide, columns // wide * (split + 1) // splits * wide
    first_image, end_image = N * share // shares, N * (share + 1) // shares
    for pixel in range(first_image * H * W, end_image * H * W):
        for c in range(first_c, min(made, end_c)):
            gx[pixel * C + c] = 0
    points = at(scratch, thread * POINTS * (point_step + product_step))
    products = at(points, POINTS * point_step)
    tiles = tiling[0] * tiling[1] * tiling[2] * tiling[3]  # of an image
    end = end_image * tiles
    for first in range(first_image * tiles, end, block):
        count = min(block, end - first)
        winograd.collect(
            transform(GRADIENT_PATCH), first, count, at(gy, 0), P, Q, K, K, 0, 0, tiling,
            points, pitch, point_step,
        )  # fmt: skip
        for c in range(first_c, end_c, group):
            width = min(group, end_c - c)
            winograd.multiply(
                points, pitch, point_step, count, K, at(filters, c * K), filter_step, width,
                products, group, product_step,
            )  # fmt: skip
            winograd.spread(
                transform(INPUT_GRADIENT_PATCH), first, count, products, group, product_step,
                H, W, C, min(width, made - c), top, left, tiling, at(gx, c), at(x, c), 1, lowest,
            )  # fmt: skip


@cpu_jit
def _run(
    gy, filters, x, gx, scratch, threads, N, H, W, C, made, P, Q, K, top, left,
    tiling, block, pitch, point_step, filter_step, columns, group, product_step, splits, lowest,
):  # fmt: skip
    parallel_for(
        _thread,
        threads,
        (
            gy, filters, x, gx, scratch, threads, N, H, W, C, made, P, Q, K, top, left,
            tiling, block, pitch, point_step, filter_step, columns, group, product_step, splits, lowest,
        ),
    )  # fmt: skip
