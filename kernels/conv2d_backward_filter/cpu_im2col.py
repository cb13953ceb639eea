"""backward_filter as a matrix product: im2col, then BLAS with the pixels as the reduction.

gw (R*S*C, K) is the transposed im2col matrix times gy (pixels, K); blocks of images are added up in order. Blocks,
groups and threads as in conv2d's cpu_im2col. Limited by the matrix's bytes where K is small, else by FLOPs.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.cpu_blocks import Scratch, blocks, matrix_elements, one_group, scratch_bytes
from fastconv.kernels.im2col.cpu_rows import cpu_rows as im2col
from fastconv.kernels.registry import kernel


def _workspace_bytes(problem):
    return scratch_bytes(problem) + problem.itemsize * one_group(problem).K * problem.R * problem.S * (
        problem.C // problem.groups
    )


@kernel(limited_by="bytes of the im2col matrix where K is small, else FLOPs", workspace_bytes=_workspace_bytes)
def cpu_im2col(problem, x, gy, gw, gb, workspace):
    one, scratch = one_group(problem), Scratch(workspace, problem.dtype)
    matrix, block_gw = scratch.take(matrix_elements(one)), scratch.take(*one.w_shape)
    if problem.groups == 1:
        _multiply(one, x, gy, gw, matrix, block_gw)
    else:
        group_x, group_gw, group_gy = (
            scratch.take(*one.x_shape),
            scratch.take(*one.w_shape),
            scratch.take(*one.y_shape),
        )
        for group in range(problem.groups):
            filters = slice(group * one.K, (group + 1) * one.K)
            group_x[...] = x[..., group * one.C : (group + 1) * one.C]
            group_gy[...] = gy[..., filters]
            _multiply(one, group_x, group_gy, group_gw, matrix, block_gw)
            gw[..., filters] = group_gw
    if gb is not None:
        np.sum(gy.reshape(-1, problem.K), axis=0, out=gb)


def _multiply(problem, x, gy, gw, matrix, block_gw):
    depth = problem.R * problem.S * problem.C
    gw[...] = 0
    for images, p in blocks(problem):
        col = matrix[: p.N * p.P * p.Q * depth]
        im2col(p, x[images], col, None)
        np.matmul(col.reshape(-1, depth).T, gy[images].reshape(-1, p.K), out=block_gw.reshape(depth, p.K))
        gw += block_gw
