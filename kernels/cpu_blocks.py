"""How the three cpu_im2col kernels cut their work: groups one at a time, images in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fastconv.kernels.problem import Conv2DProblem

_MATRIX_BYTES = 1 << 20  # of the im2col matrix at a time: about a level-2 cache


def one_group(problem: Conv2DProblem) -> Conv2DProblem:
    """The convolution that each group is by itself."""
    return replace(problem, C=problem.C // problem.groups, K=problem.K // problem.groups, groups=1)


def blocks(problem: Conv2DProblem) -> Iterator[tuple[slice, Conv2DProblem]]:
    """Images in blocks, with each block's problem; `problem` has one group."""
    row = problem.P * problem.Q * problem.R * problem.S * problem.C * problem.itemsize
    images = max(1, min(problem.N, _MATRIX_BYTES // row))
    for first in range(0, problem.N, images):
        count = min(images, problem.N - first)
        yield slice(first, first + count), replace(problem, N=count)


def matrix_elements(problem: Conv2DProblem) -> int:
    """Elements of one block's im2col matrix (images * P * Q, R * S * C); `problem` has one group."""
    p = next(blocks(problem), (slice(0), problem))[1]
    return p.N * p.P * p.Q * p.R * p.S * p.C


def scratch_bytes(problem: Conv2DProblem) -> int:
    """A block's im2col matrix and, where there are several groups, one group's input, filter and output."""
    p = one_group(problem)
    tensors = p.N * (p.H * p.W * p.C + p.P * p.Q * p.K) + p.R * p.S * p.C * p.K if problem.groups > 1 else 0
    return problem.itemsize * (matrix_elements(p) + tensors)


class Scratch:
    """Hands out arrays from a workspace, one after the other."""

    def __init__(self, workspace: np.ndarray, dtype: str) -> None:
        self._free = workspace[: workspace.size // np.dtype(dtype).itemsize * np.dtype(dtype).itemsize].view(dtype)

    def take(self, *shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        taken, self._free = self._free[:count], self._free[count:]
        return taken.reshape(shape)
