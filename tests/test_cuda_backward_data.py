"""The GPU ladder of conv2d_backward_data: which taps it walks along, what its tiles cost and where they end."""

import numpy as np
import pytest
from cuda_cases import NEEDS_TOOLKIT
from lab import simulated

from fastconv import kernels
from fastconv.inspecting.architectures import find
from fastconv.inspecting.report import inspect_kernel
from fastconv.kernels import cuda
from fastconv.kernels.conv2d_backward_data import cuda_im2col
from fastconv.kernels.cuda import Launch
from fastconv.kernels.cuda_taps import TapSteps, first_tap
from fastconv.kernels.cuda_transpose import transpose
from fastconv.kernels.cupy_matmul import MatMul
from fastconv.testing import check_kernel
from fastconv.testing.kernel_cases import empty_arrays

OP = "conv2d_backward_data"
ROUND = kernels.Conv2DProblem.parse("N=1 H=16 W=16 C=64 K=16 R=3 S=3 padding=same")  # every tile is full
RAGGED = kernels.Conv2DProblem.parse("N=2 H=9 W=19 C=67 K=9 R=2 S=2 padding=1,0,1,1")  # more than one tile each way
PHASES = kernels.Conv2DProblem.parse("N=3 H=21 W=15 C=68 K=12 R=3 S=2 stride=2,3 dilation=2,1 padding=1,2,0,1")
TILED = ["cuda_im2col", "cupy_im2col", "cuda_implicit_gemm"]


def steps(name, problem):
    """What a kernel describes for a problem."""
    kernel = kernels.get(OP, name)
    arrays = [np.ones_like(array) for array in empty_arrays(OP, problem)]
    return kernel.run(problem, *arrays, np.zeros(kernel.workspace_bytes(problem), np.uint8))


def check(name, problem, *only):
    with cuda.launched_by(lambda launch: simulated(launch).raise_if_wrong()):
        check_kernel(kernels.get(OP, name), problem, only=only)


