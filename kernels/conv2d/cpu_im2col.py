"""Convolution as a matrix product: im2col, then BLAS.

Differs from cpu_naive: the windows are laid out as the rows of a matrix (R*S times the input) whose product with the
filter (R*S*C, K) is left to BLAS. Images go through in blocks whose matrix fits the level-2 cache; each group is a
convolution of its own. Threads: im2col over rows of outputs, BLAS as it likes. Limited by the matrix's bytes where K
is small, else by FLOPs.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.cpu_blocks import Scratch, blocks, matrix_elements, one_group, scratch_bytes
from fastconv.kernels.im2col.cpu_rows import cpu_rows as im2col
from fastconv.kernels.registry import kernel


@kernel(limited_by="bytes of the im2col matrix where K is small, else FLOPs", workspace_bytes=scratch_bytes)
def cpu_im2col(problem, x, w, bias, y, workspace):
    one, scratch = one_group(problem), Scratch(workspace, problem.dtype)
    matrix = scratch.take(matrix_elements(one))
    if problem.groups == 1:
        _multiply(one, x, w, y, matrix)
    else:
        group_x, group_w, group_y = (
            scratch.take(*one.x_shape),
            scratch.take(*one.w_shape),
            scratch.take(*one.y_shape),
        )
        for group in range(problem.groups):
            filters = slice(group * one.K, (group + 1) * one.K)
            group_x[...] = x[..., group * one.C : (group + 1) * one.C]
            group_w[...] = w[..., filters]
            _multiply(one, group_x, group_w, group_y, matrix)
            y[..., filters] = group_y
    if bias is not None:
        y += bias


def _multiply(problem, x, w, y, matrix):
    depth = problem.R * problem.S * problem.C
    for images, p in blocks(problem):
        col = matrix[: p.N * p.P * p.Q * depth]
        im2col(p, x[images], col, None)
        np.matmul(col.reshape(-1, depth), w.reshape(depth, p.K), out=y[images].reshape(-1, p.K))
