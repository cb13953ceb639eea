"""Winograd on a GPU: its transforms, its error, what its launches cost, and where the tiles and the parts end."""

import numpy as np
import pytest
from cuda_cases import NEEDS_TOOLKIT
from lab import simulated

from fastconv import kernels
from fastconv.inspecting.architectures import find
from fastconv.inspecting.report import inspect_kernel
from fastconv.kernels import cpu_winograd_transforms as cpu
from fastconv.kernels import cuda, cuda_winograd, cuda_winograd_transforms
from fastconv.kernels.conv2d_backward_filter import cuda_winograd as cuda_filter_gradient
from fastconv.testing import check_kernel
from fastconv.testing.kernel_cases import empty_arrays, float_case

FORWARD = [("conv2d", "cuda_winograd_fused"), ("conv2d", "cuda_winograd")]
KERNELS = [*FORWARD, ("conv2d_backward_data", "cuda_winograd_fused"), ("conv2d_backward_data", "cuda_winograd")]
MANY = kernels.Conv2DProblem.parse("N=2 H=33 W=31 C=3 K=5 R=3 S=3 padding=same")  # 144 tiles of 4 x 4
ROUND = kernels.Conv2DProblem.parse("N=1 H=8 W=16 C=64 K=64 R=3 S=3 padding=same")


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
        A_T, G_T = matrix(t.OUTPUT_GRADIENT[4], 4), matrix(t.FILTER_GRADIENT[4], 6)[:3]
        np.testing.assert_allclose(A_T, A.T, rtol=1e-7)
        np.testing.assert_allclose(G_T, G.T, rtol=1e-7)
        for mine, other in ((B, cpu.INPUT), (G, cpu.FILTER), (A, cpu.OUTPUT)):
            np.testing.assert_allclose(mine, other, rtol=1e-7)


@pytest.mark.parametrize("op", ["conv2d", "conv2d_backward_data"])
def test_tiles_go_through_in_parts(op, monkeypatch):
    kernel, arrays = kernels.get(op, "cuda_winograd"), empty_arrays(op, MANY)

    def launches():
        return len(kernel.run(MANY, *arrays, np.empty(kernel.workspace_bytes(MANY), np.uint8)))

    assert launches() == 1 + 3
    monkeypatch.setattr(cuda_winograd, "PART_BYTES", 1)
    assert launches() == 1 + 2 * 3
    with cuda.launched_by(lambda launch: simulated(launch).raise_if_wrong()):
        check_kernel(kernel, MANY, only=("floats",))


@pytest.mark.parametrize("op", ["conv2d", "conv2d_backward_data"])
def test_more_tiles_and_channels_than_a_block_has(op):
    problem = kernels.Conv2DProblem.parse("N=2 H=11 W=10 C=35 K=42 R=3 S=3 padding=2,1,0,1")
    with cuda.launched_by(lambda launch: simulated(launch).raise_if_wrong()):
        check_kernel(kernels.get(op, "cuda_winograd_fused"), problem, only=("integers", "relu"))


def test_the_filters_gradient_is_summed_in_parts_and_chunks(monkeypatch):
    kernel = kernels.get("conv2d_backward_filter", "cuda_winograd")
    plan = cuda_filter_gradient.Plan.of(MANY)
    assert (plan.chunks, plan.depth) == (5, 32) and MANY.N * 9 * 8 == 144
    with cuda.launched_by(lambda launch: simulated(launch).raise_if_wrong()):
        check_kernel(kernel, MANY, only=("floats",))
        monkeypatch.setattr(cuda_filter_gradient, "PART_BYTES", 2 * 32 * 4 * 36 * (128 + 64))
        assert cuda_filter_gradient.Plan.of(MANY).chunks == 2
        check_kernel(kernel, MANY, only=("floats",))


def test_the_filters_gradient_moves_full_sectors_without_conflicts():
    kernel = kernels.get("conv2d_backward_filter", "cuda_winograd")
    arrays = [np.ones_like(array) for array in empty_arrays("conv2d_backward_filter", ROUND)]
    reports = run(kernel, ROUND, arrays)[:4]
    assert [report.kernel for report in reports] == ["_collect", "_collect", "_multiply", "_gather"]
    for report in reports:
        report.raise_if_wrong()
        totals = report.totals
        assert totals.bank_conflicts == 0
        assert (totals.loads.moved, totals.stores.moved) == (totals.loads.ideal, totals.stores.ideal)


