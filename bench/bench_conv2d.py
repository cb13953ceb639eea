"""Times every variant of conv2d on the seeds' layers, each checked against the reference first."""

from pathlib import Path

import numpy as np
import pytest

from fastconv import kernels, testing
from fastconv.ops import dispatch

PROBLEMS = testing.load_shapes(Path(__file__).parent / "shapes" / "seeds.txt", kernels.Conv2DProblem)


def variants():
    """What can be a default: the reference is there to be right, not to be timed."""
    return [kernel for kernel in kernels.variants("conv2d", device="cpu") if kernel.name != "reference"]


@pytest.mark.benchmark(max_time=0.3, min_rounds=5)
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize("kernel", variants(), ids=lambda kernel: kernel.name)
def test_conv2d(benchmark, kernel, problem):
    reason = kernel.unsupported(problem)
    if reason is not None:
        pytest.skip(reason)
    testing.check_kernel(kernel, problem)  # compiles the kernel, too

    rng = np.random.default_rng(0)
    x = rng.standard_normal(problem.x_shape, np.float32)
    w = rng.standard_normal(problem.w_shape, np.float32)
    bias = rng.standard_normal(problem.K, np.float32)
    y = np.empty(problem.y_shape, np.float32)
    workspace = dispatch.workspace(kernel.workspace_bytes(problem))
    benchmark.group = str(problem)
    benchmark(kernel, problem, x, w, bias, y, workspace=workspace)
    if benchmark.stats is not None:  # None where timing is switched off
        benchmark.extra_info["gflop_per_s"] = problem.flops / benchmark.stats["median"] / 1e9
        benchmark.extra_info["gbyte_per_s"] = problem.bytes / benchmark.stats["median"] / 1e9
