"""im2col: every window of the input laid out as one row, so that a convolution becomes a matrix product.

    run(problem, x, col, workspace)

x (N,H,W,C), col (N,P,Q,R,S,C) written, padding as 0; C-contiguous of the problem's dtype. Takes a Conv2DProblem; its
K and groups play no part.
"""

from fastconv.kernels.problem import Conv2DProblem

PROBLEM = Conv2DProblem
DEFAULT = {"cpu": ("cpu_naive", "cpu_rows", "reference"), "gpu": ("cuda_rows",)}
