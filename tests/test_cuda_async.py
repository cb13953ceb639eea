"""Asynchronous copies: what arrives, what is read too early, what a GPU executes, and the kernel made of them."""

import threading

import numpy as np
import pytest
from cuda_cases import NEEDS_TOOLKIT
from lab import simulate_launch, simulated

from fastconv import kernels
from fastconv.inspecting.architectures import find
from fastconv.inspecting.compile import compile_kernel
from fastconv.inspecting.report import inspect_kernel
from fastconv.kernels import cuda_async
from fastconv.kernels.cuda import FLOATS, TooOldError, cuda, cuda_jit, float32, int32, launched_by, uint32
from fastconv.kernels.cuda_async import commit_async, copy1_async, copy4_async, wait_async
from fastconv.kernels.cuda_vectors import ALIGNMENT
from fastconv.testing import SimulationError, check_kernel, simulate
from fastconv.testing.kernel_cases import float_case
from fastconv.testing.simulator.findings import MISALIGNED, OUT_OF_BOUNDS, RACE, UNDER_WAY, UNINITIALISED

THREADS = 64


@cuda_jit(FLOATS, FLOATS, int32, needs=cuda_async.NEEDS)
def reversed_numbers(x, y, count):
    s = cuda.shared.array(320, float32, ALIGNMENT)
    i = uint32(cuda.threadIdx.x)
    copy4_async(s, i * 4, x, i * 4, i * 4 < count)
    commit_async()
    copy1_async(s, i + 256, x, i + 256, i + 256 < count)
    commit_async()
    wait_async(0)
    cuda.syncthreads()
    for n in range(5):
        at = uint32(n * THREADS + i)
        y[at] = s[319 - at]


def numbers(count=320):
    return np.arange(1, count + 1, dtype=np.float32)


@pytest.mark.parametrize("count", [320, 300, 256, 100, 0])
def test_copies_arrive_and_the_rest_is_zero(count):
    x, y = numbers(), np.full(320, np.nan, np.float32)
    report = simulate(reversed_numbers, 1, THREADS, x, y, count)
    report.raise_if_wrong()
    np.testing.assert_array_equal(y[::-1], np.where(np.arange(320) < count, x, 0))
    if count == 320:
        four, one = map(report.line, ("copy4_async", "copy1_async"))
        assert (four.loads.requests, four.sectors, four.ideal_sectors) == (2, 32, 32)
        assert (four.shared_memory.requests, four.wavefronts, four.bank_conflicts) == (2, 8, 0)
        assert (one.loads.requests, one.sectors, one.shared_memory.requests, one.wavefronts) == (2, 8, 2, 2)


def test_what_is_not_inside_is_not_read():
    simulate(reversed_numbers, 1, THREADS, numbers(100), np.zeros(320, np.float32), 100).raise_if_wrong()
    report = simulate(reversed_numbers, 1, THREADS, numbers(96), np.zeros(320, np.float32), 100)
    assert [finding.kind for finding in report.findings] == [OUT_OF_BOUNDS]


BUGS = []


def bug(*kinds):
    def plant(kernel):
        BUGS.append(pytest.param(kernel, kinds, id=kernel.__name__))
        return kernel

    return plant


@bug()
def own_numbers_need_no_barrier(x, y):
    s, i = cuda.shared.array(THREADS, float32), cuda.threadIdx.x
    copy1_async(s, i, x, i, True)
    commit_async()
    wait_async(0)
    y[i] = s[i]


@bug(UNDER_WAY)
def nobody_waits(x, y):
    s = cuda.shared.array(THREADS, float32)
    i = cuda.threadIdx.x
    copy1_async(s, i, x, i, True)
    commit_async()
    cuda.syncthreads()
    y[i] = s[i]  # BUG


