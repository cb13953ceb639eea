"""cuda_few_channels: little beyond y is moved, without bank conflicts, and a row's pixels stay in registers."""

import pytest
from cuda_cases import NEEDS_TOOLKIT, check_vectors, run_simulated

from fastconv.inspecting.architectures import find
from fastconv.inspecting.report import inspect_kernel
from fastconv.kernels import Conv2DProblem, registry
from fastconv.testing.kernel_cases import cases

KERNEL = registry.get("conv2d", "cuda_few_channels")
MNIST = "N=1 H=28 W=28 C=1 K=32 R=3 S=3"
VGG = "N=1 H=16 W=224 C=3 K=64 R=3 S=3 padding=same"  # some rows of its image
RESNET = "N=1 H=32 W=224 C=3 K=64 R=7 S=7 stride=2 padding=3,3,3,3"


@pytest.mark.parametrize(("text", "most"), [(MNIST, 1.06), (VGG, 1.24), (RESNET, 1.88)])
def test_bytes_moved_beside_those_of_the_arrays(text, most):
    problem = Conv2DProblem.parse(text)
    _, (report,) = run_simulated(KERNEL, problem, next(iter(cases("conv2d", problem, 0))))
    assert report.totals.bank_conflicts == 0
    assert report.totals.sector_bytes <= most * report.totals.array_bytes
    store = report.line("store4(y").stores
    assert store.moved == store.ideal == 4 * problem.N * problem.P * problem.Q * problem.K // 32  # of y, each once
    assert store.requests == pytest.approx(store.moved / 16, rel=0.08)  # 512 bytes but at the right end of a row


def test_vectors_are_right_on_every_kind_of_data():
    check_vectors(KERNEL)


@NEEDS_TOOLKIT
@pytest.mark.parametrize(("text", "taps", "span"), [(VGG, 3, 10), (RESNET, 7, 21)])
def test_the_inner_loop_on_sm_90(text, taps, span):
    (found,) = inspect_kernel(KERNEL, Conv2DProblem.parse(text), [find("sm_90")])
    assert found.compiled.resources.spill_bytes == found.compiled.resources.stack_bytes == 0
    assert found.occupancy.blocks == 3
    opcodes = [instruction.opcode for instruction in found.compiled.instructions]
    labels = [n for n, instruction in enumerate(found.compiled.instructions) if instruction.label]
    first = opcodes.index("FFMA")
    loop = opcodes[max(n for n in labels if n <= first) : min(n for n in labels if n > first)]
    # 8 pixels x 4 filters for each tap; each pixel of the row and each four of w are read once.
    assert (loop.count("FFMA"), loop.count("LDS"), loop.count("LDS.128")) == (32 * taps, span, taps)


def test_what_registers_do_not_hold_is_refused():
    reason = KERNEL.unsupported(Conv2DProblem.parse("N=1 H=9 W=64 C=1 K=4 R=2 S=17"))
    assert reason == "registers do not hold what a thread sees of a row"
    assert "shared memory" in KERNEL.unsupported(Conv2DProblem.parse("N=1 H=64 W=64 C=4 K=4 R=13 S=13"))
