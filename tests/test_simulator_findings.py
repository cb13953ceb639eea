"""The simulator's findings: mistakes are planted in kernels, and each must be found at its line, marked BUG."""

import numpy as np
import pytest
from numba import cuda, float32, int32

from fastconv.testing import Mismatch, SimulationError, simulate
from fastconv.testing.simulator.findings import (
    DIVERGENT_BARRIER,
    DIVERGENT_WARP,
    DIVISION_BY_ZERO,
    LAUNCH_LIMIT,
    OUT_OF_BOUNDS,
    RACE,
    UNINITIALISED,
    WRONG_INDEX,
)

N = 64
ALL = 0xFFFFFFFF
BUGS = []


def floats(*shape):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def bug(kind, *args, grid=1, block=N, also=(), **options):
    """Plant the decorated kernel. `also` names the kinds that may be found on other lines as a consequence."""

    def plant(kernel):
        BUGS.append(pytest.param(kernel, kind, args, grid, block, also, options, id=kernel.__name__))
        return kernel

    return plant


# Races in shared memory


@bug(RACE, floats(N))
def missing_barrier(a):
    s = cuda.shared.array(N, float32)
    i = cuda.threadIdx.x
    s[i] = a[i]
    a[i] = s[N - 1 - i]  # BUG


@bug(RACE, floats(N), floats(N))
def missing_second_barrier_in_a_loop(a, b):
    s = cuda.shared.array(N, float32)
    i = cuda.threadIdx.x
    for _ in range(3):
        s[i] = a[i]  # BUG
        cuda.syncthreads()
        b[i] = s[N - 1 - i]


