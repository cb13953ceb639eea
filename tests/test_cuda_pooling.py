"""The pooling kernels move what they must: full sectors, and each gradient and input as few times as they can."""

import pytest
from cuda_cases import NEEDS_TOOLKIT, check_vectors, run_simulated

from fastconv.inspecting.architectures import find
from fastconv.inspecting.report import inspect_kernel
from fastconv.kernels import Pool2DProblem, registry
from fastconv.testing.kernel_cases import cases

APART = "N=1 H=8 W=8 C=32 R=2 S=2 stride=2"  # 2048 elements of x, 512 of y: 256 and 64 sectors
OVERLAP = "N=1 H=17 W=17 C=64 R=3 S=3 stride=2"  # 8 x 8 pixels of y, which have 8 sectors each
VECTORIZED = [
    ("max_pool2d", "cuda_vectorized"),
    ("average_pool2d", "cuda_vectorized"),
    ("max_pool2d_backward", "cuda_window_vectorized"),
    ("max_pool2d_backward", "cuda_argmax_vectorized"),
    ("average_pool2d_backward", "cuda_vectorized"),
]


def totals(op, name, text):
    """Loads and stores of all launches of a kernel, added up."""
    kernel, problem = registry.get(op, name), Pool2DProblem.parse(text)
    _, reports = run_simulated(kernel, problem, next(iter(cases(op, problem, 0))))
    loads, *more = (report.totals.loads for report in reports)
    stores, *others = (report.totals.stores for report in reports)
    return sum(more, loads), sum(others, stores)


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
    found = totals(op, name, APART)
    assert tuple(kind.moved for kind in found) == tuple(kind.ideal for kind in found) == (loads, stores)


@pytest.mark.parametrize(
    ("op", "name", "loads", "stores"),
    [
        ("max_pool2d", "cuda_vectorized", 256, 64),  # x and y, each once
        ("average_pool2d", "cuda_vectorized", 256, 64),
        ("max_pool2d_backward", "cuda_window_vectorized", 256 + 64, 256),
    ],
)
def test_windows_apart_move_each_byte_once_in_the_fewest_requests(op, name, loads, stores):
    found = totals(op, name, APART)
    assert tuple(kind.moved for kind in found) == tuple(kind.ideal for kind in found) == (loads, stores)
    assert tuple(kind.requests for kind in found) == (loads // 16, stores // 16)  # 512 bytes each


def test_gradients_of_windows_apart():
    loads, stores = totals("average_pool2d_backward", "cuda_vectorized", APART)
    assert (loads.moved, stores.moved, stores.requests) == (
        64,
        256,
        256 // 16,
    )  # two columns, in a warp, share a window
    loads, stores = totals("max_pool2d_backward", "cuda_argmax_vectorized", APART)
    assert (loads.moved, stores.moved) == (256 + 64 + 16, 256 + 16)  # x, gy and the taps; gx and the taps
    assert stores.requests == 256 // 16 + 16 // 4  # a tap is a byte: four of them a thread


@pytest.mark.parametrize("op", ["max_pool2d", "average_pool2d"])
def test_windows_that_share_rows_load_each_once_a_thread(op):
    loads, stores = totals(op, "cuda_vectorized", OVERLAP)
    lines = 4 * 2 + 1  # of x, for four outputs below each other; by three taps each
    assert loads.moved == loads.ideal == 2 * 8 * lines * 3 * 8
    assert loads.requests == loads.moved // 16
    assert stores.moved == 8 * 8 * 8
    by_column, _ = totals(op, "cuda_column", OVERLAP)
    assert (by_column.moved, by_column.requests) == (8 * 8 * 9 * 8, 8 * 8 * 9 * 2)


@pytest.mark.parametrize(("op", "name"), VECTORIZED)
def test_vectors_are_right_on_every_kind_of_data(op, name):
    check_vectors(registry.get(op, name))


@NEEDS_TOOLKIT
@pytest.mark.parametrize(("op", "name"), VECTORIZED)
def test_windows_of_well_known_networks_stay_in_registers(op, name):
    kernel = registry.get(op, name)
    for window in ("R=2 S=2 stride=2", "R=3 S=3 stride=2 padding=1,1,1,1", "R=3 S=3 padding=same", "R=7 S=7"):
        problem = Pool2DProblem.parse(f"N=8 H=14 W=14 C=64 {window}")
        if kernel.unsupported(problem) is None:
            for found in inspect_kernel(kernel, problem, [find("sm_90")]):
                taken = found.compiled.resources
                assert (taken.spill_bytes, taken.stack_bytes, found.mix.get("local", 0)) == (0, 0, 0), window
                assert taken.registers <= 64, window


@NEEDS_TOOLKIT
@pytest.mark.parametrize(
    ("op", "name", "count"),
    [
        ("max_pool2d", "cuda_vectorized", 4),
        ("average_pool2d", "cuda_vectorized", 4),
        ("max_pool2d_backward", "cuda_window_vectorized", 3),
    ],
)
def test_the_loads_of_a_2x2_window_do_not_wait_for_each_other(op, name, count):
    (found,) = inspect_kernel(registry.get(op, name), Pool2DProblem.parse(APART), [find("sm_90")])
    opcodes = [instruction.opcode.split(".")[0] for instruction in found.compiled.instructions]
    loads = [n for n, opcode in enumerate(opcodes) if opcode == "LDG"]
    between = opcodes[loads[0] : loads[count - 1]]
    assert not {"FSETP", "FSEL", "FADD", "BRA"} & set(between)
