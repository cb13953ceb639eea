"""Four floats at a time: what the machine code has, and what the simulator makes of the model."""

import numpy as np
import pytest
from cuda_cases import NEEDS_TOOLKIT
from lab import simulated

from fastconv import kernels
from fastconv.inspecting.architectures import find
from fastconv.inspecting.compile import compile_kernel
from fastconv.inspecting.report import inspect_kernel
from fastconv.kernels.cuda import FLOATS, cuda, cuda_jit, float32, launched_by, uint32
from fastconv.kernels.cuda_vectors import ALIGNMENT, aligned, load4, store4
from fastconv.testing import simulate
from fastconv.testing.kernel_cases import empty_arrays
from fastconv.testing.simulator.findings import MISALIGNED, OUT_OF_BOUNDS, RACE


@cuda_jit(FLOATS, FLOATS)
def reversed_quads(x, y):
    quads = cuda.shared.array(128, float32, ALIGNMENT)
    i = uint32(cuda.threadIdx.x * 4)
    a, b, c, d = load4(x, i)
    store4(quads, i, a, b, c, d)
    cuda.syncthreads()
    a, b, c, d = load4(quads, uint32(124 - i))
    store4(y, i, a, b, c, d)


def numbers(count):
    return np.arange(count, dtype=np.float32)


def test_the_simulator_counts_one_request_for_four_floats():
    x, y = numbers(128), np.zeros(128, np.float32)
    report = simulate(reversed_quads, 1, 32, x, y)
    report.raise_if_wrong()
    assert (y.reshape(32, 4) == x.reshape(32, 4)[::-1]).all()
    load, store = report.line("load4(x, i)").loads, report.line("store4(y").stores
    assert (load.requests, load.moved, load.ideal) == (store.requests, store.moved, store.ideal) == (1, 16, 16)
    for line in map(report.line, ("store4(quads", "load4(quads")):
        assert line.shared_memory.requests == 1
        assert (line.wavefronts, line.bank_conflicts) == (4, 0)  # 512 bytes, 128 at a time
    assert {line.function for line in report.lines} == {"reversed_quads"}, "the model is no part of the kernel"
    assert [step["width"] for step in report.trace.steps if step["array"]] == [4, 4, 4, 4]


def conflicting(x, y):
    quads = cuda.shared.array(1024, float32, ALIGNMENT)
    i = uint32(cuda.threadIdx.x * 32)
    store4(quads, i, float32(0), float32(0), float32(0), float32(0))


def test_bank_conflicts_of_four_floats():
    line = simulate(conflicting, 1, 32, numbers(4), numbers(4)).line("store4")
    assert (line.wavefronts, line.bank_conflicts) == (32, 28)  # of eight threads at a time all in the same four banks


def misplaced(x, y):
    a, b, c, d = load4(x, cuda.threadIdx.x * 4 + 1)
    y[cuda.threadIdx.x] = a + b + c + d


def unaligned_shared(x, y):
    s = cuda.shared.array(128, float32)
    store4(s, cuda.threadIdx.x * 4, float32(0), float32(0), float32(0), float32(0))


def beyond(x, y):
    store4(y, cuda.threadIdx.x * 4, float32(0), float32(0), float32(0), float32(0))


def racing(x, y):
    store4(y, cuda.threadIdx.x // 2 * 4, cuda.threadIdx.x, float32(0), float32(0), float32(0))


@pytest.mark.parametrize(
    "kernel, size, kind",
    [(misplaced, 132, MISALIGNED), (unaligned_shared, 4, MISALIGNED), (beyond, 126, OUT_OF_BOUNDS), (racing, 64, RACE)],
)
def test_mistakes_are_found(kernel, size, kind):
    report = simulate(kernel, 1, 32, numbers(size), numbers(size))
    assert {finding.kind for finding in report.findings} == {kind}


def test_a_view_that_begins_between_multiples_is_misaligned():
    x = numbers(132)
    assert aligned(None, x) and not aligned(x, x[1:])
    report = simulate(reversed_quads, 1, 32, x[1:129], np.zeros(128, np.float32))
    assert [finding.kind for finding in report.findings] == [MISALIGNED]
    simulate(reversed_quads, 1, 32, x[4:], np.zeros(128, np.float32)).raise_if_wrong()


@NEEDS_TOOLKIT
@pytest.mark.parametrize("arch", ["sm_75", "sm_90", "sm_120"])
def test_they_are_single_instructions(arch):
    opcodes = [i.opcode for i in compile_kernel(reversed_quads, find(arch)).instructions]
    moves = [opcode.removesuffix(".SYS") for opcode in opcodes if opcode[:3] in ("LDG", "STS", "LDS", "STG")]
    assert [opcode.replace(".U", "") for opcode in moves] == ["LDG.E.128", "STS.128", "LDS.128", "STG.E.128"]


# The implicit matrix product, which is made of them.

GEMM = kernels.get("conv2d", "cuda_implicit_gemm")


def test_the_implicit_gemm_moves_whole_sectors_without_conflicts():
    problem = kernels.Conv2DProblem.parse("N=1 H=16 W=8 C=8 K=64 R=1 S=1")
    reports = []

    def launcher(launch):
        reports.append(simulated(launch))

    arrays = [np.zeros_like(array) for array in empty_arrays("conv2d", problem)]
    with launched_by(launcher):
        GEMM(problem, *arrays, workspace=None)
    (report,) = reports
    report.raise_if_wrong()
    assert report.totals.bank_conflicts == 0
    for line in map(report.line, ("load4(x,", "load4(w,", "store4(out, place")):
        assert line.sectors == line.ideal_sectors == 16 * line.requests > 0


@NEEDS_TOOLKIT
def test_the_implicit_gemm_on_sm_90():
    problem = kernels.Conv2DProblem.parse("N=32 H=28 W=28 C=128 K=128 R=3 S=3 padding=same")
    (found,) = inspect_kernel(GEMM, problem, [find("sm_90")])
    assert found.occupancy.blocks >= 2
    opcodes = [instruction.opcode for instruction in found.compiled.instructions]
    assert {"LDG.E.128", "STG.E.128", "LDS.128", "STS.128"} <= set(opcodes)
    assert "LDS" not in opcodes
    labels = [n for n, instruction in enumerate(found.compiled.instructions) if instruction.label]
    first = opcodes.index("FFMA")
    loop = opcodes[max(n for n in labels if n <= first) : min(n for n in labels if n > first)]
    assert loop.count("FFMA") == 128 and len(loop) < 150 and loop.count("LDS.128") == 8
