"""average_pool2d: the mean of each window's elements, channel by channel; padding is not counted.

    run(problem, x, y, workspace)

x (N,H,W,C), y (N,P,Q,C) written; C-contiguous of the problem's dtype.
"""

from fastconv.kernels.problem import Pool2DProblem

PROBLEM = Pool2DProblem
DEFAULT = {"cpu": ("cpu_direct", "cpu_naive", "reference"), "gpu": ("cuda_vectorized", "cuda_column")}
