"""Times `fastconv.testing.simulate` beside Numba's own simulator on a 3x3 convolution with a tile in shared memory.

python bench/simulator.py: half a minute, most of it Numba's. Both results are compared with the same sum in NumPy.
"""

import os
import statistics
import subprocess
import sys
import time

import numpy as np
from numba import cuda, float32

TILE = 8
SIDE = TILE + 2
N, C, H, W, K = 2, 3, 19, 21, 4
P, Q = H - 2, W - 2
GRID, BLOCK = (-(-Q // TILE), -(-P // TILE), N * K), (TILE, TILE)


def conv2d(x, w, y):
    s = cuda.shared.array((SIDE, SIDE), float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    q, p = cuda.blockIdx.x * TILE + tx, cuda.blockIdx.y * TILE + ty
    n, k = cuda.blockIdx.z // w.shape[0], cuda.blockIdx.z % w.shape[0]
    total = float32(0.0)
    for c in range(x.shape[1]):
        i = ty * TILE + tx
        while i < SIDE * SIDE:
            h, v = cuda.blockIdx.y * TILE + i // SIDE, cuda.blockIdx.x * TILE + i % SIDE
            s[i // SIDE, i % SIDE] = x[n, c, h, v] if h < x.shape[2] and v < x.shape[3] else float32(0.0)
            i += TILE * TILE
        cuda.syncthreads()
        for r in range(3):
            for j in range(3):
                total += s[ty + r, tx + j] * w[k, c, r, j]
        cuda.syncthreads()
    if p < y.shape[2] and q < y.shape[3]:
        y[n, k, p, q] = total


def timed(run, repeats):
    """The median time in seconds of a run, after one to warm up; each result is checked."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((N, C, H, W), dtype=np.float32), rng.standard_normal((K, C, 3, 3), dtype=np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    expected = np.einsum("ncpqrs,kcrs->nkpq", windows.astype(np.float64), w)
    times = []
    for _ in range(repeats):
        y = np.full((N, K, P, Q), np.nan, np.float32)
        start = time.perf_counter()
        run(x, w, y)
        times.append(time.perf_counter() - start)
        assert np.abs(y - expected).max() < 1e-5
    return statistics.median(times[1:])


def main():
    if "--numba" in sys.argv:
        print(timed(lambda *args: cuda.jit(conv2d)[GRID, BLOCK](*args), 3))
        return
    from fastconv.testing import simulate

    ours = timed(lambda *args: simulate(conv2d, GRID, BLOCK, *args).raise_if_wrong(), 21)
    command, environment = [sys.executable, __file__, "--numba"], {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    numbas = float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    macs = N * K * P * Q * C * 9
    for name, seconds in (("fastconv", ours), ("Numba", numbas)):
        print(f"{name:9} {1e3 * seconds:9.1f} ms {macs / seconds / 1e3:9.1f} kMAC/s")
    print(f"{numbas / ours:.0f} times as fast, of {GRID[0] * GRID[1] * GRID[2] * TILE * TILE} threads")


if __name__ == "__main__":
    main()
