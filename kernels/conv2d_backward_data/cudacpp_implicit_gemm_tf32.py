"""conv2d_backward_data in CUDA C++ on tensor cores, in TF32: the tiles of cudacpp_implicit_gemm, multiplied by warps.

Beside conv2d's cudacpp_implicit_gemm_tf32 both operands lie in shared memory as lines, so that fragments of both come
by `ldmatrix`. Limited by the tensor cores where tiles are full.
"""

from __future__ import annotations

from fastconv.kernels.conv2d_backward_data.cudacpp_implicit_gemm import launch
from fastconv.kernels.cuda_mma import NEEDS
from fastconv.kernels.cuda_nvrtc import CppKernel
from fastconv.kernels.cuda_tiles import unsupported_by_tensor_cores
from fastconv.kernels.registry import kernel

_backward_data = CppKernel(__file__, "backward_data", NEEDS)


@kernel(
    limited_by="tensor cores, where tiles are full",
    unsupported=unsupported_by_tensor_cores,
    fuses=("relu",),
    precision="tf32",
)
def cudacpp_implicit_gemm_tf32(problem, gy, w, gx, workspace, relu=None):
    return [launch(_backward_data, 2, problem, gy, w, gx, relu)]
