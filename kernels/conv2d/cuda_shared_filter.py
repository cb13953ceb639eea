"""conv2d with a block's filters in shared memory, copied once and used for many pixels.

Beside cuda_coalesced: a block keeps 32 filters for 256 pixels of y, a warp one pixel at a time. Its threads first copy
the whole of these filters to shared memory, where the 32 threads of a warp read 32 banks; after that w is not read any
more. Limited by loads: still two for each multiply-add, x's by way of the level-1 cache and the same for all threads.

Why not constant memory, which is the textbook's place for a small filter? Its cache hands a warp one word at a time:
that suits threads that share a filter and differ in the pixel, whose elements of x lie C apart here (see cuda_naive).
And numba.cuda compiles a constant array into the kernel, so that each step of training would compile another one.
"""

from __future__ import annotations

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.registry import kernel

FILTERS = 32  # of a block: a warp's threads
WARPS = 8
PIXELS = 256  # of a block
THREADS = FILTERS * WARPS
SHARED_BYTES = 48 * 1024  # of a block, on every GPU


def filter_bytes(problem):
    """Bytes of a block's filters."""
    return 4 * problem.R * problem.S * (problem.C // problem.groups) * FILTERS


def filter_blocks(problem):
    """Blocks that a group's filters make."""
    return -(-problem.K // problem.groups // FILTERS)


def unsupported(problem):
    if filter_bytes(problem) > SHARED_BYTES:
        return f"{FILTERS} filters are {filter_bytes(problem)} bytes, which shared memory does not hold"
    if problem.groups * filter_blocks(problem) > 65535:
        return "there are more filters than a grid's second dimension holds"
    return cuda_geometry.unsupported(problem)


@kernel(limited_by="loads: two for each multiply-add, one of them shared", unsupported=unsupported, fuses=("relu",))
def cuda_shared_filter(problem, x, w, bias, y, workspace, relu=False):
    g, blocks = Conv2DGeometry.of(problem), filter_blocks(problem)
    given = y if bias is None else bias  # without a bias the kernel reads nothing there
    return [
        Launch(
            _conv2d,
            grid=(-(-g.N * g.P * g.Q // PIXELS), problem.groups * blocks),
            block=(FILTERS, WARPS),
            args=(x, w, given, y, g, blocks, int(bias is not None), int(relu)),
            shared_bytes=filter_bytes(problem),
        )
    ]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, int32, int32, int32, launch_bounds=THREADS)
def _conv2d(x, w, bias, y, g, filter_blocks, has_bias, relu):
    filters = cuda.shared.array(0, float32)  # (R, S, group_C, FILTERS)
    lane, warp = int32(cuda.threadIdx.x), int32(cuda.threadIdx.y)
    group = int32(uint32(cuda.blockIdx.y) // uint32(filter_blocks))
    k_in_group = int32(uint32(cuda.blockIdx.y) % uint32(filter_blocks) * FILTERS + lane)
    k = int32(group * g.group_K + k_in_group)
    if k_in_group < g.group_K:
        _copy_filter(filters, w, g, k, lane, warp)
    cuda.syncthreads()
    if k_in_group >= g.group_K:
        return
    start = float32(0)
    if has_bias:
        start = bias[k]
    pixel = int32(cuda.blockIdx.x * PIXELS + warp)
    end = int32(min(g.N * g.P * g.Q, (cuda.blockIdx.x + 1) * PIXELS))
    while pixel < end:
        total = _sum(start, x, filters, g, pixel, int32(group * g.group_C), lane)
        if relu and total < float32(0):
            total = float32(0)
        y[uint32(pixel * g.K + k)] = total
        pixel = int32(pixel + WARPS)


@device_function
def _copy_filter(filters, w, g, k, lane, warp):
    """Filter k becomes column `lane` of `filters`, every WARPS-th row by this thread."""
    row = warp
    while row < g.R * g.S * g.group_C:
        filters[uint32(row * FILTERS + lane)] = w[uint32(row * g.K + k)]
        row = int32(row + WARPS)


@device_function
def _sum(start, x, filters, g, pixel, first, lane):
    """`start` and the products of a pixel's window, channels `first` and following, with column `lane` of `filters`."""
    q, p = int32(uint32(pixel) % uint32(g.Q)), int32(uint32(pixel) // uint32(g.Q) % uint32(g.P))
    n = int32(uint32(pixel) // uint32(g.P * g.Q))
    total = start
    for r in range(g.R):
        h = int32(p * g.stride_h - g.pad_top + r * g.dilation_h)
        for s in range(g.S):
            j = int32(q * g.stride_w - g.pad_left + s * g.dilation_w)
            if 0 <= h < g.H and 0 <= j < g.W:
                for c in range(g.group_C):
                    a = x[uint32(((n * g.H + h) * g.W + j) * g.C + first + c)]
                    b = filters[uint32(((r * g.S + s) * g.group_C + c) * FILTERS + lane)]
                    total += a * b
    return total