@pytest.mark.parametrize("stride", range(1, 7))
@pytest.mark.parametrize("dilation", range(1, 7))
def test_the_taps_that_meet_a_row(stride, dilation):
    taps = 5
    problem = kernels.Conv2DProblem.parse(f"N=1 H=30 W=5 C=1 K=1 R={taps} S=1 stride={stride},1 dilation={dilation},1")
    step = TapSteps.of(problem)
    walk = getattr(first_tap, "py_func", first_tap)
    for place in range(30):
        met = [(r, (place - r * dilation) // stride) for r in range(taps) if (place - r * dilation) % stride == 0]
        r, p = walk(place, taps, stride, dilation)
        walked = []
        while r < taps:
            walked.append((r, p))
            r, p = r + step.r, p - step.p
        assert walked == met


@pytest.mark.parametrize("count, rows, columns", [(1, 32, 64), (3, 33, 5), (2, 1, 40)])
def test_matrices_are_turned_round_in_whole_sectors(count, rows, columns):
    matrices = np.arange(count * rows * columns, dtype=np.float32).reshape(count, rows, columns)
    turned = np.full((count, columns, rows), np.nan, np.float32)
    report = simulated(transpose(matrices, turned, count, rows, columns))
    report.raise_if_wrong()
    assert np.array_equal(turned, matrices.transpose(0, 2, 1))
    assert report.totals.bank_conflicts == 0
    if rows % 32 == columns % 32 == 0:
        assert report.totals.loads.moved == report.totals.stores.moved == matrices.size // 8


@pytest.mark.parametrize("name", TILED)
@pytest.mark.parametrize("problem", [RAGGED, PHASES], ids=["ragged", "phases"])
def test_several_tiles_each_way(name, problem):
    check(name, problem, "integers", "relu")


@pytest.mark.parametrize("name", ["cuda_coalesced", "cuda_depthwise", *TILED])
def test_full_sectors_and_no_bank_conflicts(name):
    depthwise = kernels.Conv2DProblem.parse("N=1 H=8 W=8 C=32 K=32 R=3 S=3 groups=32 padding=same")
    for launch in steps(name, depthwise if name == "cuda_depthwise" else ROUND):
        if isinstance(launch, Launch):
            totals = simulated(launch).totals
            assert totals.bank_conflicts == 0
            assert (totals.loads.moved, totals.stores.moved) == (totals.loads.ideal, totals.stores.ideal)


@pytest.mark.parametrize("taps, stride", [(1, 2), (3, 2), (3, 1), (2, 3)])
def test_the_implicit_gemm_multiplies_no_zeros_of_a_stride(taps, stride):
    size, filters = 8 * stride, 16  # 64 pixels a phase: half a tile
    problem = kernels.Conv2DProblem.parse(f"N=2 H={size} W={size} C=8 K={filters} R={taps} S={taps} stride={stride}")
    (launch,) = steps("cuda_implicit_gemm", problem)
    report = simulated(launch)
    report.raise_if_wrong()
    assert launch.grid == (stride * stride,)
    copies = report.line("gys[uint32(").shared_memory.requests  # of 4 warps, 8 for each of its slices
    assert copies == taps * taps * filters // 8 * 4 * 8


@pytest.mark.parametrize("name", ["cuda_im2col", "cupy_im2col"])
def test_a_large_matrix_goes_through_in_parts(name, monkeypatch):
    problem = kernels.Conv2DProblem.parse("N=3 H=5 W=4 C=3 K=2 R=2 S=3 stride=2,1")
    monkeypatch.setattr(cuda_im2col, "MATRIX_BYTES", 2 * cuda_im2col.image_bytes(problem))
    assert cuda_im2col.parts(problem) == [(0, 2), (2, 1)]
    assert cuda_im2col.workspace_bytes(problem) == 2 * cuda_im2col.image_bytes(problem)
    check(name, problem, "integers")


def test_cublas_takes_the_filters_transpose_as_it_lies():
    product, gather = steps("cupy_im2col", ROUND)
    assert isinstance(product, MatMul) and isinstance(gather, Launch)
    assert (product.a.shape, product.b.shape, product.out.shape) == ((256, 16), (16, 576), (256, 576))
    assert product.b.flags.f_contiguous and product.b.base is not None


@pytest.mark.parametrize(
    "op, name, shape, reason",
    [
        (OP, "cuda_depthwise", "N=1 H=4 W=4 C=2 K=2 R=2 S=2", "one channel a group"),
        (OP, "cupy_im2col", "N=1 H=4 W=4 C=2 K=2 R=2 S=2 groups=2", "several groups"),
        (OP, "cuda_im2col", "N=1 H=40000 W=2000 C=3 K=1 R=3 S=3 padding=same", "windows of an image"),
        (OP, "cuda_implicit_gemm", "N=1 H=4 W=4 C=2 K=2 R=2 S=2 dtype=float64", "float32"),
        ("col2im", "cuda_rows", "N=9 H=40000 W=2000 C=1 K=1 R=3 S=3 padding=same", "32-bit indices"),
    ],
)
def test_what_does_not_fit(op, name, shape, reason):
    assert reason in kernels.get(op, name).unsupported(kernels.Conv2DProblem.parse(shape))


@NEEDS_TOOLKIT
def test_the_implicit_gemm_on_sm_90():
    problem = kernels.Conv2DProblem.parse("N=32 H=28 W=28 C=128 K=128 R=3 S=3 padding=same")
    (found,) = inspect_kernel(kernels.get(OP, "cuda_implicit_gemm"), problem, [find("sm_90")])
    assert found.occupancy.blocks >= 3
    opcodes = [instruction.opcode for instruction in found.compiled.instructions]
    assert {"LDG.E.128", "STG.E.128", "LDS.128"} <= set(opcodes)
    assert "LDS" not in opcodes
    labels = [n for n, instruction in enumerate(found.compiled.instructions) if instruction.label]
    first = opcodes.index("FFMA")
    loop = opcodes[max(n for n in labels if n <= first) : min(n for n in labels if n > first)]
    assert loop.count("FFMA") == 128 and len(loop) < 150 and loop.count("LDS.128") == 8
