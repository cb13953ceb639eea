"""conv2d_max_pool2d_backward_filter: the filters' gradient of a convolution behind which lies max pooling.

    run(problem, x, gy, winners, gw, gb, workspace)

x (N,H,W,C); gy and winners (N, P // pool_h, Q // pool_w, K), the pooled output's gradient and, as conv2d_max_pool2d
writes it, which pixel of a window gets it; gw (R,S,C/groups,K) and gb (K,) written, gb may be None; all C-contiguous of
the problem's dtype.
"""

from fastconv.kernels.problem import ConvPool2DProblem

PROBLEM = ConvPool2DProblem
DEFAULT = {"cpu": ("cpu_few_channels", "cpu_naive", "reference"), "gpu": ()}
