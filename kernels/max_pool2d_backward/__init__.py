"""max_pool2d_backward: each output's gradient goes to the element that was the maximum.

    run(problem, x, gy, gx, workspace)

x (N,H,W,C), gy (N,P,Q,C), gx (N,H,W,C) written; C-contiguous of the problem's dtype. Of equal maxima the first in row
order receives the gradient; a window with NaN gives it to its first NaN. Where windows overlap the gradients add up,
in the row order of the outputs. A kernel that `fuses` "relu" takes `relu=True` where x is the output of a ReLU, and
applies that one's gradient too: 0 where x <= 0. One that works `in_place` takes x as gx too.
"""

from fastconv.kernels.problem import Pool2DProblem

PROBLEM = Pool2DProblem
DEFAULT = {
    "cpu": ("cpu_direct", "cpu_naive", "reference"),
    "gpu": ("cuda_window_vectorized", "cuda_argmax_vectorized", "cuda_window", "cuda_argmax"),
}
