"""conv2d in CUDA C++ on tensor cores, in BF16: x and w are float32 in memory and rounded on their way to shared memory.

Beside cudacpp_implicit_gemm_tf32 an instruction makes twice as many products, of half the bytes in shared memory, where
`ldmatrix` brings the fragments of both operands. The numbers pass through registers, since they are rounded on the way;
so one slice is under way, not two. BF16 has float32's range and 8 bits of mantissa: a product may be off by 2**-8 of
itself, and nothing overflows or vanishes that would not in float32. Limited by bytes, of which x and w have as many as
in float32, or by the tensor cores.
"""

from __future__ import annotations

from fastconv.kernels.conv2d.cudacpp_implicit_gemm import launch
from fastconv.kernels.cuda_mma import NEEDS
from fastconv.kernels.cuda_nvrtc import CppKernel
from fastconv.kernels.cuda_tiles import unsupported_by_tensor_cores
from fastconv.kernels.registry import kernel

_conv2d = CppKernel(__file__, "conv2d", NEEDS)
DEPTH = 16  # of a slice


@kernel(
    limited_by="bytes, or tensor cores", unsupported=unsupported_by_tensor_cores, fuses=("relu",), precision="bfloat16"
)
def cudacpp_implicit_gemm_bf16(problem, x, w, bias, y, workspace, relu=False):
    return [launch(_conv2d, DEPTH, 2, problem, x, w, bias, y, relu)]
