"""conv2d: y[n,p,q,k] = bias[k] + sum over r,s,c of x[n, p*stride - pad + r*dilation, ..., c] * w[r,s,c,k].

    run(problem, x, w, bias, y, workspace)

x (N,H,W,C), w (R,S,C/groups,K), bias (K,) or None, y (N,P,Q,K) written; all C-contiguous of the problem's dtype.
Filters k of group g = k // (K/groups) see the channels g*(C/groups) and following. A kernel that `fuses` "relu" takes
`relu=True` and writes max(y, 0), NaN kept; one with `prepare` takes `prepared`, what that wrote for the same w.
"""

from fastconv.kernels.problem import Conv2DProblem

PROBLEM = Conv2DProblem
DEFAULT = {
    "cpu": (
        "cpu_winograd",
        "cpu_depthwise",
        "cpu_grouped",
        "cpu_stream",
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
