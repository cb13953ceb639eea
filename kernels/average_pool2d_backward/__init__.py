"""average_pool2d_backward: each output's gradient is shared equally by the elements of its window.

    run(problem, gy, gx, workspace)

gy (N,P,Q,C), gx (N,H,W,C) written; C-contiguous of the problem's dtype. Padding is not counted and receives nothing.
"""

from fastconv.kernels.problem import Pool2DProblem

PROBLEM = Pool2DProblem
DEFAULT = {"cpu": ("cpu_direct", "cpu_naive", "reference"), "gpu": ("cuda_vectorized", "cuda_column")}
