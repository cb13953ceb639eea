"""conv2d_backward_filter in CUDA C++ on tensor cores, in TF32: the tiles of cudacpp_implicit_gemm, multiplied by warps.

Beside conv2d's cudacpp_implicit_gemm_tf32 both operands lie in shared memory step by step, so that fragments of neither
come by `ldmatrix`, which turns only 16-bit numbers round: a thread loads them one by one. gb is summed in float32.
Limited by the tensor cores where tiles are full.
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
    limited_by="tensor cores, where tiles are full",
    unsupported=unsupported_by_tensor_cores,
    workspace_bytes=workspace_bytes,
    precision="tf32",
)
def cudacpp_implicit_gemm_tf32(problem, x, gy, gw, gb, workspace):
    return launches(_backward_filter, DEPTH, 2, problem, x, gy, gw, gb, workspace)
