"""What the kernels in CUDA C++ share on the host: their tile, that of cuda_cpp/geometry.cuh, and what none can run."""

from numba import config

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import too_old
from fastconv.kernels.cuda_mma import NEEDS

ROWS, COLUMNS = 128, 128
THREADS = 256


def unsupported(problem):
    """Why no kernel in CUDA C++ runs a problem, or None."""
    if config.ENABLE_CUDASIM:
        return "Numba's simulator runs no CUDA C++"
    return cuda_geometry.unsupported(problem)


def unsupported_by_tensor_cores(problem):
    """Why none of those on tensor cores does, or None."""
    return unsupported(problem) or too_old(NEEDS)
