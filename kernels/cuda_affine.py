"""Images read at other places on a GPU: an affine map for each image, and what stands for pixels beyond the edges.

`cpu_affine` has the same maps in float64. A GPU has few units for that, so a map comes as two parts in float32:
multiples of 1/256, whose sums are exact, and the small rest. Places are right to some 1e-7 pixels in images of 256 a
side (1e-6 in the largest that are taken), so a nearest pixel is another than on a CPU only where a place is that near
to a half.

Forward a thread makes an element of the output. Limited by latency, the reads of four pixels, which neighbours share.
The gradient goes back to where pixels were taken from, a thread to a channel of an image, so that no two add to one
place and sums have one order: slow, limited by the latency of its chain of additions, and run only where weights are
trained before such a layer.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32

THREADS = 256
NUMBERS = 12  # of an image's map, in two parts
LARGEST = 4096  # pixels of a side
MODES = ("constant", "nearest", "wrap", "reflect")
_CONSTANT, _NEAREST, _WRAP = range(3)
_PARTS = 256  # to a pixel


class Sizes(NamedTuple):
    """Those of x, (N, H, W, C), and of y, (N, P, Q, C)."""

    N: int
    H: int
    W: int
    C: int
    P: int
    Q: int


def split(maps: np.ndarray) -> np.ndarray:
    """Maps as for `cpu_affine.affine`, (N, 6), as the kernels take them: (N, 12), float32."""
    coarse = np.round(maps * _PARTS) / _PARTS
    return np.concatenate([coarse, maps - coarse], axis=1).astype(np.float32)


def affine(x: Any, maps: Any, y: Any, smooth: bool, mode: str, value: float) -> list[Launch]:
    """Write y (N, P, Q, C) from x (N, H, W, C).

    maps: of `split`, on the device. smooth, mode, value: as for `cpu_affine.affine`.
    """
    sizes = _sizes(x, y)
    blocks = -(-y.size // THREADS)
    return [Launch(_affine, (blocks,), (THREADS,), (x, maps, y, sizes, int(smooth), MODES.index(mode), float32(value)))]


def affine_backward(gy: Any, maps: Any, gx: Any, smooth: bool, mode: str) -> list[Launch]:
    """The gradient of `affine`'s x, into gx, from that of its y."""
    sizes = _sizes(gx, gy)
    blocks = -(-sizes.N * sizes.C // THREADS)
    return [Launch(_affine_backward, (blocks,), (THREADS,), (gy, maps, gx, sizes, int(smooth), MODES.index(mode)))]


def _sizes(x: Any, y: Any) -> Sizes:
    if max(*x.shape[1:3], *y.shape[1:3]) > LARGEST:
        raise ValueError(f"images must have at most {LARGEST} pixels a side; received {x.shape} and {y.shape}.")
    return Sizes(*x.shape, *y.shape[1:3])


@device_function
def _place(maps, first, i, j):
    """A coordinate of the input that pixel (i, j) of the output is mapped to: below it a whole number, and the rest."""
    whole = maps[first] * j + maps[uint32(first + 1)] * i + maps[uint32(first + 2)]
    rest = maps[uint32(first + 6)] * j + maps[uint32(first + 7)] * i + maps[uint32(first + 8)]
    lower = float32(math.floor(whole))
    rest = (whole - lower) + rest
    more = float32(math.floor(rest))
    return int32(lower + more), rest - more


@device_function
def _inside(place, size, mode):
    """The place in the image that stands for one that may lie outside; -1 for the fill value."""
    if place < int32(0) or place >= size:
        if mode == _CONSTANT:
            place = int32(-1)
        elif mode == _NEAREST:
            place = int32(min(max(place, int32(0)), int32(size - 1)))
        elif mode == _WRAP:
            place = int32(place % size)
        else:
            place = int32(place % int32(2 * size))
            place = place if place < size else int32(int32(2 * size - 1) - place)
    return place


@device_function
def _neighbours(maps, first, i, j, size, smooth, mode):
    """The two pixels that a coordinate lies between, as `_inside` gives them, and the share of the second.

    Where the nearest is taken the share is 0 or 1; halves go away from 0.
    """
    place, part = _place(maps, first, i, j)
    if not smooth:
        up = part > float32(0.5) or (part == float32(0.5) and place >= int32(0))
        part = float32(1) if up else float32(0)
    return _inside(place, size, mode), _inside(int32(place + 1), size, mode), part


@cuda_jit(FLOATS, FLOATS, FLOATS, Sizes, int32, int32, float32, launch_bounds=THREADS)
def _affine(x, maps, y, g, smooth, mode, value):
    element = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if element < uint32(g.N * g.P * g.Q * g.C):
        pixel = uint32(element // uint32(g.C))
        c = uint32(element - pixel * g.C)
        row = uint32(pixel // uint32(g.Q))
        j = float32(int32(pixel - row * g.Q))
        n = uint32(row // uint32(g.P))
        i = float32(int32(row - n * g.P))
        w0, w1, across = _neighbours(maps, uint32(n * NUMBERS), i, j, g.W, smooth, mode)
        h0, h1, down = _neighbours(maps, uint32(n * NUMBERS + 3), i, j, g.H, smooth, mode)
        total = float32(0)
        for t in range(4):
            h, w = h1 if t // 2 else h0, w1 if t % 2 else w0
            weight = (down if t // 2 else float32(1) - down) * (across if t % 2 else float32(1) - across)
            if weight != float32(0):
                found = value
                if h >= int32(0) and w >= int32(0):
                    found = x[uint32(((n * g.H + h) * g.W + w) * g.C + c)]
                total += weight * found
        y[element] = total


@cuda_jit(FLOATS, FLOATS, FLOATS, Sizes, int32, int32, launch_bounds=THREADS)
def _affine_backward(gy, maps, gx, g, smooth, mode):
    thread = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if thread < uint32(g.N * g.C):
        n = uint32(thread // uint32(g.C))
        c = uint32(thread - n * g.C)
        for pixel in range(int32(g.H * g.W)):
            gx[uint32((n * g.H * g.W + pixel) * g.C + c)] = float32(0)
        for row in range(g.P):
            for column in range(g.Q):
                i, j = float32(int32(row)), float32(int32(column))
                w0, w1, across = _neighbours(maps, uint32(n * NUMBERS), i, j, g.W, smooth, mode)
                h0, h1, down = _neighbours(maps, uint32(n * NUMBERS + 3), i, j, g.H, smooth, mode)
                grad = gy[uint32(((n * g.P + row) * g.Q + column) * g.C + c)]
                for t in range(4):
                    h, w = h1 if t // 2 else h0, w1 if t % 2 else w0
                    weight = (down if t // 2 else float32(1) - down) * (across if t % 2 else float32(1) - across)
                    if weight != float32(0) and h >= int32(0) and w >= int32(0):
                        at = uint32(((n * g.H + h) * g.W + w) * g.C + c)
                        gx[at] = gx[at] + weight * grad
