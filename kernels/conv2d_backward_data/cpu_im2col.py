"""backward_data as a matrix product: BLAS, then col2im.

The forward's matrix product transposed: gy (pixels, K) times the filter's transpose gives the gradient of the im2col
matrix, which col2im adds up. Blocks, groups and threads as in conv2d's cpu_im2col. Limited by the matrix's bytes
where K is small, else by FLOPs.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.col2im.cpu_rows import cpu_rows as col2im
from fastconv.kernels.cpu_blocks import Scratch, blocks, matrix_elements, one_group, scratch_bytes
from fastconv.kernels.registry import kernel


@kernel(limited_by="bytes of the im2col matrix where K is small, else FLOPs", workspace_bytes=scratch_bytes)
def cpu_im2col(problem, gy, w, gx, workspace):
    one, scratch = one_group(problem), Scratch(workspace, problem.dtype)
    matrix = scratch.take(matrix_elements(one))
    if problem.groups == 1:
        _multiply(one, gy, w, gx, matrix)
        return
    group_gx, group_w, group_gy = (
        scratch.take(*one.x_shape),
        scratch.take(*one.w_shape),
        scratch.take(*one.y_shape),
    )
    for group in range(problem.groups):
        filters = slice(group * one.K, (group + 1) * one.K)
        group_gy[...] = gy[..., filters]
        group_w[...] = w[..., filters]
        _multiply(one, group_gy, group_w, group_gx, matrix)
        gx[..., group * one.C : (group + 1) * one.C] = group_gx


def _multiply(problem, gy, w, gx, matrix):
    depth = problem.R * problem.S * problem.C
    for images, p in blocks(problem):
        col = matrix[: p.N * p.P * p.Q * depth].reshape(-1, depth)
        np.matmul(gy[images].reshape(-1, p.K), w.reshape(depth, p.K).T, out=col)
        col2im(p, col, gx[images], None)
