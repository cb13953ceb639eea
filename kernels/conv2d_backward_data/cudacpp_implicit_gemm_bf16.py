"""conv2d_backward_data in CUDA C++ on tensor cores, in BF16: gy and w are float32 in memory and rounded on their way.

As conv2d's cudacpp_implicit_gemm_bf16; fragments of both operands come by `ldmatrix` as they lie. Limited by bytes, or
by the tensor cores.
"""

from __future__ import annotations

from fastconv.kernels.conv2d_backward_data.cudacpp_implicit_gemm import launch
from fastconv.kernels.cuda_mma import NEEDS
from fastconv.kernels.cuda_nvrtc import CppKernel
from fastconv.kernels.cuda_tiles import unsupported_by_tensor_cores
from fastconv.kernels.registry import kernel

_backward_data = CppKernel(__file__, "backward_data", NEEDS)


@kernel(
    limited_by="bytes, or tensor cores", unsupported=unsupported_by_tensor_cores, fuses=("relu",), precision="bfloat16"
)
def cudacpp_implicit_gemm_bf16(problem, gy, w, gx, workspace, relu=None):
    return [launch(_backward_data, 2, problem, gy, w, gx, relu)]
