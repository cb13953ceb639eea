"""conv2d_backward_filter with a few channels a group, with 4 x 4 elements of gw for each thread.

Beside cuda_split, where each product takes two loads: a thread has one tap, four channels and four filters of a group,
and for each pixel reads four floats of x and four of gy, for 16 multiply-adds. A tile of cuda_implicit_gemm would be
all but empty. The pixels are cut into chunks and added in order, as in cuda_split. Threads are numbered along K, so a
warp's have neighbouring groups and read neighbours in x and gy. Limited by loads from the level-1 cache; with four
channels a group by bytes.
"""

from __future__ import annotations

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_chunks import Chunks, Sums, place_sums, row_sums_bytes, sum_rows, sums_bytes
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_vectors import aligned, load_four
from fastconv.kernels.registry import kernel

THREADS = 128
ENOUGH = 1024  # blocks: what 128 multiprocessors hold at once
PIXELS = 64  # of a chunk, at least
FEW = 32  # channels of a group: with more a tile of cuda_implicit_gemm is a quarter full


def unsupported(problem):
    group_C, group_K = problem.C // problem.groups, problem.K // problem.groups
    if problem.groups == 1 or group_C % 4 or group_K % 4:
        return "it is for groups of four channels and four filters or multiples of them"
    return cuda_geometry.unsupported(problem)


def blocks_of(p):
    """Blocks that a chunk takes."""
    return -(-p.R * p.S * p.C // p.groups // 4 * (p.K // 4) // THREADS)


def chunks_of(p):
    """The rows of gy in chunks."""
    return Chunks.of(p.N * p.P, blocks_of(p), -(-PIXELS // p.Q), blocks=ENOUGH)


def workspace_bytes(p):
    return sums_bytes(p, chunks_of(p)) + row_sums_bytes(p.N * p.P * p.Q, p.K)


@kernel(
    limited_by="loads; with few channels a group bytes",
    unsupported=unsupported,
    workspace_bytes=workspace_bytes,
    pays=lambda problem: problem.C // problem.groups < FEW,
)
def cuda_grouped(problem, x, gy, gw, gb, workspace):
    g, chunks = Conv2DGeometry.of(problem), chunks_of(problem)
    memory = workspace[: workspace_bytes(problem)].view("float32")
    to_gw, _, add = place_sums(problem, chunks, gw, None, memory)
    args = (x, gy, to_gw, g, Sums.of(problem, chunks, False), int(aligned(x)), int(aligned(gy)))
    launches = [Launch(_backward_filter, (blocks_of(problem), chunks.number), (THREADS,), args), *add]
    if gb is not None:
        rest = memory[sums_bytes(problem, chunks) // 4 :]
        launches += sum_rows(gy, gb, g.N * g.P * g.Q, g.K, rest)
    return launches


@cuda_jit(FLOATS, FLOATS, FLOATS, Conv2DGeometry, Sums, int32, int32, launch_bounds=(THREADS, 8))
def _backward_filter(x, gy, gw, g, to, wide_x, wide_gy):
    thread = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    quads = uint32(g.K // 4)
    place, fours = thread // quads, uint32(g.group_C // 4)
    tap = place // fours
    if tap >= uint32(g.R * g.S):
        return
    k, c = int32(thread % quads * 4), int32(place % fours * 4)
    r, s = int32(tap // uint32(g.S)), int32(tap % uint32(g.S))
    channel = int32(uint32(k) // uint32(g.group_K) * g.group_C + c)
    left = int32(s * g.dilation_w - g.pad_left)  # the column that the tap meets at q = 0; it moves on by the stride
    q_first = int32(uint32(max(g.stride_w - 1 - left, 0)) // uint32(g.stride_w))
    q_end = int32(uint32(max(g.W - 1 - left + g.stride_w, 0)) // uint32(g.stride_w))
    q_end = int32(min(g.Q, q_end))
    sums, a, b = cuda.local.array(16, float32), cuda.local.array(4, float32), cuda.local.array(4, float32)
    for i in range(16):
        sums[i] = float32(0)
    row = int32(cuda.blockIdx.y * to.terms)
    end = int32(min(row + to.terms, g.N * g.P))
    while row < end:
        n = int32(row // uint32(g.P))
        h = int32((row - n * g.P) * g.stride_h - g.pad_top + r * g.dilation_h)
        if 0 <= h < g.H:
            at_x = uint32(((n * g.H + h) * g.W + q_first * g.stride_w + left) * g.C + channel)
            at_gy = uint32((row * g.Q + q_first) * g.K + k)
            q = q_first
            while q < q_end:
                a[0], a[1], a[2], a[3] = load_four(x, at_x, wide_x)
                b[0], b[1], b[2], b[3] = load_four(gy, at_gy, wide_gy)
                for e in range(4):
                    for f in range(4):
                        sums[e * 4 + f] += a[e] * b[f]
                at_x, at_gy = uint32(at_x + g.stride_w * g.C), uint32(at_gy + g.K)
                q = int32(q + 1)
        row = int32(row + 1)
    for e in range(4):
        at = uint32(cuda.blockIdx.y * to.pitch + (tap * g.group_C + c + e) * g.K + k)
        for f in range(4):
            gw[uint32(at + f)] = sums[e * 4 + f]
