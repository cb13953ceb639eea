"""Images of another size on a GPU: along one axis each output is a weighted sum of a few inputs, a thread an output.

Limited by bytes along the rows of images, whose elements side by side go to threads side by side; what several outputs
share comes from the cache.
"""

from __future__ import annotations

import math
from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32

THREADS = 256


def along(x: Any, axis: int, places: Any, weights: Any, y: Any) -> list[Launch]:
    """y's element i along the axis = sum over t of weights[i, t] * x's element places[i, t] there.

    places, weights: (outputs, taps), both float32.
    """
    outputs, taps = places.shape
    inner = math.prod(x.shape[axis + 1 :])
    arguments = (x, places, weights, y, y.size, x.shape[axis], outputs, inner, taps)
    return [Launch(_along, (-(-y.size // THREADS),), (THREADS,), arguments)]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, *[int32] * 5, launch_bounds=THREADS)
def _along(x, places, weights, y, count, size, outputs, inner, taps):
    element = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if element < uint32(count):
        line = uint32(element // uint32(inner))
        k = uint32(element - line * inner)
        outer = uint32(line // uint32(outputs))
        row = uint32((line - outer * outputs) * taps)
        total = float32(0)
        for t in range(taps):
            at = uint32(row + t)
            total += weights[at] * x[uint32((outer * size + uint32(places[at])) * inner + k)]
        y[element] = total
