"""The pooling kernels move what they must: full sectors, and each gradient and input as few times as they can."""

import numpy as np
import pytest

from fastconv.kernels import Pool2DProblem, registry
from fastconv.testing import simulate
from fastconv.testing.kernel_cases import cases

PROBLEM = Pool2DProblem.parse("N=1 H=8 W=8 C=32 R=2 S=2 stride=2")  # 2048 elements of x, 512 of y: 256 and 64 sectors


def totals(op, name):
    """The counts of all launches of a kernel, added up."""
    kernel = registry.get(op, name)
    case = next(iter(cases(op, PROBLEM, 0)))
    inputs = [array.copy() for array in case.inputs.values()]
    outputs = [np.empty_like(array, np.float32) for array in case.expected.values()]
    workspace = np.empty(kernel.workspace_bytes(PROBLEM), np.uint8)
    reports = [
        simulate(launch.kernel, launch.grid, launch.block, *launch.args)
        for launch in kernel.run(PROBLEM, *inputs, *outputs, workspace)
    ]
    loads, stores = (sum(getattr(report.totals, kind).moved for report in reports) for kind in ("loads", "stores"))
    ideal = sum(report.totals.loads.ideal + report.totals.stores.ideal for report in reports)
    return loads, stores, ideal


@pytest.mark.parametrize(
    ("op", "name", "loads", "stores"),
    [
        ("max_pool2d", "cuda_column", 256, 64),
        ("average_pool2d", "cuda_column", 256, 64),
        ("max_pool2d_backward", "cuda_window", 256 + 64, 256),
        ("max_pool2d_backward", "cuda_argmax", 256 + 2 * (64 + 16), 256 + 16),  # two columns share a window
        ("average_pool2d_backward", "cuda_column", 2 * 64, 256),
    ],
)
def test_sectors(op, name, loads, stores):
    assert totals(op, name) == (loads, stores, loads + stores)
