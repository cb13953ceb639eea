"""conv2d_backward_filter in CUDA C++ on tensor cores, in BF16: x and gy are float32 in memory and rounded on their way.

As conv2d's cudacpp_implicit_gemm_bf16; fragments of both operands come by `ldmatrix`, turned round. gb is summed in
float32. Limited by bytes, or by the tensor cores.
"""

from __future__ import annotations

from fastconv.kernels.conv2d_backward_filter.cudacpp_implicit_gemm import launches, workspace_bytes
from fastconv.kernels.cuda_mma import NEEDS
from fastconv.kernels.cuda_nvrtc import CppKernel
from fastconv.kernels.cuda_tiles import unsupported_by_tensor_cores
from fastconv.kernels.registry import kernel

_backward_filter = CppKernel(__file__, "backward_filter", NEEDS)
DEPTH = 16  # of a slice


@kernel(
    limited_by="bytes, or tensor cores",
    unsupported=unsupported_by_tensor_cores,
    workspace_bytes=workspace_bytes,
    precision="bfloat16",
)
def cudacpp_implicit_gemm_bf16(problem, x, gy, gw, gb, workspace):
    return launches(_backward_filter, DEPTH, 2, problem, x, gy, gw, gb, workspace)
