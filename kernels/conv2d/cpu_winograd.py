"""Winograd's minimal filtering: a 3x3 convolution of stride 1 with a quarter of the multiplications.

Differs from cpu_direct: the arithmetic itself is cut, at the price of transforms of x, w and y and of about four
times the (small) rounding error; see ../cpu_winograd.py. A task is a range of 4x4 tiles of the output and of the
filters. Limited by FLOPs of the products: 36 multiply-adds for each tile, channel and filter.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.kernels import cpu_winograd as winograd
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import ROWS, VECTORS, at, lanes
from fastconv.kernels.cpu_winograd import POINTS
from fastconv.kernels.cpu_winograd_transforms import INPUT_PATCH, OUTPUT_PATCH, transform
from fastconv.kernels.registry import kernel


@functools.lru_cache(maxsize=1024)
def _plan(problem):
    return winograd.Plan.of(problem, problem.C, problem.K)


def _workspace_bytes(problem):
    plan = _plan(problem)
    return (plan.filter_elements(plan.part) + winograd.threads_of(problem) * plan.block_elements) * problem.itemsize


def _filter_bytes(problem):
    plan = _plan(problem)
    return plan.filter_elements(plan.columns) * problem.itemsize


def _transform_filters(problem, w, memory):
    p, plan = problem, _plan(problem)
    _transform(p, w.reshape(-1), memory[: _filter_bytes(p)].view(w.dtype), 0, plan.columns)


def _transform(problem, w, filters, first, columns):
    """The points of `columns` filters, from number `first` on."""
    p, plan = problem, _plan(problem)
    size, step = plan.filter_elements(columns), plan.filter_step(columns)
    winograd.transform_filter(
        w[first:], p.C * p.K, filters[:size], step, p.C, p.K, p.K - first, columns, threads_for(size)
    )  # fmt: skip


@kernel(
    limited_by="FLOPs: 36 multiply-adds for each 4x4 tile, channel and filter",
    unsupported=winograd.unsupported,
    pays=winograd.pays,
    exact=False,
    workspace_bytes=_workspace_bytes,
    fuses=("relu",),
    prepare=(_filter_bytes, _transform_filters),
)
def cpu_winograd(problem, x, w, bias, y, workspace, relu=False, prepared=None):
    p, plan, threads = problem, _plan(problem), winograd.threads_of(problem)
    bias = np.zeros(p.K, y.dtype) if bias is None else bias
    memory = workspace[: _workspace_bytes(p)].view(x.dtype)
    filters, scratch = np.split(memory, [plan.filter_elements(plan.part)])
    if prepared is not None:
        filters = prepared[: _filter_bytes(p)].view(x.dtype)
    flat_w, flat_y = w.reshape(-1), y.reshape(-1)
    for first, columns in plan.parts(prepared is not None):
        if prepared is None:
            _transform(p, flat_w, filters, first, columns)
        _run(
            x.reshape(-1), filters, bias[first:], flat_y[first:], scratch, threads, p.H, p.W, p.C, p.P, p.Q, p.K,
            p.K - first, p.pad_top, p.pad_left, plan.tiles, plan.tiling, plan.block, plan.pitch, plan.point_step,
            plan.filter_step(columns), columns, plan.group, plan.product_step,
            plan.splits(threads, plan.tiles // ROWS, columns, p.itemsize), x.dtype.type(0.0 if relu else -np.inf),
        )  # fmt: skip


@cpu_jit(inner=True)
def _thread(
    thread, x, filters, bias, y, scratch, threads, H, W, C, P, Q, K, made, top, left,
    tiles, tiling, block, pitch, point_step, filter_step, columns, group, product_step, splits, lowest,
):  # fmt: skip
    """A share of the tiles and of the filters, of which `made` are there."""
    share, split, shares = thread // splits, thread % splits, threads // splits
    units, wide = (tiles + ROWS - 1) // ROWS, VECTORS * lanes(x)
    first_k, end_k = columns // wide * split // splits * wide, columns // wide * (split + 1) // splits * wide
    begin, end = units * share // shares * ROWS, min(tiles, units * (share + 1) // shares * ROWS)
    points = at(scratch, thread * POINTS * (point_step + product_step))
    products = at(points, POINTS * point_step)
    for first in range(begin, end, block):
        count = min(block, end - first)
        winograd.collect(
            transform(INPUT_PATCH), first, count, at(x, 0), H, W, C, C, top, left, tiling,
            points, pitch, point_step,
        )  # fmt: skip
        for k in range(first_k, end_k, group):
            width = min(group, end_k - k)
            winograd.multiply(
                points, pitch, point_step, count, C, at(filters, k * C), filter_step, width,
                products, group, product_step,
            )  # fmt: skip
            winograd.spread(
                transform(OUTPUT_PATCH), first, count, products, group, product_step,
                P, Q, K, min(width, made - k), 0, 0, tiling, at(y, k), at(bias, k), 0, lowest,
            )  # fmt: skip


@cpu_jit
def _run(
    x, filters, bias, y, scratch, threads, H, W, C, P, Q, K, made, top, left,
    tiles, tiling, block, pitch, point_step, filter_step, columns, group, product_step, splits, lowest,
):  # fmt: skip
    parallel_for(
        _thread,
        threads,
        (
            x, filters, bias, y, scratch, threads, H, W, C, P, Q, K, made, top, left,
            tiles, tiling, block, pitch, point_step, filter_step, columns, group, product_step, splits,
            lowest,
        ),
    )  # fmt: skip
