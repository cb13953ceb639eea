"""conv2d_backward_filter: the gradients of conv2d's filter and bias.

    run(problem, x, gy, gw, gb, workspace)

x (N,H,W,C), gy (N,P,Q,K), gw (R,S,C/groups,K) written, gb (K,) written or None; all C-contiguous of the problem's
dtype. gb[k] is the sum of gy[..., k]. The sum over pixels is split by the problem alone, never by the number of
threads.
"""

from fastconv.kernels.problem import Conv2DProblem

PROBLEM = Conv2DProblem
DEFAULT = {
    "cpu": (
        "cpu_winograd",
        "cpu_depthwise",
        "cpu_grouped",
        "cpu_few_channels",
        "cpu_direct",
        "cpu_im2col",
        "reference",
    ),
    "gpu": (
        "cuda_depthwise",
        "cuda_grouped",
        "cuda_few_channels",
        "cudacpp_implicit_gemm_tf32",
        "cudacpp_implicit_gemm_bf16",
        "cuda_implicit_gemm",
        "cuda_naive",
    ),
}
