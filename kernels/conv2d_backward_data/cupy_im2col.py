"""conv2d_backward_data as a matrix product that is left to cuBLAS; col2im adds up its result.

Beside cuda_im2col: the same matrix, added up by the same kernel, but CuPy's matmul makes it. cuBLAS takes the transpose
of the filter as it lies. Limited by bytes where K is small: the matrix is written and read; else by FLOPs.

One group only: of several, cuBLAS could multiply each where it lies, but CuPy copies a matrix that is not contiguous.
"""

from __future__ import annotations

from fastconv.kernels.col2im.cuda_rows import col2im
from fastconv.kernels.conv2d_backward_data import cuda_im2col
from fastconv.kernels.conv2d_backward_data.cuda_im2col import parts, workspace_bytes
from fastconv.kernels.cuda import flat
from fastconv.kernels.cupy_matmul import MatMul
from fastconv.kernels.registry import kernel


def unsupported(problem):
    if problem.groups > 1:
        return "CuPy would copy the matrices of several groups"
    return cuda_im2col.unsupported(problem)


@kernel(
    limited_by="bytes of the im2col matrix where K is small, else FLOPs",
    unsupported=unsupported,
    workspace_bytes=workspace_bytes,
)
def cupy_im2col(problem, gy, w, gx, workspace):
    depth, pixels = problem.R * problem.S * problem.C, problem.P * problem.Q
    col = workspace[: workspace_bytes(problem)].view("float32").reshape(-1, depth)
    of_gy, of_w = flat(gy).reshape(-1, problem.K), flat(w).reshape(depth, problem.K)
    steps = []
    for first, images in parts(problem):
        rows = of_gy[first * pixels : (first + images) * pixels]
        steps += [MatMul(rows, of_w.T, col[: images * pixels]), col2im(problem, col, gx, first, images)]
    return steps