@bug(UNDER_WAY)
def nobody_commits(x, y):
    s, i = cuda.shared.array(THREADS, float32), cuda.threadIdx.x
    copy1_async(s, i, x, i, True)
    wait_async(0)
    cuda.syncthreads()
    y[i] = s[i]  # BUG


@bug(UNDER_WAY)
def one_group_too_few_is_awaited(x, y):
    s, i = cuda.shared.array(2 * THREADS, float32), cuda.threadIdx.x
    for stage in range(2):
        copy1_async(s, stage * THREADS + i, x, stage * THREADS + i, True)
        commit_async()
    wait_async(1)
    cuda.syncthreads()
    y[i] = s[i]
    y[THREADS + i] = s[THREADS + i]  # BUG


@bug(UNDER_WAY)
def half_of_the_threads_wait(x, y):
    s, i = cuda.shared.array(THREADS, float32), cuda.threadIdx.x
    copy1_async(s, i, x, i, True)
    commit_async()
    if i < 32:
        wait_async(0)
    cuda.syncthreads()
    y[i] = s[THREADS - 1 - i]  # BUG


@bug(RACE)
def no_barrier_after_the_wait(x, y):
    s, i = cuda.shared.array(THREADS, float32), cuda.threadIdx.x
    copy1_async(s, i, x, i, True)
    commit_async()
    wait_async(0)
    y[i] = s[THREADS - 1 - i]  # BUG


@bug(RACE)
def no_barrier_before_the_next_copy(x, y):
    s, i = cuda.shared.array(THREADS, float32), cuda.threadIdx.x
    s[i] = x[i]
    cuda.syncthreads()
    y[i] = s[THREADS - 1 - i]  # BUG
    copy1_async(s, i, x, i, True)
    commit_async()
    wait_async(0)


@bug(UNDER_WAY)
def overwritten_on_its_way(x, y):
    s, i = cuda.shared.array(THREADS, float32), cuda.threadIdx.x
    copy1_async(s, i, x, i, True)
    commit_async()
    s[i] = float32(0)  # BUG
    wait_async(0)


@bug(UNDER_WAY)
def copied_twice_at_once(x, y):
    s, i = cuda.shared.array(THREADS, float32), cuda.threadIdx.x
    copy1_async(s, i, x, i, True)
    copy1_async(s, i, x, i, True)  # BUG
    commit_async()
    wait_async(0)


@bug(UNINITIALISED)
def nothing_was_copied(x, y):
    s, i = cuda.shared.array(THREADS, float32), cuda.threadIdx.x
    commit_async()
    wait_async(0)
    y[i] = s[i]  # BUG


@bug(MISALIGNED)
def between_multiples_of_16_bytes(x, y):
    s, i = cuda.shared.array(4 * THREADS, float32, 16), cuda.threadIdx.x
    copy4_async(s, i * 4, x, i * 4 + 2, True)  # BUG
    commit_async()
    wait_async(0)


@pytest.mark.parametrize("kernel, kinds", BUGS)
def test_mistakes_are_found_at_their_line(kernel, kinds):
    report = simulate(kernel, 1, THREADS, numbers(), np.zeros(320, np.float32))
    assert tuple({finding.kind for finding in report.findings}) == kinds, str(report)
    for finding in report.findings:
        lines = [finding.line] if finding.other_line is None else [finding.line, finding.other_line]
        assert report.line("# BUG").number in lines


def test_the_message_names_element_and_copy():
    (finding,) = simulate(nobody_waits, 1, THREADS, numbers(), np.zeros(320, np.float32)).findings
    assert (finding.thread, finding.count) == ((0, 0, 0), THREADS)
    begun = finding.line - 3
    expected = f"reads s[0] while a copy to it, begun in line {begun}, is under way: its thread has not waited."
    assert finding.message.endswith(expected)


def the_wrong_way(x, y):
    s, i = cuda.shared.array(THREADS, float32), cuda.threadIdx.x
    copy1_async(y, i, s, i, True)


