"""The filter gradient's kernels for a GPU: sums cut into chunks, tiles of every shape, and what they cost."""

import numpy as np
import pytest
from cuda_cases import NEEDS_TOOLKIT
from lab import simulated

from fastconv import kernels
from fastconv.inspecting.architectures import ARCHITECTURES, find
from fastconv.inspecting.compile import compile_kernel
from fastconv.inspecting.report import inspect_kernel
from fastconv.kernels import cuda, cuda_chunks
from fastconv.kernels.conv2d import cuda_im2col as conv2d_im2col
from fastconv.kernels.conv2d_backward_filter import cuda_depthwise, cuda_few_channels
from fastconv.kernels.cuda import Launch
from fastconv.kernels.cuda_chunks import Chunks, sum_rows
from fastconv.kernels.cuda_pixels import Step, pixel_place, walk_on
from fastconv.testing import KernelMismatch, Mismatch, check_kernel, find_shapes, shape_lists
from fastconv.testing.kernel_cases import empty_arrays

OP = "conv2d_backward_filter"
PROBLEM = kernels.Conv2DProblem
RAGGED = PROBLEM.parse("N=3 H=9 W=12 C=9 K=67 R=2 S=2 padding=1,0,1,1")  # several chunks, and several tiles each way
WIDE = PROBLEM.parse("N=3 H=9 W=10 C=36 K=68 R=2 S=2 padding=same")  # the same in fours
DEPTHWISE = PROBLEM.parse("N=2 H=11 W=13 C=68 K=68 R=5 S=4 padding=same groups=68")  # 20 taps go to two blocks
MULTIPLIED = PROBLEM.parse("N=3 H=11 W=18 C=35 K=70 R=3 S=7 padding=same stride=1,2 groups=35")
FIRST = PROBLEM.parse("N=2 H=19 W=16 C=3 K=8 R=5 S=5 stride=1,2 padding=same")  # 75 rows: three blocks
GROUPS = PROBLEM.parse("N=3 H=12 W=11 C=12 K=20 R=3 S=3 groups=4 dilation=2,1 padding=same")
CASES = [
    (name, problem)
    for name in ("cuda_split", "cuda_im2col", "cupy_im2col", "cuda_implicit_gemm", "cuda_few_channels")
    for problem in (RAGGED, WIDE, GROUPS)
    if name != "cupy_im2col" or problem.groups == 1
] + [("cuda_few_channels", FIRST), ("cuda_depthwise", DEPTHWISE), ("cuda_depthwise", MULTIPLIED)]
ROUND = PROBLEM.parse("N=1 H=16 W=16 C=16 K=64 R=3 S=3 padding=same")  # whole sectors, and several chunks
ROUND_DEPTHWISE = PROBLEM.parse("N=1 H=16 W=16 C=64 K=64 R=3 S=3 padding=same groups=64")
MIB = 1 << 20


def steps(name, problem):
    """What a kernel describes for a problem."""
    kernel = kernels.get(OP, name)
    arrays = [np.ones_like(array) for array in empty_arrays(OP, problem)]
    return kernel.run(problem, *arrays, np.zeros(kernel.workspace_bytes(problem), np.uint8))


def check(name, problem, only=("integers", "floats", "repeat")):
    with cuda.launched_by(lambda launch: simulated(launch).raise_if_wrong()):
        check_kernel(kernels.get(OP, name), problem, only=only)


