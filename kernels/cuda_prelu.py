"""x where it is positive, else x * alpha, on a GPU; alpha is spread over the axes that share it, see `cuda_strided`.

A thread an element. Limited by bytes: two numbers an element forward; backward four, and what alpha's gradient is the
sum of is read once more by `cuda_units`.
"""

from __future__ import annotations

from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_strided import THREADS, Walk, places, span, walk_of


def leak(x: Any, alpha: Any, y: Any) -> list[Launch]:
    """y from x; y may be x. All are views, alpha such that it can be broadcast to x."""
    walk = walk_of(x, alpha, y)
    return [Launch(_leak, (-(-walk.elements // THREADS),), (THREADS,), (span(x), span(alpha), span(y), walk))]


def leak_backward(gy: Any, x: Any, alpha: Any, gx: Any, products: Any) -> list[Launch]:
    """The gradient for x, and the products whose sums are alpha's.

    gy, gx, products: of one shape and layout; gx may be gy. products: None if they are not wanted.
    """
    walk = walk_of(x, alpha, gx)
    arrays = span(gy), span(x), span(alpha), span(gx), span(gx if products is None else products)
    arguments = (*arrays, int(products is not None), walk)
    return [Launch(_leak_backward, (-(-walk.elements // THREADS),), (THREADS,), arguments)]


@cuda_jit(FLOATS, FLOATS, FLOATS, Walk, launch_bounds=THREADS)
def _leak(x, alpha, y, walk):
    element = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if element < uint32(walk.elements):
        at_x, at_alpha, at_y = places(element, walk)
        v = x[at_x]
        y[at_y] = v if v > float32(0) else v * alpha[at_alpha]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, int32, Walk, launch_bounds=THREADS)
def _leak_backward(gy, x, alpha, gx, products, has_products, walk):
    element = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if element < uint32(walk.elements):
        at_x, at_alpha, at = places(element, walk)
        v, slope = x[at_x], gy[at]
        if has_products:
            products[at] = float32(0) if v > float32(0) else v * slope
        if not v > float32(0):
            slope = slope * alpha[at_alpha] if v < float32(0) else float32(0)
        gx[at] = slope
