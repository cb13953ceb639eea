"""A launch without a GPU: in the simulator, or if its kernel is CUDA C++ in the shim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv.testing.shim import run_on_cpu
from fastconv.testing.simulator import Report, simulate

if TYPE_CHECKING:
    from fastconv.kernels.cuda import Launch


def simulate_launch(launch: Launch) -> Report | None:
    """Run a launch on NumPy arrays; what the simulator counted, None of CUDA C++.

    Raises:
        SimulationError: a race, a wrong index and the like.
    """
    from fastconv.kernels.cuda_nvrtc import CppKernel  # imports Numba: not before it is needed

    if isinstance(launch.kernel, CppKernel):
        run_on_cpu(launch)
        return None
    report = simulate(
        launch.kernel, launch.grid, launch.block, *launch.args, shared_bytes=launch.shared_bytes, trace_block=None
    )
    report.raise_if_wrong()
    return report
