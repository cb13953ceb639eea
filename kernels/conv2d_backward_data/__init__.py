"""conv2d_backward_data: the gradient of conv2d's inputs (also called the transposed convolution).

    run(problem, gy, w, gx, workspace)

gy (N,P,Q,K), w (R,S,C/groups,K), gx (N,H,W,C) written; all C-contiguous of the problem's dtype.
gx[n,h,w,c] is the sum of gy[n,p,q,k] * w[r,s,c,k] over all p,q,r,s,k whose product used x[n,h,w,c]; 0 where none did.
A kernel that `fuses` "relu" takes `relu=x` (N,H,W,C), the output of a ReLU, and applies its gradient too: 0 where
x <= 0.
"""

from fastconv.kernels.problem import Conv2DProblem

PROBLEM = Conv2DProblem
DEFAULT = {
    "cpu": (
        "cpu_winograd",
        "cpu_depthwise",
        "cpu_grouped",
        "cpu_stream",
        "cpu_patches",
        "cpu_direct",
        "cpu_im2col",
        "reference",
    ),
    "gpu": (
        "cuda_depthwise",
        "cuda_grouped",
        "cudacpp_implicit_gemm_tf32",
        "cudacpp_implicit_gemm_bf16",
        "cuda_implicit_gemm",
        "cuda_naive",
    ),
}
