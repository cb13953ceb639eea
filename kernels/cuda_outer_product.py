"""A tile of a matrix product: 8 x 8 sums in each thread's registers, fed from two copies in shared memory.

A block of 128 threads computes 128 rows x 64 columns, 8 deep at a time. Its copies lie turned over, (DEPTH, rows) and
(DEPTH, columns). For one step in depth a thread reads 8 elements of each and makes 64 products of them. Its rows lie
side by side, its columns LANES apart, so that the 8 threads beside it read neighbours, and write them later.
"""

from __future__ import annotations

from fastconv.kernels.cuda import cuda, device_function, float32, uint32

ROWS, COLUMNS, DEPTH = 128, 64, 8  # of a block, and of its copies
TILE = 8  # rows, and columns, of a thread
SUMS = TILE * TILE
LANES = COLUMNS // TILE  # threads beside each other
LINES = ROWS // TILE  # and below each other
THREADS = LINES * LANES


@device_function
def multiply_add(sums, a, b, line, lane):
    """Add the outer products of DEPTH columns of the left matrix and rows of the right one: the thread's part of them.

    sums: a local array of SUMS elements, row by row.
    """
    left, right = cuda.local.array(TILE, float32), cuda.local.array(TILE, float32)
    for d in range(DEPTH):
        for i in range(TILE):
            left[i] = a[d, uint32(line * TILE + i)]
            right[i] = b[d, uint32(lane + i * LANES)]
        for i in range(TILE):
            for k in range(TILE):
                sums[i * TILE + k] += left[i] * right[k]
