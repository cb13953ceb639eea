"""conv2d as a matrix product that is left to cuBLAS.

Beside cuda_im2col: the same matrix, written by the same kernel, but CuPy's matmul multiplies it. A third kernel adds
the bias and applies the ReLU, which cuBLAS does not do on the way; there a thread has one element of y, neighbours
side by side. Limited by bytes where K is small: the matrix is written and read, y written, and for a bias or a ReLU
read and written again; else by FLOPs.

One group only: of several, cuBLAS could multiply each where it lies, but CuPy copies a matrix that is not contiguous.
"""

from __future__ import annotations

from fastconv.kernels.conv2d import cuda_im2col
from fastconv.kernels.conv2d.cuda_im2col import parts, workspace_bytes
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, flat, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cupy_matmul import MatMul
from fastconv.kernels.im2col.cuda_rows import im2col
from fastconv.kernels.registry import kernel

THREADS = 256


def unsupported(problem):
    if problem.groups > 1:
        return "CuPy would copy the matrices of several groups"
    return cuda_im2col.unsupported(problem)


@kernel(
    limited_by="bytes of the im2col matrix where K is small, else FLOPs",
    unsupported=unsupported,
    workspace_bytes=workspace_bytes,
    fuses=("relu",),
)
def cupy_im2col(problem, x, w, bias, y, workspace, relu=False):
    g = Conv2DGeometry.of(problem)
    depth = g.R * g.S * g.C
    col = workspace[: workspace_bytes(problem)].view("float32").reshape(-1, depth)
    of_w, of_y = flat(w).reshape(depth, g.K), flat(y).reshape(-1, g.K)
    steps = []
    for first, rows in parts(problem):
        steps += [im2col(g, x, col, first, rows), MatMul(col[:rows], of_w, of_y[first : first + rows])]
    if bias is not None or relu:
        given = y if bias is None else bias  # without a bias the kernel reads nothing there
        args = (given, y, g.N * g.P * g.Q * g.K, g.K, int(bias is not None), int(relu))
        steps.append(Launch(_finish, (-(-args[2] // THREADS),), (THREADS,), args))
    return steps


@cuda_jit(FLOATS, FLOATS, int32, int32, int32, int32, launch_bounds=THREADS)
def _finish(bias, y, size, filters, has_bias, relu):
    i = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if i < uint32(size):
        total = y[i]
        if has_bias:
            total += bias[i % uint32(filters)]
        if relu and total < float32(0):
            total = float32(0)
        y[i] = total
