"""conv2d_max_pool2d: y = max_pool2d(conv2d(x, w, bias)), windows side by side; which pixel of its window each is.

    run(problem, x, w, bias, y, winners, workspace)

x (N,H,W,C), w (R,S,C/groups,K), bias (K,) or None; y and winners (N, P // pool_h, Q // pool_w, K) written, winners may
be None; all C-contiguous of the problem's dtype. A winner is the number r * pool_w + s of the first of the largest
pixels of the window, 0 where one is NaN. A kernel that `fuses` "relu" takes `relu=True`, writes max(y, 0), NaN kept,
and -1 for the winner where that is 0: no pixel gets a gradient.
"""

from fastconv.kernels.problem import ConvPool2DProblem

PROBLEM = ConvPool2DProblem
DEFAULT = {"cpu": ("cpu_few_channels", "cpu_naive", "reference"), "gpu": ()}
