"""Winograd on a GPU: its transforms, its error, what its launches cost, and where the tiles and the parts end."""

import numpy as np
import pytest
from cuda_cases import NEEDS_TOOLKIT

from fastconv import kernels
from fastconv.inspecting.architectures import find
from fastconv.inspecting.report import inspect_kernel
from fastconv.kernels import cpu_winograd_transforms as cpu
from fastconv.kernels import cuda, cuda_winograd, cuda_winograd_transforms
from fastconv.testing import check_kernel, simulate
from fastconv.testing.kernel_cases import empty_arrays, float_case

FORWARD = [("conv2d", "cuda_winograd_2x2"), ("conv2d", "cuda_winograd")]
KERNELS = [*FORWARD, ("conv2d_backward_data", "cuda_winograd_2x2"), ("conv2d_backward_data", "cuda_winograd")]
MANY = kernels.Conv2DProblem.parse("N=2 H=33 W=31 C=3 K=5 R=3 S=3 padding=same")  # over 128 tiles, of either size
ROUND = kernels.Conv2DProblem.parse("N=1 H=8 W=16 C=64 K=64 R=3 S=3 padding=same")


def simulated(launch):
    return simulate(launch.kernel, launch.grid, launch.block, *launch.args, trace_block=None)


def run(kernel, problem, arrays, **options):
    """The reports of a kernel's launches, simulated one after the other."""
    workspace = np.full(kernel.workspace_bytes(problem), 0xFF, np.uint8)
    return [simulated(launch) for launch in kernel.run(problem, *arrays, workspace, **options)]


def matrix(transform, columns):
    """The matrix of a transform, from what it makes of each unit vector."""
    function = getattr(transform, "py_func", transform)
    units = np.zeros((columns, 6), np.float32)
    for i, unit in enumerate(units):
        unit[i] = 1
        function(unit, 0, 1)
    return units.T.astype(np.float64)


@pytest.mark.parametrize("step", [2, 4])
def test_the_transforms_make_a_convolution(step):
    t, size = cuda_winograd_transforms, step + 2
    B, G = matrix(t.INPUT[step], size)[:size], matrix(t.FILTER[step], 3)[:size]
    A = matrix(t.OUTPUT[step], size)[:step]
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((size, size)), rng.standard_normal((3, 3))
    y = A @ ((B @ x @ B.T) * (G @ w @ G.T)) @ A.T
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3))
    np.testing.assert_allclose(y, (windows * w).sum(axis=(2, 3)), atol=1e-6)
    if step == 4:
        for mine, other in ((B, cpu.INPUT), (G, cpu.FILTER), (A, cpu.OUTPUT)):
            np.testing.assert_allclose(mine, other, rtol=1e-7)


@pytest.mark.parametrize("op, name", KERNELS)
def test_several_parts(op, name, monkeypatch):
    kernel, arrays = kernels.get(op, name), empty_arrays(op, MANY)
    launches = len(kernel.run(MANY, *arrays, np.empty(kernel.workspace_bytes(MANY), np.uint8)))
    monkeypatch.setattr(cuda_winograd, "PART_BYTES", 1)
    parts = -(-cuda_winograd.Convolution.forward(2 if "2x2" in name else 4, MANY).tiles // 128)
    assert len(kernel.run(MANY, *arrays, np.empty(kernel.workspace_bytes(MANY), np.uint8))) == 1 + 3 * parts > launches
    with cuda.launched_by(lambda launch: simulated(launch).raise_if_wrong()):
        check_kernel(kernel, MANY, only=("floats",))


@pytest.mark.parametrize("op, name", KERNELS)
def test_full_sectors_and_no_bank_conflicts(op, name):
    kernel = kernels.get(op, name)
    reports = run(kernel, ROUND, [np.ones_like(array) for array in empty_arrays(op, ROUND)])
    assert [report.kernel for report in reports] == ["_filters", "_collect", "_multiply", "_spread"]
    for report in reports:
        report.raise_if_wrong()
        totals = report.totals
        assert totals.bank_conflicts == 0
        assert (totals.loads.moved, totals.stores.moved) == (totals.loads.ideal, totals.stores.ideal)


# The error in the Frobenius norm, beside that of float32 sums in the order of the formula: 2x2 and 4x4.
ERRORS = {"cuda_winograd_2x2": 4e-7, "cuda_winograd": 2e-6}


@pytest.mark.parametrize("op, name", KERNELS)
def test_the_error(op, name):
    problem = kernels.Conv2DProblem.parse("N=1 H=14 W=14 C=64 K=64 R=3 S=3 padding=same")
    case = float_case(op, problem)
    (output,) = (np.empty(expected.shape, np.float32) for expected in case.expected.values())
    arrays = [*case.inputs.values(), output]
    for report in run(kernels.get(op, name), problem, arrays):
        report.raise_if_wrong()
    (expected,) = case.expected.values()
    error = np.linalg.norm(output - expected) / np.linalg.norm(expected)
    print(op, name, error)
    assert ERRORS[name] / 4 < error < ERRORS[name]


@pytest.mark.parametrize("op, name", FORWARD)
def test_filters_are_transformed_once(op, name):
    kernel, problem = kernels.get(op, name), kernels.Conv2DProblem.parse("N=1 H=4 W=5 C=3 K=5 R=3 S=3")
    x, w, bias, y = float_case(op, problem).inputs.values(), None, None, None
    x, w, bias = x
    y, again = np.empty(problem.y_shape, np.float32), np.empty(problem.y_shape, np.float32)
    size, write = kernel.prepare
    prepared = np.zeros(size(problem), np.uint8)
    for launch in write(problem, w, prepared):
        simulated(launch)
    assert len(run(kernel, problem, (x, w, bias, y))) == 4
    assert len(run(kernel, problem, (x, np.zeros_like(w), bias, again), prepared=prepared)) == 3
    np.testing.assert_array_equal(y, again)


@pytest.mark.parametrize("op, name", KERNELS)
@pytest.mark.parametrize(
    "shape, reason",
    [
        ("N=1 H=9 W=9 C=1 K=1 R=3 S=2", "3x2, not 3x3"),
        ("N=1 H=9 W=9 C=1 K=1 R=3 S=3 stride=1,2", "strides"),
        ("N=1 H=9 W=9 C=1 K=1 R=3 S=3 dtype=float64", "float32"),
        ("N=1 H=3 W=3 C=16384 K=8192 R=3 S=3", "32-bit indices"),
    ],
)
def test_what_is_not_supported(op, name, shape, reason):
    assert reason in kernels.get(op, name).unsupported(kernels.Conv2DProblem.parse(shape))


@NEEDS_TOOLKIT
def test_the_products_on_sm_90():
    found = inspect_kernel(kernels.get("conv2d", "cuda_winograd"), ROUND, [find("sm_90")])[2]
    assert found.function == "_multiply" and found.occupancy.blocks >= 3
    opcodes = [instruction.opcode for instruction in found.compiled.instructions]
    moves = {opcode for opcode in opcodes if opcode[:3] in ("LDG", "LDS", "STG", "STS")}
    assert moves == {"LDG.E.128", "LDS.128", "STG.E.128", "STS.128", "STS"}  # alone: a's slice is turned round
    labels = [n for n, instruction in enumerate(found.compiled.instructions) if instruction.label]
    first = opcodes.index("FFMA")
    loop = opcodes[max(n for n in labels if n <= first) : min(n for n in labels if n > first)]
    assert loop.count("FFMA") == 128 and len(loop) < 150 and loop.count("LDS.128") == 8
