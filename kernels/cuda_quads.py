"""A tile of a matrix product that moves four floats at a time: 8 x 8 sums in each thread's registers.

A block of 128 threads computes 128 rows x 64 columns. Slices of both matrices, DEPTH deep, lie in shared memory, one
line for each step in depth. A thread has 4 rows and, 64 further, 4 more; 4 columns and, 32 further, 4 more. So for a
step it reads 16 floats in four instructions, and what the threads of a warp read lies in all banks, or is the same.
"""

from __future__ import annotations

from fastconv.kernels.cuda import cuda, device_function, float32, uint32
from fastconv.kernels.cuda_vectors import load4, store4

ROWS, COLUMNS, DEPTH = 128, 64, 8  # of a block's tile, and of a slice
THREADS = 128  # 16 down the rows, 8 along the columns
SUMS = 64  # of a thread: 8 rows of 8


@device_function
def multiply_slices(sums, a, b, a_at, b_at, a_line, b_line):
    """Add the products of two slices, as far as they are the thread's.

    a, b: shared memory; the thread's first row and column lie at a_at and b_at, its next ones a line further for each
    step in depth. a_line, b_line: constants.
    """
    left, right = cuda.local.array(8, float32), cuda.local.array(8, float32)
    end = uint32(a_at + DEPTH * a_line)
    while a_at < end:
        for e in range(2):  # of constant length: unrolled
            left[0], left[1], left[2], left[3] = load4(a, a_at + e * a_line)
            left[4], left[5], left[6], left[7] = load4(a, a_at + e * a_line + ROWS // 2)
            right[0], right[1], right[2], right[3] = load4(b, b_at + e * b_line)
            right[4], right[5], right[6], right[7] = load4(b, b_at + e * b_line + COLUMNS // 2)
            for i in range(8):
                for j in range(8):
                    sums[i * 8 + j] += left[i] * right[j]
        a_at, b_at = uint32(a_at + 2 * a_line), uint32(b_at + 2 * b_line)


@device_function
def store_row(out, sums, i, at, columns, wide):
    """Store a thread's row of eight sums, from sums[i] on, to out[at] and out[at + 32] and what follows.

    columns: that are left from `at` on; others are not written. wide: whether `at` may be used by 128-bit stores.
    """
    for j in range(2):
        first, place = i + j * 4, uint32(at + j * (COLUMNS // 2))
        if wide:
            if columns > j * (COLUMNS // 2):
                store4(out, place, sums[first], sums[first + 1], sums[first + 2], sums[first + 3])
        else:
            for e in range(4):
                if columns > j * (COLUMNS // 2) + e:
                    out[uint32(place + e)] = sums[first + e]
