"""Many matrix products in one launch, of matrices that are whole tiles: out[e] = a[e] @ b[e] for each e and group.

Whoever calls it lays its matrices out in a workspace of its own, so it can pad them, and the product knows no edges: a
block of 128 threads computes ROWS x COLUMNS elements, a thread 8 x 8 of them in registers, slices of DEPTH at a time
from shared memory. 16 elements read there, in four instructions of 128 bits, make 64 multiply-adds. Slices are kept
twice: while one is multiplied the next is on its way to registers, and one barrier a slice is enough. The slice of a is
turned round on its way, unless a is transposed already, so that a thread's rows lie side by side; lines of 4 floats
more than rows put what a warp writes in different banks. Limited by FLOPs where there are blocks enough.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, uint32
from fastconv.kernels.cuda_quads import COLUMNS, DEPTH, ROWS, SUMS, THREADS, multiply_slices
from fastconv.kernels.cuda_vectors import ALIGNMENT, load4, store4

LINE = ROWS + 4
A_SLICES, B_SLICES = 2 * DEPTH * LINE, 2 * DEPTH * COLUMNS


class Product(NamedTuple):
    """Where the matrices lie. Those of the groups lie side by side, in rows that they share.

    a (number, rows, groups * depth), b (number, depth, groups * columns), out (number, rows, groups * columns); rows is
    a multiple of ROWS, columns of COLUMNS and depth of DEPTH.
    """

    number: int
    rows: int
    groups: int
    columns: int
    depth: int
    adds: int = 0  # whether to what is in out


def multiply(a, b, out, product, transposed=False):
    """The launch that computes out[e] = a[e] @ b[e] for all e and groups; all begin on a multiple of 16 bytes.

    transposed: a is (number, depth, groups * rows), and rows are those of a group.
    """
    m = product
    return Launch(
        multiply_by(transposed),
        (m.rows // ROWS * m.groups * m.columns // COLUMNS, m.number),
        (THREADS,),
        (a, b, out, m),
    )


@device_function
def _fetch(a, b, a_at, b_at, half, next_a, next_b):
    """A slice, as far as the thread copies it, on its way to registers."""
    next_a[0], next_a[1], next_a[2], next_a[3] = load4(a, a_at)
    next_a[4], next_a[5], next_a[6], next_a[7] = load4(a, uint32(a_at + half))
    next_b[0], next_b[1], next_b[2], next_b[3] = load4(b, b_at)


@functools.cache
def multiply_by(transposed):
    """The kernel, for a as it is or transposed."""

    @cuda_jit(FLOATS, FLOATS, FLOATS, Product, launch_bounds=(THREADS, 3))
    def _multiply(a, b, out, m):
        left = cuda.shared.array(A_SLICES, float32, ALIGNMENT)  # (2, DEPTH, LINE)
        right = cuda.shared.array(B_SLICES, float32, ALIGNMENT)  # (2, DEPTH, COLUMNS)
        sums = cuda.local.array(SUMS, float32)  # 8 rows x 8 columns
        next_a, next_b = cuda.local.array(8, float32), cuda.local.array(4, float32)
        thread, e, tile = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.y), uint32(cuda.blockIdx.x)
        tiles = uint32(m.columns // COLUMNS)  # of a group, beside each other: neighbours have the same rows
        column0 = uint32(tile % tiles * COLUMNS)
        tile = uint32(tile // tiles)
        group, row0 = uint32(tile % uint32(m.groups)), uint32(tile // uint32(m.groups) * ROWS)
        b_pitch = uint32(m.groups * m.columns)

        # What the thread copies: of b 4 elements of one row; of a 4 elements of the slice for 2 rows, ROWS / 2 apart,
        # or where it is transposed 4 elements of one of its rows, and 4 others ROWS / 2 further.
        quad, row = uint32(thread % 2 * 4), uint32(thread // 2)
        line, column = uint32(thread // 16), uint32(thread % 16 * 4)
        b_at, b_step = (
            uint32((e * m.depth + line) * b_pitch + group * m.columns + column0 + column),
            uint32(DEPTH * b_pitch),
        )
        if transposed:
            a_pitch = uint32(m.groups * m.rows)
            a_at, half = uint32((e * m.depth + line) * a_pitch + group * m.rows + row0 + column), uint32(ROWS // 2)
            a_step = uint32(DEPTH * a_pitch)
        else:
            a_pitch = uint32(m.groups * m.depth)
            a_at, half = (
                uint32((e * m.rows + row0 + row) * a_pitch + group * m.depth + quad),
                uint32(ROWS // 2 * a_pitch),
            )
            a_step = uint32(DEPTH)
        # What it computes: rows from `down` on, 4 and 64 further 4; columns from `across` on, 4 and 32 further 4.
        down, across = uint32(thread // 8 * 4), uint32(thread % 8 * 4)
        for i in range(64):
            sums[i] = float32(0)
        out_at = uint32((e * m.rows + row0 + down) * b_pitch + group * m.columns + column0 + across)
        if m.adds:
            for y in range(8):
                i, at = y * 8, uint32(out_at + (y % 4 + y // 4 * 64) * b_pitch)
                sums[i], sums[i + 1], sums[i + 2], sums[i + 3] = load4(out, at)
                sums[i + 4], sums[i + 5], sums[i + 6], sums[i + 7] = load4(out, at + 32)

        _fetch(a, b, a_at, b_at, half, next_a, next_b)
        step = uint32(0)
        while step < uint32(m.depth // DEPTH):
            copy = uint32(step % 2)
            if transposed:
                place = uint32((copy * DEPTH + line) * LINE + column)
                store4(left, place, next_a[0], next_a[1], next_a[2], next_a[3])
                store4(left, place + ROWS // 2, next_a[4], next_a[5], next_a[6], next_a[7])
            else:
                for y in range(2):
                    for d in range(4):
                        left[uint32((copy * DEPTH + quad + d) * LINE + row + y * (ROWS // 2))] = next_a[y * 4 + d]
            store4(right, uint32((copy * DEPTH + line) * COLUMNS + column), next_b[0], next_b[1], next_b[2], next_b[3])
            cuda.syncthreads()  # the other copy is written next, and what reads it has come here
            step = uint32(step + 1)
            if step < uint32(m.depth // DEPTH):
                a_at, b_at = uint32(a_at + a_step), uint32(b_at + b_step)
                _fetch(a, b, a_at, b_at, half, next_a, next_b)
            i, j = uint32(copy * DEPTH * LINE + down), uint32(copy * DEPTH * COLUMNS + across)
            multiply_slices(sums, left, right, i, j, LINE, COLUMNS)

        for y in range(8):
            at = uint32(out_at + (y % 4 + y // 4 * 64) * b_pitch)
            store4(out, at, sums[y * 8], sums[y * 8 + 1], sums[y * 8 + 2], sums[y * 8 + 3])
            store4(out, at + 32, sums[y * 8 + 4], sums[y * 8 + 5], sums[y * 8 + 6], sums[y * 8 + 7])

    return _multiply
