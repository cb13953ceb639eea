"""A launch without a GPU: in the simulator, or if its kernel is CUDA C++ in the shim."""

from __future__ import annotations

from fastconv.kernels.cuda import Launch
from fastconv.kernels.cuda_nvrtc import CppKernel
from fastconv.testing.shim import run_on_cpu
from fastconv.testing.simulator import Report, simulate


def simulate_launch(launch: Launch) -> Report | None:
    """Run a launch on NumPy arrays; what the simulator counted, None of CUDA C++.

    Raises:
        SimulationError: a race, a wrong index and the like.
    """
    if isinstance(launch.kernel, CppKernel):
        run_on_cpu(launch)
        return None
    report = simulate(
        launch.kernel, launch.grid, launch.block, *launch.args, shared_bytes=launch.shared_bytes, trace_block=None
    )
    report.raise_if_wrong()
    return report
