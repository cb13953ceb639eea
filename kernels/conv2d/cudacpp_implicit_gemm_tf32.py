"""conv2d in CUDA C++ on tensor cores, in TF32: the tiles of cudacpp_implicit_gemm, multiplied by a warp at a time.

Beside cuda_multistage_tf32, the same idea in Numba: four numbers of a fragment of x come in one instruction
(`ldmatrix`), and slices are swizzled in shared memory in place of being padded. Limited by the tensor cores where tiles
are full.
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
    limited_by="tensor cores, where tiles are full",
    unsupported=unsupported_by_tensor_cores,
    fuses=("relu",),
    precision="tf32",
)
def cudacpp_implicit_gemm_tf32(problem, x, w, bias, y, workspace, relu=False):
    return [launch(_conv2d, DEPTH, 2, problem, x, w, bias, y, relu)]
