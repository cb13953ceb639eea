"""max_pool2d: the largest element of each window, channel by channel. NaN in a window makes the result NaN.

    run(problem, x, y, workspace)

x (N,H,W,C), y (N,P,Q,C) written; C-contiguous of the problem's dtype. Padding takes no part.
"""

from fastconv.kernels.problem import Pool2DProblem

PROBLEM = Pool2DProblem
DEFAULT = {"cpu": ("cpu_direct", "cpu_naive", "reference"), "gpu": ("cuda_vectorized", "cuda_column")}
