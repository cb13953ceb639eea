"""The gradient of global max pooling on a GPU: a thread an image's channel, which equal maxima share.

Limited by latency where images are few and large: as many threads as there are outputs go over all pixels twice.
"""

from __future__ import annotations

from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32

THREADS = 256


def global_max_backward(x: Any, y: Any, gy: Any, gx: Any) -> list[Launch]:
    """gx (N, H, W, C) for images x whose largest elements are y; y, gy: N times C elements."""
    pixels, channels = x.shape[1] * x.shape[2], x.shape[3]
    arguments = (x, y, gy, gx, y.size, pixels, channels)
    return [Launch(_global_max_backward, (-(-y.size // THREADS),), (THREADS,), arguments)]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, int32, int32, int32, launch_bounds=THREADS)
def _global_max_backward(x, y, gy, gx, outputs, pixels, channels):
    output = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if output < uint32(outputs):
        image = uint32(output // uint32(channels))
        first = uint32(image * pixels * channels + (output - image * channels))
        largest, winners = y[output], float32(0)
        pixel = uint32(0)
        while pixel < uint32(pixels):
            if x[uint32(first + pixel * channels)] == largest:
                winners += float32(1)
            pixel = uint32(pixel + 1)
        share = gy[output] / winners
        pixel = uint32(0)
        while pixel < uint32(pixels):
            place = uint32(first + pixel * channels)
            gx[place] = share if x[place] == largest else float32(0)
            pixel = uint32(pixel + 1)
