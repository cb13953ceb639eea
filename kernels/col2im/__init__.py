"""col2im: the transpose of im2col; what several windows hold of one pixel is added up.

    run(problem, col, gx, workspace)

col (N,P,Q,R,S,C), gx (N,H,W,C) written; C-contiguous of the problem's dtype. Takes a Conv2DProblem; its K and groups
play no part.
"""

from fastconv.kernels.problem import Conv2DProblem

PROBLEM = Conv2DProblem
DEFAULT = {"cpu": ("cpu_naive", "cpu_rows", "reference"), "gpu": ("cuda_rows",)}