@pytest.mark.parametrize(("name", "problem"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_several_chunks_and_tiles(name, problem):
    check(
        name, problem, ("integers", "floats", "repeat") if problem in (RAGGED, DEPTHWISE) else ("integers", "optional")
    )
    if name != "cupy_im2col":
        assert any(launch.kernel.name == "_add_rows" for launch in steps(name, problem)[1:])


@pytest.mark.parametrize("name", ["cuda_split", "cuda_implicit_gemm", "cuda_few_channels"])
def test_a_chunk_that_is_left_out_is_found(name, monkeypatch):
    add = cuda_chunks._add
    monkeypatch.setattr(cuda_chunks, "_add", lambda matrix, out, rows, *rest: add(matrix, out, rows - 1, *rest))
    with pytest.raises((KernelMismatch, Mismatch)):
        check(name, RAGGED, only=("integers",))


@pytest.mark.parametrize("name", ["cuda_im2col", "cupy_im2col"])
def test_a_large_matrix_goes_through_in_parts(name, monkeypatch):
    monkeypatch.setattr(conv2d_im2col, "MATRIX_BYTES", 1)
    assert [rows for _, rows in conv2d_im2col.parts(RAGGED)] == [128, 128, 95]
    check(name, RAGGED)


@pytest.mark.parametrize("terms", [0, 1, 63, 64, 65, 1000, 6272, 401408])
@pytest.mark.parametrize("tiles", [1, 7, 384, 5000])
def test_chunks_cover_all_terms_once(terms, tiles):
    chunks = Chunks.of(terms, tiles, 64, 8)
    assert chunks.terms % 8 == 0 and 1 <= chunks.number <= max(1, 384 // tiles)
    assert (chunks.number - 1) * chunks.terms < max(terms, 1) <= chunks.number * chunks.terms
    assert chunks.number == 1 or chunks.terms >= 64


def test_rows_are_added_in_chunks():
    matrix = np.random.default_rng(0).integers(-9, 9, (5000, 35)).astype(np.float32)
    out, memory = np.empty(35, np.float32), np.empty(cuda_chunks.row_sums_bytes(5000, 35) // 4, np.float32)
    launches = sum_rows(matrix, out, 5000, 35, memory)
    for launch in launches:
        simulated(launch).raise_if_wrong()
    assert len(launches) == 2
    np.testing.assert_array_equal(out, matrix.sum(0))


def test_a_walk_over_pixels_is_the_division():
    place, walk = (getattr(function, "py_func", function) for function in (pixel_place, walk_on))
    problem = PROBLEM.parse("N=9 H=3 W=5 C=1 K=1 R=1 S=1")
    for distance in range(1, 40):
        step = Step.of(problem, distance)
        for pixel in range(9 * 15 - distance):
            assert walk(problem, step, *place(problem, pixel)) == place(problem, pixel + distance)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("cuda_im2col", ROUND),
        ("cupy_im2col", ROUND),
        ("cuda_implicit_gemm", ROUND),
        ("cuda_depthwise", ROUND_DEPTHWISE),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_full_sectors_and_no_bank_conflicts(name, problem):
    for launch in steps(name, problem):
        if isinstance(launch, Launch):
            totals = simulated(launch).totals
            assert totals.bank_conflicts == 0
            assert (totals.loads.moved, totals.stores.moved) == (totals.loads.ideal, totals.stores.ideal)


@pytest.mark.parametrize("shape", ["C=3 K=64", "C=1 K=32", "C=1 K=8"])
def test_first_layers_read_gy_once_and_meet_no_bank_conflicts(shape):
    problem = PROBLEM.parse(f"N=1 H=16 W=16 {shape} R=3 S=3 padding=same")
    launch, *_ = steps("cuda_few_channels", problem)
    report = simulated(launch)
    assert report.totals.bank_conflicts == 0
    line = report.line("load4(gy")
    assert line.sectors == line.ideal_sectors == 256 * problem.K // 8


def every_problem():
    for name in shape_lists():
        if "pool2d" not in name:
            yield from find_shapes(name, PROBLEM).values()


@pytest.mark.parametrize(
    ("name", "fixed", "of_bias"),
    [
        ("cuda_im2col", 140 * MIB, 768),
        ("cuda_implicit_gemm", 12 * MIB, 384),
        ("cuda_few_channels", 3 * MIB, 384),
        ("cuda_depthwise", 3 * MIB, 768),
    ],
)
def test_the_workspace_is_bounded(name, fixed, of_bias):
    kernel = kernels.get(OP, name)
    problems = [problem for problem in every_problem() if kernel.unsupported(problem) is None]
    assert len(problems) > 10
    for problem in problems:
        assert kernel.workspace_bytes(problem) <= fixed + 4 * of_bias * problem.K, str(problem)


def test_what_does_not_fit():
    wide = PROBLEM.parse("N=1 H=1 W=17 C=2 K=2 R=1 S=17 groups=2")
    assert "columns" in kernels.get(OP, "cuda_depthwise").unsupported(wide)


# The machine code.


@NEEDS_TOOLKIT
def test_the_implicit_gemm_on_sm_90():
    problem = PROBLEM.parse("N=32 H=28 W=28 C=128 K=128 R=3 S=3 padding=same")
    found, _, _ = inspect_kernel(kernels.get(OP, "cuda_implicit_gemm"), problem, [find("sm_90")])
    assert found.occupancy.blocks >= 3
    opcodes = [instruction.opcode for instruction in found.compiled.instructions]
    assert {"LDG.E.128", "STG.E.128", "LDS.128", "STS.128"} <= set(opcodes)
    labels = [n for n, instruction in enumerate(found.compiled.instructions) if instruction.label]
    first = opcodes.index("FFMA")
    loop = opcodes[max(n for n in labels if n <= first) : min(n for n in labels if n > first)]
    assert loop.count("FFMA") == 128 and len(loop) < 150 and loop.count("LDS.128") == 8


@NEEDS_TOOLKIT
@pytest.mark.parametrize("arch", ["sm_90", "sm_120"])
@pytest.mark.parametrize(
    ("name", "made"),
    [
        *(("cuda_few_channels", cuda_few_channels.backward_filter_by(rows)) for rows in (4, 12, 28)),
        *(
            ("cuda_depthwise", cuda_depthwise.backward_filter_by(*window))
            for window in ((3, 5, True), (4, 4, True), (4, 4, False), (1, 16, False))
        ),
    ],
)
def test_every_size_keeps_its_sums_in_registers(name, made, arch):
    compiled = compile_kernel(made, ARCHITECTURES[arch])
    assert (compiled.resources.spill_bytes, compiled.resources.stack_bytes) == (0, 0), name