@bug(RACE, floats(N))
def two_threads_write_one_shared_element(a):
    s = cuda.shared.array(N, float32)
    i = cuda.threadIdx.x
    s[i // 2] = a[i]  # BUG
    cuda.syncthreads()
    a[i] = s[i // 2]


@bug(RACE, floats(N))
def tree_without_barriers(a):
    s = cuda.shared.array(N, float32)
    i = cuda.threadIdx.x
    s[i] = a[i]
    cuda.syncthreads()
    step = N // 2
    while step > 0:
        if i < step:
            s[i] += s[i + step]  # BUG
        step //= 2
    if i == 0:
        a[0] = s[0]


@bug(RACE, floats(32), block=32)
def warp_without_syncwarp(a):
    s = cuda.shared.array(32, float32)
    i = cuda.threadIdx.x
    s[i] = a[i]
    a[i] = s[31 - i]  # BUG


@bug(RACE, floats(32), block=32)
def syncwarp_of_the_wrong_half(a):
    s = cuda.shared.array(32, float32)
    i = cuda.threadIdx.x
    s[i] = a[i]
    if i < 16:
        cuda.syncwarp(0x0000FFFF)
        a[i] = s[31 - i]  # BUG


@bug(RACE, np.arange(N, dtype=np.int32) % 4, np.zeros(4, np.int32))
def histogram_without_atomics(a, h):
    i = cuda.threadIdx.x
    s = cuda.shared.array(4, int32)
    if i < 4:
        s[i] = 0
    cuda.syncthreads()
    s[a[i]] += 1  # BUG
    cuda.syncthreads()
    if i < 4:
        h[i] = s[i]


@bug(RACE, np.zeros(1, np.int32), np.zeros(N, np.int32))
def atomic_and_plain_read(counter, seen):
    cuda.atomic.add(counter, 0, 1)
    seen[cuda.threadIdx.x] = counter[0]  # BUG


@bug(RACE, floats(N), shared_bytes=4 * N)
def dynamic_shared_without_barrier(a):
    s = cuda.shared.array(0, float32)
    i = cuda.threadIdx.x
    s[i] = a[i]
    a[i] = s[i ^ 1]  # BUG


@bug(RACE, floats(4, 16), block=(16, 4))
def barrier_in_the_wrong_place(a):
    s = cuda.shared.array((4, 16), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    cuda.syncthreads()
    s[y, x] = a[y, x]
    a[y, x] = s[3 - y, x]  # BUG


@bug(RACE, floats(2 * N), floats(N))
def double_buffer_without_the_other_half(a, b):
    s = cuda.shared.array((2, N), float32)
    i = cuda.threadIdx.x
    total = float32(0.0)
    for turn in range(4):
        s[0, i] = a[i + N * (turn % 2)]  # BUG
        cuda.syncthreads()
        total += s[0, N - 1 - i]
    b[i] = total


# Races in global memory


@bug(RACE, floats(N))
def in_place_shift(a):
    i = cuda.threadIdx.x
    if i + 1 < N:
        a[i] = a[i + 1]  # BUG


@bug(RACE, np.zeros(1, np.int32))
def all_write_one_global_element(a):
    a[0] = cuda.threadIdx.x  # BUG


@bug(RACE, np.zeros(N, np.int32), grid=4)
def blocks_write_the_same_elements(a):
    a[cuda.threadIdx.x] = cuda.blockIdx.x  # BUG


@bug(RACE, np.zeros((4, N), np.int32), grid=4)
def reads_what_another_block_writes(a):
    i, b = cuda.threadIdx.x, cuda.blockIdx.x
    a[b, i] = i
    cuda.syncthreads()
    a[b, i] += a[(b + 1) % 4, i]  # BUG


@bug(RACE, np.zeros(1, np.int32), np.zeros(3, np.int32), grid=3, block=1)
def atomics_of_one_block_and_reads_of_another(counter, seen):
    if cuda.blockIdx.x == 0:
        cuda.atomic.add(counter, 0, 1)
    else:
        seen[cuda.blockIdx.x] = counter[0]  # BUG


@bug(RACE, floats(2000 * 32), grid=2000, block=32)
def blocks_far_apart(a):
    i = cuda.grid(1)
    if cuda.blockIdx.x == 1999:
        i = cuda.threadIdx.x
    a[i] = cuda.blockIdx.x  # BUG


@bug(RACE, floats(4), np.zeros(4, np.float32), np.zeros(1, np.int32), np.zeros(1, np.float32), grid=4, block=1)
def last_block_without_a_fence(a, partial, ticket, total):
    partial[cuda.blockIdx.x] = a[cuda.blockIdx.x]
    if cuda.atomic.add(ticket, 0, 1) == 3:
        for block in range(4):
            total[0] += partial[block]  # BUG


@bug(RACE, floats(4), np.zeros(4, np.float32), np.zeros(1, np.int32), np.zeros(1, np.float32), grid=4, block=1)
def fence_but_not_the_last_block(a, partial, ticket, total):
    partial[cuda.blockIdx.x] = a[cuda.blockIdx.x]
    cuda.threadfence()
    if cuda.atomic.add(ticket, 0, 1) == 2:
        for block in range(4):
            total[0] += partial[block]  # BUG


# Indices


@bug(OUT_OF_BOUNDS, floats(N), floats(N))
def one_too_far(a, b):
    i = cuda.threadIdx.x
    b[i] = a[i + 1]  # BUG


@bug(OUT_OF_BOUNDS, floats(N), floats(N))
def negative_index(a, b):
    i = cuda.threadIdx.x
    b[i] = a[i - 1]  # BUG


@bug(OUT_OF_BOUNDS, floats(100), grid=2)
def no_guard_for_the_tail(a):
    a[cuda.grid(1)] = 1.0  # BUG


@bug(OUT_OF_BOUNDS, floats(5, 7), block=(5, 7))
def swapped_indices(a):
    a[cuda.threadIdx.y, cuda.threadIdx.x] *= float32(2.0)  # BUG


@bug(OUT_OF_BOUNDS, floats(N), also=(UNINITIALISED,))
def halo_larger_than_the_tile(a):
    s = cuda.shared.array(N, float32)
    i = cuda.threadIdx.x
    s[i + 1] = a[i]  # BUG
    cuda.syncthreads()
    a[i] = s[i]


@bug(OUT_OF_BOUNDS, floats(N), floats(N))
def outside_of_a_local_array(a, b):
    t = cuda.local.array(4, float32)
    for k in range(5):
        t[k] = a[k]  # BUG
    b[cuda.threadIdx.x] = t[0]


@bug(OUT_OF_BOUNDS, floats(8, 8), floats(N))
def row_outside_of_an_array(a, b):
    row = a[cuda.threadIdx.x // 7]  # BUG
    b[cuda.threadIdx.x] = row[0]


@bug(OUT_OF_BOUNDS, np.zeros(8, np.int32), np.arange(N, dtype=np.int32))
def histogram_with_too_few_bins(h, a):
    cuda.atomic.add(h, a[cuda.threadIdx.x] // 4, 1)  # BUG


@bug(WRONG_INDEX, floats(8, 8), floats(N))
def too_few_indices(a, b):
    b[cuda.threadIdx.x] = a[1]  # BUG


@bug(WRONG_INDEX, floats(N), floats(N))
def too_many_indices(a, b):
    b[cuda.threadIdx.x] = a[0, 0]  # BUG


@bug(WRONG_INDEX, floats(N), floats(N))
def float_index(a, b):
    b[cuda.threadIdx.x] = a[cuda.threadIdx.x / 2]  # BUG


# Memory that nobody has written


@bug(UNINITIALISED, floats(N))
def half_of_the_tile_is_loaded(a):
    s = cuda.shared.array(N, float32)
    i = cuda.threadIdx.x
    if i < N // 2:
        s[i] = a[i]
    cuda.syncthreads()
    a[i] = s[i]  # BUG


@bug(UNINITIALISED, floats(N), floats(N))
def local_sum_is_not_set_to_zero(a, b):
    total = cuda.local.array(1, float32)
    for k in range(3):
        total[0] += a[k]  # BUG
    b[cuda.threadIdx.x] = total[0]


@bug(UNINITIALISED, np.zeros(N, np.int32))
def counter_is_not_set_to_zero(a):
    s = cuda.shared.array(1, int32)
    cuda.atomic.add(s, 0, 1)  # BUG
    cuda.syncthreads()
    a[cuda.threadIdx.x] = s[0]


@bug(UNINITIALISED, floats(N), floats(N))
def variable_set_on_one_side_only(a, b):
    i = cuda.threadIdx.x
    if a[i] > 0:
        v = a[i]
    b[i] = v  # BUG


# Barriers and warps


@bug(DIVERGENT_BARRIER, floats(N))
def barrier_in_a_branch(a):
    i = cuda.threadIdx.x
    if i < 32:
        cuda.syncthreads()  # BUG
    a[i] = 1.0


@bug(DIVERGENT_BARRIER, floats(50))
def return_before_the_barrier(a):
    i = cuda.threadIdx.x
    if i >= a.size:
        return
    cuda.syncthreads()  # BUG
    a[i] = 1.0


@bug(DIVERGENT_BARRIER, floats(N))
def barrier_in_a_loop_of_different_length(a):
    i = cuda.threadIdx.x
    for _ in range(i // 32):
        cuda.syncthreads()  # BUG
    a[i] = 1.0


@bug(DIVERGENT_BARRIER, floats(N), floats(N))
def continue_before_the_barrier(a, b):
    i = cuda.threadIdx.x
    for turn in range(2):
        if a[i] < 0:
            continue
        cuda.syncthreads()  # BUG
        b[i] = turn


@bug(DIVERGENT_WARP, floats(N))
def shuffle_in_a_branch(a):
    i = cuda.threadIdx.x
    v = a[i]
    if i % 32 < 16:
        v += cuda.shfl_down_sync(ALL, v, 8)  # BUG
    a[i] = v


@bug(DIVERGENT_WARP, floats(N))
def shuffle_with_too_small_a_mask(a):
    i = cuda.threadIdx.x
    a[i] = cuda.shfl_xor_sync(0xFFFF, a[i], 1)  # BUG


@bug(DIVERGENT_WARP, floats(40), block=40)
def shuffle_beyond_the_block(a):
    i = cuda.threadIdx.x
    a[i] = cuda.shfl_down_sync(ALL, a[i], 16)  # BUG


@bug(DIVERGENT_WARP, np.zeros(N, np.int32))
def syncwarp_with_lanes_elsewhere(a):
    i = cuda.threadIdx.x
    if i % 2:
        cuda.syncwarp()  # BUG
    a[i] = i


@bug(DIVERGENT_WARP, np.zeros(N, np.int32))
def ballot_in_a_branch(a):
    i = cuda.threadIdx.x
    if i % 3 == 0:
        a[i] = cuda.ballot_sync(ALL, i > 10)  # BUG


# Others


@bug(DIVISION_BY_ZERO, np.arange(N, dtype=np.int32))
def division_by_zero(a):
    i = cuda.threadIdx.x
    a[i] = 100 // a[i]  # BUG


@bug(LAUNCH_LIMIT, floats(2048), block=(64, 32))
def too_many_threads(a):  # BUG
    a[cuda.threadIdx.x + 64 * cuda.threadIdx.y] = 1.0


@bug(LAUNCH_LIMIT, floats(N))
def too_much_static_shared_memory(a):
    s = cuda.shared.array((2, 6145), float32)  # BUG
    s[0, cuda.threadIdx.x] = a[cuda.threadIdx.x]


@bug(LAUNCH_LIMIT, floats(128), block=(1, 1, 128))
def block_too_deep(a):  # BUG
    a[cuda.threadIdx.z] = 1.0


@pytest.mark.parametrize("kernel, kind, args, grid, block, also, options", BUGS)
def test_planted_bugs_are_found_at_their_line(kernel, kind, args, grid, block, also, options):
    report = simulate(kernel, grid, block, *[np.copy(arg) for arg in args], **options)
    line = report.line("# BUG")
    found = {finding.kind for finding in report.findings if finding.line == line.number}
    assert found == {kind}, str(report)
    others = {finding.kind for finding in report.findings if finding.line != line.number}
    assert others <= set(also), str(report)
    for finding in report.findings:
        assert finding.file == __file__ and finding.text == report.line(finding.line).text
        assert finding.kind == LAUNCH_LIMIT or (len(finding.block) == len(finding.thread) == 3)
    with pytest.raises(Mismatch, match=kind):
        report.raise_if_wrong()


def test_there_are_many_kinds_of_bugs():
    assert len(BUGS) >= 40 and len({bug.values[1] for bug in BUGS}) == 8


def only(kernel, *args, grid=1, block=N, **options):
    (finding,) = simulate(kernel, grid, block, *[np.copy(arg) for arg in args], **options).findings
    return finding


def test_a_race_names_both_threads_and_both_lines():
    finding = only(missing_barrier, floats(N))
    assert finding.thread == (0, 0, 0) and finding.other_thread == (63, 0, 0)
    assert finding.block == finding.other_block == (0, 0, 0) and finding.count == 64
    assert finding.other_line == finding.line - 1 and "s[63]" in finding.message


def test_a_race_between_blocks_names_both_blocks():
    finding = only(blocks_far_apart, floats(2000 * 32), grid=2000, block=32)
    assert (finding.block, finding.other_block) == ((1999, 0, 0), (0, 0, 0)) and finding.count == 32


def test_the_element_the_thread_and_the_block_are_named():
    finding = only(no_guard_for_the_tail, floats(100), grid=2)
    assert (finding.block, finding.thread, finding.count) == ((1, 0, 0), (36, 0, 0), 28)
    assert "a[100], which is outside of its shape (100,)" in finding.message
    finding = only(swapped_indices, floats(5, 7), block=(5, 7))
    assert finding.count == 20, "found once, at the load; what was not loaded is not stored"


def test_a_missing_thread_is_named():
    finding = only(return_before_the_barrier, floats(50))
    assert finding.other_thread == (50, 0, 0) and "has returned" in finding.message and finding.count == 50
    assert "is elsewhere" in only(barrier_in_a_branch, floats(N)).message


def several(a, b):
    s = cuda.shared.array(N, float32)
    i = cuda.threadIdx.x
    s[i] = a[i + 1]  # first
    if i < 32:
        cuda.syncthreads()  # second
    b[i, 0] = s[63 - i]  # third; no race: the barrier is taken as if all had come
    b[i] = float32(1.0)


def test_the_run_goes_on_after_a_finding():
    b = np.zeros(N, np.float32)
    report = simulate(several, 1, N, floats(N), b)
    assert [finding.kind for finding in report.findings] == [OUT_OF_BOUNDS, DIVERGENT_BARRIER, WRONG_INDEX]
    assert b.all() and not report.ok and "3 findings" in str(report)


def test_an_out_of_bounds_store_is_dropped_and_a_load_gives_zero():
    whole = np.full(N + 2, 7, np.float32)
    simulate(no_guard_for_the_tail, 2, N, whole[1:-1])
    assert whole[0] == whole[-1] == 7 and (whole[1:-1] == 1).all()
    a, b = floats(N), np.ones(N, np.float32)
    simulate(one_too_far, 1, N, a, b)
    assert (b[:-1] == a[1:]).all() and b[-1] == 0


def test_findings_are_limited():
    report = simulate(several, 1, N, floats(N), np.zeros(N, np.float32), max_findings=2)
    assert len(report.findings) == 2 and report.dropped > 0 and "were not kept" in str(report)


def test_long_loops_without_barriers_are_compacted(monkeypatch):
    monkeypatch.setattr("fastconv.testing.simulator.races._MOST", 100)
    for kernel, grid in ((tree_without_barriers, 1), (in_place_shift, 1), (reads_what_another_block_writes, 4)):
        report = simulate(kernel, grid, N, floats(4, N) if grid == 4 else floats(N))
        assert {(finding.kind, "# BUG" in finding.text) for finding in report.findings} == {(RACE, True)}


def endless(a):
    i = cuda.threadIdx.x
    while i < N:  # BUG
        a[i] = 1.0


def spin_lock(lock, a):
    while cuda.atomic.cas(lock, 0, 0, 1) != 0:  # BUG
        pass
    a[0] += 1
    cuda.atomic.exch(lock, 0, 0)


@pytest.mark.parametrize("kernel", [endless, spin_lock])
def test_an_endless_loop_ends(kernel):
    args = [np.zeros(N, np.int32)] * kernel.__code__.co_argcount
    with pytest.raises(SimulationError, match=r"still running after 500 steps; 6\d threads") as caught:
        simulate(kernel, 1, N, *args, max_steps=500)
    assert abs(caught.value.site.line - kernel.__code__.co_firstlineno) <= 3


def endless_after_a_race(a):
    a[0] = cuda.threadIdx.x  # BUG
    cuda.syncthreads()
    while True:
        cuda.syncthreads()


def test_what_was_found_before_the_end_is_kept():
    with pytest.raises(SimulationError, match="still running") as caught:
        simulate(endless_after_a_race, 1, N, np.zeros(1, np.int32), max_steps=100)
    assert [finding.kind for finding in caught.value.findings] == [RACE]


def uses_dynamic_shared(a):
    s = cuda.shared.array(0, float32)
    s[cuda.threadIdx.x] = a[cuda.threadIdx.x]


@pytest.mark.parametrize("arch, most", [("sm_75", 64), ("sm_80", 163), ("sm_86", 99), ("sm_90", 227), ("sm_120", 99)])
def test_shared_memory_by_architecture(arch, most):
    fits = simulate(uses_dynamic_shared, 1, N, floats(N), shared_bytes=most * 1024, arch=arch)
    assert fits.ok and fits.shared_bytes == most * 1024
    finding = only(uses_dynamic_shared, floats(N), shared_bytes=most * 1024 + 4, arch=arch)
    assert finding.kind == LAUNCH_LIMIT and f"the most on {arch} is {most * 1024}" in finding.message


def test_grid_limits():
    report = simulate(uses_dynamic_shared, (1, 65536), 1, floats(N), shared_bytes=4)
    assert "the grid is 65536 in y; the most is 65535" in report.findings[0].message
