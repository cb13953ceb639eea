"""Convolution with small groups over a list of taps: several groups side by side in a vector.

Differs from cpu_taps.py, whose tiles hold filters of one group: with 4 filters a group they would fill 4 lanes of 16.
Here a vector of channels is taken as one group, whose filter is a block diagonal; its zeros are left out by exchanging
the lanes of x between products (see `group_shape` in cpu_simd.py). All else is as there. Limited by FLOPs.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from fastconv.kernels import cpu_taps
from fastconv.kernels.cpu_grid import Grid
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_memory import stream_end, streams
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import ROWS, VECTOR_BYTES, at, group_rows, group_shape, lanes
from fastconv.kernels.cpu_taps import COUNT, block, copy_band
from fastconv.kernels.problem import Conv2DProblem


def unsupported(problem: Conv2DProblem) -> str | None:
    """Why a problem has no small groups that fill vectors, or None."""
    p = problem
    size, lanes = p.C // p.groups, VECTOR_BYTES // p.itemsize
    if p.C == p.K > lanes and 1 < size <= lanes and size & (size - 1) == 0 and p.C % lanes == 0:
        return None
    return f"groups must have 2, 4, ... {lanes} channels and as many filters, and fill several vectors of {lanes}"


def pays(problem: Conv2DProblem) -> bool:
    """Whether a group leaves half a vector empty."""
    return 2 * problem.C // problem.groups * problem.itemsize <= VECTOR_BYTES


def merged(problem: Conv2DProblem) -> Conv2DProblem:
    """The problem with groups as wide as a vector."""
    return replace(problem, groups=problem.C * problem.itemsize // VECTOR_BYTES)


def filter_bytes(problem: Conv2DProblem) -> int:
    """Of the filters in the order that `convolve` puts them in."""
    return problem.R * problem.S * problem.C // problem.groups * problem.K * problem.itemsize


@functools.lru_cache(maxsize=64)
def _order(rows: int, size: int, channels: int, lanes: int) -> np.ndarray:
    """Indices into w (taps, size, channels) for (vectors of channels, taps, size, lanes): what a lane sees in turn."""
    lane = np.arange(lanes)
    seen = (lane % size)[None] ^ np.array(group_rows(size))[:, None]  # (size, lanes): the channel of its group
    vectors, taps = np.arange(channels // lanes), np.arange(rows // size)
    row = taps[None, :, None, None] * size + seen[None, None]
    return (row * channels + vectors[:, None, None, None] * lanes + lane).reshape(-1)


def convolve(problem: Conv2DProblem, grid: Grid, inp, w, bias, out, workspace, lowest: float, gate=None) -> None:
    """As `cpu_taps.convolve`; grid: of the `merged` problem; w (R * S, channels of a group, C), flat."""
    p = problem
    size, vector = p.C // p.groups, VECTOR_BYTES // p.itemsize
    ordered = workspace[: filter_bytes(p)].view(w.dtype)
    np.take(w, _order(p.R * p.S * size, size, p.C, vector), out=ordered, mode="clip")
    bands = workspace[filter_bytes(p) :]
    cut, numbers, _ = cpu_taps.cut_and_numbers(grid, inp.itemsize, threads_for(grid.multiply_adds))
    _run(
        inp, ordered, bias, out, out if gate is None else gate, bands[: cut.band_bytes].view(inp.dtype),
        grid.regions.edges.reshape(-1), grid.regions.runs, numbers, p.R * p.S, size, gate is not None,
        inp.dtype.type(lowest), streams(out, grid.filters // grid.groups),
    )  # fmt: skip


@cpu_jit(inner=True)
def _thread(thread, inp, w, bias, out, gate, scratch, edges, runs, numbers, tap_count, size, gated, lowest, streamed):
    """A share of the bands of all images."""
    (
        threads, images, in_h, in_w, in_c, grid_rows, columns, step_h, step_w, out_image, out_row, out_pixel, out_first,
        groups, filters, row_classes, column_classes, first_row, band_rows, image_block, row_block, column_block,
        filter_block, taps, tap_rows, packed_rows,
    ) = to_fixed_tuple(numbers, COUNT)  # fmt: skip
    bands, width = (grid_rows + row_block - 1) // row_block, lanes(w)
    band = at(scratch, thread * image_block * band_rows * in_w * in_c)
    tasks = (images + image_block - 1) // image_block * bands
    for task in range(tasks * thread // threads, tasks * (thread + 1) // threads):
        image, row = task // bands * image_block, task % bands * row_block
        count, row_end = min(image_block, images - image), min(row + row_block, grid_rows)
        copy_band(inp, image, count, in_h, in_w, groups, width, row * step_h + first_row, band_rows, band)
        for group in range(groups):
            c, target = group * width, out_first + image * out_image + group * width
            block(
                group_shape(ROWS),
                at(band, (group * count * band_rows - row * step_h - first_row) * in_w * width),
                step_w * width, step_h * in_w * width, band_rows * in_w * width, at(w, c * tap_count * size), size,
                at(edges, 0), row_classes, column_classes, at(runs, 0), at(bias, c), at(out, target), at(gate, target),
                out_pixel, out_row, out_image, count, row, row_end, 0, columns, 0, taps, tap_rows, gated, lowest,
                streamed, 0,
            )  # fmt: skip
    if streamed:
        stream_end()


@cpu_jit
def _run(inp, w, bias, out, gate, scratch, edges, runs, numbers, tap_count, size, gated, lowest, streamed):
    parallel_for(
        _thread,
        numbers[0],
        (inp, w, bias, out, gate, scratch, edges, runs, numbers, tap_count, size, gated, lowest, streamed),
    )
