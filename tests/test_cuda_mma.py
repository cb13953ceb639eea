"""Tensor cores: who holds what, how factors are rounded, what a warp must do together, and the kernel made of it."""

import threading
import types

import numpy as np
import pytest
from cuda_cases import NEEDS_TOOLKIT
from lab import simulate_launch, simulated

from fastconv import kernels
from fastconv.inspecting.architectures import ARCHITECTURES, find
from fastconv.inspecting.compile import compile_kernel
from fastconv.inspecting.report import inspect_kernel
from fastconv.kernels import cuda as module
from fastconv.kernels import cuda_meeting, cuda_mma
from fastconv.kernels.cuda import FLOATS, TooOldError, cuda, cuda_jit, float32, launched_by, uint32
from fastconv.kernels.cuda_mma import NEEDS, mma_tf32, tf32
from fastconv.testing import KernelMismatch, SimulationError, check_kernel, simulate
from fastconv.testing.kernel_cases import empty_arrays, float_case
from fastconv.testing.simulator.findings import DIVERGENT_WARP


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, needs=NEEDS)
def product(a, b, c, d):
    """A product of 16 x 8 by 8 x 8 for each warp; rows of a matrix, and the matrices, lie one behind the other."""
    lane, warp = uint32(cuda.threadIdx.x % 32), uint32((cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) // 32)
    g, t = uint32(lane // 4), uint32(lane % 4)
    i, j, k = uint32(warp * 128 + g * 8 + t), uint32(warp * 64 + t * 8 + g), uint32(warp * 128 + g * 8 + t * 2)
    d[k], d[k + 1], d[k + 64], d[k + 65] = mma_tf32(
        *(tf32(a[i]), tf32(a[i + 64]), tf32(a[i + 4]), tf32(a[i + 68])),
        *(tf32(b[j]), tf32(b[j + 32])),
        *(c[k], c[k + 1], c[k + 64], c[k + 65]),
    )


def matrices(kind):
    """A, B, C of six warps."""
    rng = np.random.default_rng(0)
    shapes = (6, 16, 8), (6, 8, 8), (6, 16, 8)
    if kind == "integers":
        return [rng.integers(-99, 99, shape).astype(np.float32) for shape in shapes]
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def multiplied(a, b, c):
    """What the simulator makes of `product`, and its report."""
    d = np.zeros_like(c)
    report = simulate(product, 3, 64, a.reshape(-1), b.reshape(-1), c.reshape(-1), d.reshape(-1))
    report.raise_if_wrong()
    return d, report


def is_right():
    a, b, c = matrices("integers")
    return np.array_equal(multiplied(a, b, c)[0], a @ b + c)


def test_warps_multiply_matrices():
    assert is_right()
    a, b, c = matrices("floats")
    d, report = multiplied(a, b, c)
    exact = a.astype(np.float64) @ b.astype(np.float64) + c
    allowed = 2.0**-10 * (np.abs(a).astype(np.float64) @ np.abs(b)) + 2.0**-24 * np.abs(exact)
    error = np.abs(d - exact)
    assert np.all(error <= allowed) and error.max() > 1e-4, "factors are rounded"
    assert report.totals.flops == 6 * 2 * 16 * 8 * 8


def swapped(name):
    layout = getattr(cuda_mma, name)
    return layout[[1, 0, *range(2, len(layout))]]


@pytest.mark.parametrize(
    "name, fault",
    [(name, swapped) for name in ("A_ROWS", "B_ROWS", "C_COLUMNS")]
    + [(name, lambda name: getattr(cuda_mma, name)[::-1]) for name in ("A_COLUMNS", "C_ROWS")]
    + [(name, lambda name: (getattr(cuda_mma, name) + 1) % 8) for name in ("A_COLUMNS", "B_COLUMNS", "C_COLUMNS")]
    + [(name, lambda name: (getattr(cuda_mma, name) + 1) % 16) for name in ("A_ROWS", "C_ROWS")],
)
def test_a_fault_in_the_layout_is_seen(monkeypatch, name, fault):
    """Two registers of a fragment swapped, or a row or column beside the right one."""
    monkeypatch.setattr(cuda_mma, name, fault(name))
    assert not is_right()


@pytest.mark.parametrize(
    "lane, a, b, c",
    [  # from the pictures in the PTX manual, where rows and columns count from 0
        (0, [(0, 0), (8, 0), (0, 4), (8, 4)], [(0, 0), (4, 0)], [(0, 0), (0, 1), (8, 0), (8, 1)]),
        (5, [(1, 1), (9, 1), (1, 5), (9, 5)], [(1, 1), (5, 1)], [(1, 2), (1, 3), (9, 2), (9, 3)]),
        (30, [(7, 2), (15, 2), (7, 6), (15, 6)], [(2, 7), (6, 7)], [(7, 4), (7, 5), (15, 4), (15, 5)]),
    ],
)
def test_what_a_lane_holds(lane, a, b, c):
    for held, rows, columns in (
        (a, cuda_mma.A_ROWS, cuda_mma.A_COLUMNS),
        (b, cuda_mma.B_ROWS, cuda_mma.B_COLUMNS),
        (c, cuda_mma.C_ROWS, cuda_mma.C_COLUMNS),
    ):
        assert list(zip(rows[:, lane], columns[:, lane], strict=True)) == held


# Rounding.


def test_tf32_is_the_nearest_number_of_11_bits():
    rng = np.random.default_rng(0)
    x = np.ldexp(rng.uniform(-1, 1, 20000), rng.integers(-135, 120, 20000)).astype(np.float32)
    unit = np.ldexp(1.0, np.maximum(np.frexp(x.astype(np.float64))[1] - 11, -136))  # denormal numbers have fewer bits
    halves = x / unit
    expected = np.copysign(np.floor(np.abs(halves) + 0.5), halves) * unit
    np.testing.assert_array_equal(tf32.model(x), expected)
    assert all(tf32.model(number) == known for number, known in zip(x[:50], expected[:50], strict=True))


@pytest.mark.parametrize(
    "number, rounded",
    [
        (1 + 2.0**-11, 1 + 2.0**-10),  # half way: away from zero
        (-1 - 2.0**-11, -1 - 2.0**-10),
        (1 + 2.0**-11 - 2.0**-23, 1.0),
        (2 - 2.0**-23, 2.0),
        (2047.0, 2047.0),
        (2049.0, 2050.0),
        (np.finfo(np.float32).max, np.inf),
        (-np.inf, -np.inf),
        (2.0**-137, 2.0**-136),  # half way between denormal numbers
        (np.nan, np.nan),
        (-np.nan, np.nan),
    ],
)
def test_tf32_of_certain_numbers(number, rounded):
    np.testing.assert_array_equal(tf32.model(np.float32(number)), np.float32(rounded))
    np.testing.assert_array_equal(tf32.model(np.full(3, number, np.float32)), np.float32(rounded))


def test_zero_keeps_its_sign():
    assert np.signbit(tf32.model(np.float32(-0.0))) and not np.signbit(tf32.model(np.float32(0)))


def not_rounded(x, y):
    i = cuda.threadIdx.x
    one, zero = float32(1), float32(0)
    y[i], _, _, _ = mma_tf32(one, one, one, one, one, x[i], zero, zero, zero, zero)


def test_factors_that_are_not_rounded_end_the_run():
    x = np.ones(32, np.float32)
    simulate(not_rounded, 1, 32, x, x.copy()).raise_if_wrong()
    x[7] = 0.1
    with pytest.raises(SimulationError, match="mma_tf32: lane 7 holds .*0.1.* of B, which is no TF32: call tf32"):
        simulate(not_rounded, 1, 32, x, x.copy())


# Together.


def in_a_branch(y):
    i = cuda.threadIdx.x
    one = float32(1)
    if i != 40:
        y[i], _, _, _ = mma_tf32(one, one, one, one, one, one, one, one, one, one)


def after_a_return(y):
    i = cuda.threadIdx.x
    one = float32(1)
    if i == 40:
        return
    y[i], _, _, _ = mma_tf32(one, one, one, one, one, one, one, one, one, one)


def everywhere(y):
    one = float32(1)
    y[cuda.threadIdx.x], _, _, _ = mma_tf32(one, one, one, one, one, one, one, one, one, one)


@pytest.mark.parametrize(
    "kernel, threads, came, why",
    [
        (in_a_branch, 64, 31, r"thread \(40, 0, 0\) is elsewhere in the kernel"),
        (after_a_return, 64, 31, r"thread \(40, 0, 0\) has returned"),
        (everywhere, 48, 16, "the block has no more"),
    ],
)
def test_a_part_of_a_warp_is_found(kernel, threads, came, why):
    y = np.zeros(64, np.float32)
    (finding,) = simulate(kernel, 1, threads, y).findings
    assert finding.kind == DIVERGENT_WARP and finding.text.strip().startswith("y[")
    assert finding.count == came and finding.thread == (32, 0, 0)
    np.testing.assert_array_equal(y[:32], 9, "the whole warp is right")
    assert np.isnan(y[32:]).sum() == came
    with pytest.raises(AssertionError, match=f"mma_tf32 with {came} of the 32 threads of its warp; {why}"):
        simulate(kernel, 1, threads, y).raise_if_wrong()


def meet(lanes, call, of_thread):
    """What each of the lanes gets, as threads of one block of Numba's simulator."""
    block, got = types.SimpleNamespace(), {}

    def run(lane):
        thread = threading.current_thread()
        thread.thread_id, thread._manager = lane, block
        try:
            got[lane] = [call(*of_thread(lane)) for _ in range(3)]
        except RuntimeError as error:
            got[lane] = str(error)

    threads = [threading.Thread(target=run, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def doubled(a, b):
    assert a.shape == b.shape == (1, 32)
    return a[:, ::-1], 2 * b


def test_threads_of_numbas_simulator_meet():
    got = meet(range(64), cuda_meeting.of_one_thread(doubled), lambda lane: (lane, lane))
    assert got == {lane: [((lane // 32 * 2 + 1) * 32 - 1 - lane % 32 - lane // 32 * 32, 2 * lane)] * 3 for lane in got}
    assert len(got) == 64


def test_what_goes_wrong_there_all_are_told():
    def fails(a):
        raise RuntimeError("no")

    assert meet(range(32), cuda_meeting.of_one_thread(fails), lambda lane: (lane,)) == dict.fromkeys(range(32), "no")


def test_a_part_of_a_warp_gives_up_there(monkeypatch):
    monkeypatch.setattr(cuda_meeting, "_PATIENCE", 1)
    got = meet(range(31), cuda_meeting.of_one_thread(doubled), lambda lane: (lane, lane))
    assert len(got) == 31
    assert set(got.values()) == {"31 threads of a warp wait in doubled for the others of the 32"}


# Where it runs.


@NEEDS_TOOLKIT
@pytest.mark.parametrize("arch", [name for name in ARCHITECTURES if ARCHITECTURES[name].compute_capability >= NEEDS])
def test_it_is_one_instruction(arch):
    opcodes = [instruction.opcode for instruction in compile_kernel(product, find(arch)).instructions]
    assert [opcode for opcode in opcodes if "MMA" in opcode] == ["HMMA.1688.F32.TF32"]


@NEEDS_TOOLKIT
def test_older_architectures_are_refused():
    assert NEEDS == (8, 0)
    with pytest.raises(TooOldError, match="product cannot be compiled: it needs compute capability 8.0, and this is"):
        product.ptx((7, 5))
    problem = kernels.Conv2DProblem.parse("N=1 H=4 W=5 C=2 K=3 R=3 S=2")
    both = [find("sm_75"), find("sm_80")]
    (found,) = inspect_kernel(CONV2D, problem, both)
    assert found.compiled.architecture is both[1]
    with pytest.raises(TooOldError, match="conv2d cuda_mma_tf32 cannot be compiled: .* 8.0, and this is 7.5"):
        inspect_kernel(CONV2D, problem, both[:1])


@pytest.mark.parametrize("here, reason", [("75", "it needs compute capability 8.0, and this is 7.5"), ("90", None)])
def test_an_older_gpu_is_told(monkeypatch, here, reason):
    device = types.SimpleNamespace(compute_capability=here)
    cupy = types.SimpleNamespace(cuda=types.SimpleNamespace(Device=lambda: device))
    monkeypatch.setattr(module, "import_cupy", lambda: cupy)
    monkeypatch.setattr(module, "unavailable", lambda: None)
    problem = kernels.Conv2DProblem.parse("N=1 H=4 W=5 C=2 K=3 R=3 S=2")
    assert CONV2D.unsupported(problem) == reason
    (launch,) = CONV2D.run(problem, *empty_arrays("conv2d", problem), None)
    with pytest.raises(RuntimeError if reason else TypeError, match=reason or "received a NumPy array"):
        launch()


# conv2d.

CONV2D = kernels.get("conv2d", "cuda_mma_tf32")
ROUND = kernels.Conv2DProblem.parse("N=1 H=16 W=16 C=16 K=64 R=3 S=3 padding=same")  # every tile is full
RAGGED = kernels.Conv2DProblem.parse("N=2 H=9 W=12 C=9 K=67 R=2 S=2 padding=1,0,1,1")  # more than one tile each way


def run(problem, case):
    """y, and the simulator's report."""
    reports, y = [], np.full(problem.y_shape, np.nan, np.float32)

    def launcher(launch):
        reports.append(simulated(launch))
        reports[0].raise_if_wrong()

    with launched_by(launcher):
        CONV2D(problem, *case.inputs.values(), y, workspace=None)
    return y, reports[0]


def test_several_tiles_each_way():
    with launched_by(simulate_launch):
        check_kernel(CONV2D, RAGGED, only=("integers", "floats"))


def test_whole_sectors_and_no_bank_conflicts():
    _, report = run(ROUND, float_case("conv2d", ROUND))
    assert report.totals.bank_conflicts == 0
    for total in (report.totals.loads, report.totals.stores):
        assert total.moved == total.ideal > 0
    tensor = report.line("= mma_tf32(").flops
    assert tensor == ROUND.flops and report.totals.flops == tensor, "with full tiles nothing is multiplied for nothing"


def test_the_error_is_that_of_tf32():
    """Far below the bound, since roundings go either way; and far above that of float32."""
    case = float_case("conv2d", ROUND)
    y, _ = run(ROUND, case)
    error = np.linalg.norm(y - case.expected["y"]) / np.linalg.norm(case.expected["y"])
    assert 1e-4 < error < 2.0**-11


def test_float32s_bound_is_too_narrow_for_it(monkeypatch):
    assert CONV2D.precision == "tf32" and CONV2D.exact
    other = kernels.Kernel(**{**vars(CONV2D), "precision": ""})
    with launched_by(simulate_launch):
        with pytest.raises(KernelMismatch) as failed:
            check_kernel(other, RAGGED, only=("integers", "floats"))
    assert failed.value.check == "floats", "integers are exact"


@NEEDS_TOOLKIT
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_120"])
def test_its_inner_loop_is_tensor_cores_and_what_feeds_them(arch):
    (found,) = inspect_kernel(CONV2D, ROUND, [find(arch)])
    opcodes = [instruction.opcode for instruction in found.compiled.instructions]
    mma = [n for n, opcode in enumerate(opcodes) if opcode == "HMMA.1688.F32.TF32"]
    assert len(mma) == 2 * 4 * 4 and "FFMA" not in opcodes
    labels = [n for n, instruction in enumerate(found.compiled.instructions) if instruction.label]
    slice_ = opcodes[max(n for n in labels if n <= mma[0]) : min(n for n in labels if n > mma[-1])]
    assert slice_.count("LDS") == 2 * (4 * 4 + 4 * 2) and len(slice_) < 32 + 48 + 60
    assert {"LDG.E.128", "STS.128", "STG.E.64"} <= set(opcodes) and found.occupancy.blocks >= 3
