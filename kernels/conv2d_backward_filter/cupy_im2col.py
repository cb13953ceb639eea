"""conv2d's filter gradient as a matrix product that is left to cuBLAS.

Beside cuda_im2col: the same matrix, written by the same kernel, but CuPy's matmul multiplies it, turned over, with gy;
cuBLAS cuts the sum over pixels itself, and for another GPU perhaps otherwise. Where the matrix goes through in parts, a
kernel adds the product of each to those before; the same one adds the rows of gy, for the bias. Limited by bytes where
K is small: the matrix is written and read; else by FLOPs.

One group only: of several, cuBLAS could multiply each where it lies, but CuPy copies a matrix that is not contiguous.
The workspace holds 128 MiB of the matrix, if it is as large; where it is larger, two products, too; and 384 times gb.
"""

from __future__ import annotations

from fastconv.kernels.conv2d.cuda_im2col import parts
from fastconv.kernels.conv2d.cuda_im2col import workspace_bytes as matrix_bytes
from fastconv.kernels.conv2d.cupy_im2col import unsupported
from fastconv.kernels.cuda import flat
from fastconv.kernels.cuda_chunks import row_sums_bytes, sum_rows
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cupy_matmul import MatMul
from fastconv.kernels.im2col.cuda_rows import im2col
from fastconv.kernels.registry import kernel


def products_bytes(p):
    """Bytes of the product of all parts up to one, and of the next; none where there is one part only."""
    return 0 if len(parts(p)) < 2 else 2 * 4 * p.R * p.S * p.C * p.K


def workspace_bytes(p):
    """Bytes of the matrix, of products, and of the bias's sums."""
    return matrix_bytes(p) + products_bytes(p) + row_sums_bytes(p.N * p.P * p.Q, p.K)


@kernel(
    limited_by="bytes of the im2col matrix where K is small, else FLOPs",
    unsupported=unsupported,
    workspace_bytes=workspace_bytes,
)
def cupy_im2col(problem, x, gy, gw, gb, workspace):
    g = Conv2DGeometry.of(problem)
    depth, pixels = g.R * g.S * g.C, g.N * g.P * g.Q
    memory = workspace[: workspace_bytes(problem)].view("float32")
    col, memory = memory[: matrix_bytes(problem) // 4].reshape(-1, depth), memory[matrix_bytes(problem) // 4 :]
    products, memory = memory[: products_bytes(problem) // 4], memory[products_bytes(problem) // 4 :]
    gradients, all_parts = flat(gy).reshape(-1, g.K), parts(problem) or [(0, 0)]  # without images gw is 0
    steps = []
    for first, rows in all_parts:
        out = flat(gw) if len(all_parts) == 1 else products[: depth * g.K] if first == 0 else products[depth * g.K :]
        steps.append(im2col(g, x, col, first, rows))
        steps.append(MatMul(col[:rows].T, gradients[first : first + rows], out.reshape(depth, g.K)))
        if first > 0:
            last = first + rows == pixels
            steps += sum_rows(products, gw if last else products, 2, depth * g.K, None)
    if gb is not None:
        steps += sum_rows(gy, gb, pixels, g.K, memory)
    return steps