def test_only_from_global_to_shared_memory():
    with pytest.raises(SimulationError, match="copy1_async copies from global to shared memory"):
        simulate(the_wrong_way, 1, THREADS, numbers(), numbers())


def test_in_numbas_simulator_too_a_copy_is_late():
    to, x, seen = np.zeros(8), np.arange(1.0, 9.0), []

    def thread():
        for at in (0, 4):
            copy4_async.model(to, at, x, at, at == 0 or x[0] > 1)
            commit_async.model()
        copy1_async.model(to, 7, x, 0, True)
        seen.append(to.copy())
        for most in (2, 1, 0):
            wait_async.model(most)
            seen.append(to.copy())
        commit_async.model()
        wait_async.model(0)
        seen.append(to.copy())

    to[:] = -1
    running = threading.Thread(target=thread)
    running.start()
    running.join()
    first, both = [1, 2, 3, 4, -1, -1, -1, -1], [1, 2, 3, 4, 0, 0, 0, 0]
    np.testing.assert_array_equal(seen, [[-1] * 8, [-1] * 8, first, both, [*both[:7], 1]])


@NEEDS_TOOLKIT
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_120"])
def test_they_are_single_instructions(arch):
    opcodes = [instruction.opcode for instruction in compile_kernel(reversed_numbers, find(arch)).instructions]
    assert [opcode for opcode in opcodes if opcode.startswith("LDGSTS")] == ["LDGSTS.E.BYPASS.128", "LDGSTS.E"]
    assert opcodes.count("LDGDEPBAR") == 2 and opcodes.count("DEPBAR.LE") == 1 and "STS" not in opcodes
    with pytest.raises(TooOldError):
        reversed_numbers.ptx((7, 5))


# conv2d.

CONV2D = kernels.get("conv2d", "cuda_multistage_tf32")
ROUND = kernels.Conv2DProblem.parse("N=1 H=16 W=16 C=16 K=64 R=3 S=3 padding=same")  # every tile is full
RAGGED = kernels.Conv2DProblem.parse("N=2 H=9 W=12 C=9 K=67 R=2 S=2 padding=1,0,1,1")  # more than one tile each way


def results(name, problem):
    """y, and the simulator's report."""
    reports, y = [], np.full(problem.y_shape, np.nan, np.float32)

    def launcher(launch):
        reports.append(simulated(launch))
        reports[0].raise_if_wrong()

    with launched_by(launcher):
        kernels.get("conv2d", name)(problem, *float_case("conv2d", problem).inputs.values(), y, workspace=None)
    return y, reports[0]


def test_several_tiles_each_way():
    with launched_by(simulate_launch):
        check_kernel(CONV2D, RAGGED, only=("integers", "floats"))


def test_the_sums_are_those_of_cuda_mma_tf32_and_so_is_the_traffic():
    (y, report), (other_y, other) = (results(name, ROUND) for name in ("cuda_multistage_tf32", "cuda_mma_tf32"))
    assert y.tobytes() == other_y.tobytes()
    assert report.totals.bank_conflicts == 0
    for total, same in ((report.totals.loads, other.totals.loads), (report.totals.stores, other.totals.stores)):
        assert total.moved == total.ideal == same.moved > 0


@NEEDS_TOOLKIT
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_120"])
def test_its_copies_pass_no_registers(arch):
    (found,) = inspect_kernel(CONV2D, ROUND, [find(arch)])
    opcodes = [instruction.opcode for instruction in found.compiled.instructions]
    assert opcodes.count("HMMA.1688.F32.TF32") == 32 and "FFMA" not in opcodes
    assert opcodes.count("LDGSTS.E.BYPASS.128") >= 6 and "STS" not in opcodes and "LDG.E.128" not in opcodes
    (other,) = inspect_kernel(kernels.get("conv2d", "cuda_mma_tf32"), ROUND, [find(arch)])
    assert found.compiled.resources.registers <= other.compiled.resources.registers - 20