@pytest.mark.parametrize("op, name", KERNELS)
def test_full_sectors_and_no_bank_conflicts(op, name):
    kernel = kernels.get(op, name)
    reports = run(kernel, ROUND, [np.ones_like(array) for array in empty_arrays(op, ROUND)])
    expected = ["_filters", "_convolve"] if "fused" in name else ["_filters", "_collect", "_multiply", "_spread"]
    assert [report.kernel for report in reports] == expected
    for report in reports:
        report.raise_if_wrong()
        totals = report.totals
        assert totals.bank_conflicts == 0
        assert (totals.loads.moved, totals.stores.moved) == (totals.loads.ideal, totals.stores.ideal)


def error_of(op, name, problem):
    """Of a kernel beside the float64 reference, in the Frobenius norm."""
    case = float_case(op, problem)
    ((output, expected),) = case.expected.items()
    got = np.empty(expected.shape, np.float32)
    for report in run(kernels.get(op, name), problem, [*case.inputs.values(), got]):
        report.raise_if_wrong()
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)


def test_the_error_beside_that_of_plain_sums():
    problem = kernels.Conv2DProblem.parse("N=1 H=14 W=14 C=64 K=64 R=3 S=3 padding=same")
    plain = error_of("conv2d", "cuda_implicit_gemm", problem)
    assert 3e-7 < plain < 5e-7
    for op in ("conv2d", "conv2d_backward_data"):
        assert 0.5 * plain < error_of(op, "cuda_winograd_fused", problem) < plain  # nine times shorter sums
        assert 3 * plain < error_of(op, "cuda_winograd", problem) < 5 * plain


@pytest.mark.parametrize("op, name", FORWARD)
def test_filters_are_transformed_once(op, name):
    kernel, problem = kernels.get(op, name), kernels.Conv2DProblem.parse("N=1 H=4 W=5 C=3 K=5 R=3 S=3")
    x, w, bias = float_case(op, problem).inputs.values()
    y, again = np.empty(problem.y_shape, np.float32), np.empty(problem.y_shape, np.float32)
    size, write = kernel.prepare
    prepared = np.zeros(size(problem), np.uint8)
    for launch in write(problem, w, prepared):
        simulated(launch)
    with_transform = len(run(kernel, problem, (x, w, bias, y)))
    assert len(run(kernel, problem, (x, np.zeros_like(w), bias, again), prepared=prepared)) == with_transform - 1
    np.testing.assert_array_equal(y, again)


@pytest.mark.parametrize("op, name", KERNELS)
@pytest.mark.parametrize(
    "shape, reason",
    [
        ("N=1 H=9 W=9 C=1 K=1 R=3 S=2", "3x2, not 3x3"),
        ("N=1 H=9 W=9 C=1 K=1 R=3 S=3 stride=1,2", "strides"),
        ("N=1 H=9 W=9 C=1 K=1 R=3 S=3 dtype=float64", "float32"),
        ("N=1 H=3 W=3 C=16384 K=8192 R=3 S=3", "32-bit indices"),
        ("N=1 H=3 W=3 C=8192 K=16384 R=3 S=3", "32-bit indices"),
    ],
)
def test_what_is_not_supported(op, name, shape, reason):
    assert reason in kernels.get(op, name).unsupported(kernels.Conv2DProblem.parse(shape))


@NEEDS_TOOLKIT
@pytest.mark.parametrize(
    "name, function, blocks, products, others",
    [("cuda_winograd", "_multiply", 3, 128, 20), ("cuda_winograd_fused", "_convolve", 2, 64, 16)],
)
def test_the_products_on_sm_90(name, function, blocks, products, others):
    found = inspect_kernel(kernels.get("conv2d", name), ROUND, [find("sm_90")])
    (found,) = (one for one in found if one.function == function)
    assert found.occupancy.blocks >= blocks
    opcodes = [instruction.opcode for instruction in found.compiled.instructions]
    assert {"LDG.E.128", "LDS.128", "STS.128"} <= set(opcodes)
    labels = [n for n, instruction in enumerate(found.compiled.instructions) if instruction.label]
    first = max(n for n, opcode in enumerate(opcodes) if opcode == "LDS.128")
    loop = opcodes[max(n for n in labels if n <= first) : min(n for n in labels if n > first)]
    assert loop.count("FFMA") == products and loop.count("LDS.128") == products // 16
    assert len(loop) - products - products // 16 <= others
